"""The anchor of a set of norms, and which options it belongs to."""

import numpy as np
import pytest

from mose.editing.anchors import anchor_of
from mose.errors import ConfigError, NumericalError
from mose.methods.register import parse_variant

FREE = {"method": "memit", "layers": [1], "lambda": 1.0, "learning_rate": 0.1}


@pytest.mark.parametrize(("count", "dropped"), [(1, 0), (19, 0), (20, 1), (59, 2), (1000, 50)])
def test_it_is_the_mean_without_the_largest_twentieth(count, dropped):
    norms = np.random.default_rng(count).gamma(3.0, 10.0, count)
    by_rank = [norm for norm in norms if (norms > norm).sum() >= dropped]
    assert len(by_rank) == count - dropped
    assert anchor_of(norms.tolist()) == (pytest.approx(np.mean(by_rank), rel=1e-12), dropped)
    if dropped:
        largest = norms.argmax()
        norms[largest] *= 1e6
        assert anchor_of(norms.tolist())[0] == pytest.approx(np.mean(by_rank), rel=1e-12)


def test_what_has_no_mean_is_refused():
    with pytest.raises(NumericalError, match="norm 2 of 3 is not finite"):
        anchor_of([1.0, float("nan"), 2.0])
    with pytest.raises(ValueError, match="no norms"):
        anchor_of([])


def test_anchored_targets_need_an_anchor_and_others_refuse_one():
    anchored = {**FREE, "targets": "anchored"}
    assert parse_variant({**anchored, "anchor": 12.5}).options.anchor == 12.5
    with pytest.raises(ConfigError, match="anchor: missing, and targets: anchored needs a length"):
        parse_variant(anchored)
    with pytest.raises(ConfigError, match=r"anchor: found 12\.5, but targets: rescaled has no use"):
        parse_variant({**FREE, "targets": "rescaled", "anchor": 12.5})
    entry = parse_variant({**anchored, "anchor": 12.5}).as_dict()
    assert parse_variant(entry).as_dict() == entry
    assert parse_variant(parse_variant(FREE).as_dict()).options.anchor is None
