import pytest
import torch
from small_layer import D_IN, D_OUT, draw

from mose.linalg.second_moment import SecondMoment


@pytest.fixture
def weight():
    return draw(D_OUT, D_IN, seed=1).to(torch.float32)


@pytest.fixture
def moment():
    keys = draw(D_IN, 200, seed=2) * torch.logspace(0, -1, D_IN, dtype=torch.float64)[:, None]
    return SecondMoment(keys @ keys.mT / 200)
