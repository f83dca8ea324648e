"""A tiny model in a directory, and facts as a person gives them."""

import pytest
import shared
import tiny
from front_door import FACTS


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    return shared.folder(tmp_path_factory, "tiny-llama", tiny.save)


@pytest.fixture
def facts():
    return [dict(fact) for fact in FACTS]
