"""What a form can write on one layer: each is at its own least of the same objective."""

import pytest
import torch

from benchmarks import forms
from mose.linalg.second_moment import SecondMoment

LAMBDAS = [0.01, 1.0, 100.0]


@pytest.fixture(scope="module")
def layer():
    """weight, C, keys, wanted changes."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    sample = draw(10, 40)
    return draw(6, 10), sample @ sample.mT / 40, draw(10, 8), 0.5 * draw(6, 8)


@pytest.fixture(scope="module")
def table(layer):
    weight, second, keys, wanted = layer
    rows = forms.measure(weight, SecondMoment(second), keys, weight @ keys + wanted, LAMBDAS)
    return rows.set_index(["method", "lambda"])


def test_rotations_keep_the_spectrum_and_an_additive_update_does_not(table):
    for form in ("mose", "mose-both-nearest", "mose-both-weighted"):
        assert table.loc[form, ["norm_ratio", "condition_ratio"]].to_numpy() == pytest.approx(1.0)
    assert abs(table.loc[("memit", 0.01), "norm_ratio"] - 1) > 0.01


@pytest.mark.parametrize("value", LAMBDAS)
def test_a_larger_set_of_matrices_has_a_smaller_least(layer, table, value):
    """The objective, put together from the columns."""
    weight, second, _, wanted = layer
    rows = table.xs(value, level="lambda")
    usual = float((weight @ second * weight).sum())
    missing = (1 - rows["attained"]) ** 2 * float(wanted.square().sum())
    least = missing + value * rows["disturbance"] ** 2 * usual
    assert least["memit"] <= least["mose-both-weighted"] + 1e-9
    assert least["mose-both-weighted"] <= least["mose-both-nearest"] + 1e-9
    assert least["mose-both-weighted"] < least["mose"]


def test_the_figure_has_a_line_of_every_form(table):
    left, right = forms.draw(table.reset_index()).axes
    assert len(left.lines) == len(right.lines) == len(forms.FORMS)
