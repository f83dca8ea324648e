"""A tiny model in a directory, the user's cache in another, and facts as a person gives them."""

import pytest
import shared
import tiny
from front_door import FACTS

from mose.storage import cache


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test touches the user's own cache; all share what has been computed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cache.VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    return shared.folder(tmp_path_factory, "tiny-llama", tiny.save)


@pytest.fixture
def facts():
    return [dict(fact) for fact in FACTS]
