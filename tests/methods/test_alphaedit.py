"""AlphaEdit against its authors' large solve, and what its projector leaves alone."""

import pytest
import torch
from small_layer import CLOSED_FORM, D_IN, D_OUT, draw, make

from mose.errors import ConfigError, NumericalError
from mose.methods.alphaedit import alphaedit_delta, null_share, protected_directions
from mose.methods.register import parse_variant


def projector(moment, threshold):
    values, vectors = torch.linalg.eigh(moment.matrix)
    null = vectors[:, values < threshold]
    return null @ null.mT


def test_the_small_solve_is_the_authors_large_one(moment):
    keys, early = draw(D_IN, 5), draw(D_IN, 4, seed=1)
    residuals = draw(D_OUT, 5, seed=2)
    p = projector(moment, 0.3)
    eye = torch.eye(D_IN, dtype=torch.float64)
    large = torch.linalg.solve(
        p @ (keys @ keys.mT + early @ early.mT) + 10 * eye, p @ keys @ residuals.mT
    ).mT
    wanted = torch.cat([torch.zeros(D_OUT, 4, dtype=torch.float64), residuals], 1)
    small = alphaedit_delta(p @ torch.cat([early, keys], 1), wanted, 10.0)
    assert torch.allclose(small, large, rtol=1e-9, atol=1e-12)


def test_an_update_does_not_touch_the_protected_directions(weight, moment):
    editor, options = make("alphaedit", weight, moment)
    protected = protected_directions(moment.matrix, options)
    assert 0 < protected.shape[1] < D_IN
    p = torch.eye(D_IN, dtype=torch.float64) - protected @ protected.mT
    assert torch.allclose(p, projector(moment, 0.3), atol=1e-12)
    assert torch.allclose(editor.project(draw(D_IN, 3)), p @ draw(D_IN, 3), atol=1e-12)
    delta = editor.delta(draw(D_IN, 3), draw(D_OUT, 3, seed=1), draw(D_IN, 3))
    assert (delta @ protected).abs().max() < 1e-12
    assert delta.norm() > 0.1


def test_the_null_share_is_the_energy_that_the_projector_lets_through(weight, moment):
    _, options = make("alphaedit", weight, moment)
    protected = protected_directions(moment.matrix, options)
    keys = draw(D_IN, 50, seed=9)
    through = projector(moment, 0.3) @ keys
    assert null_share(keys @ keys.mT, protected) == pytest.approx(
        float((through**2).sum() / (keys**2).sum())
    )


def test_the_energy_rule_protects_the_fewest_leading_directions(moment):
    options = make("alphaedit-energy", draw(D_OUT, D_IN).float(), moment)[1]
    values = torch.linalg.eigvalsh(moment.matrix).flip(0)
    count = protected_directions(moment.matrix, options).shape[1]
    assert values[:count].sum() / values.sum() >= 0.8
    assert values[: count - 1].sum() / values.sum() < 0.8


def test_sequential_edits_with_memory_are_the_one_shot_solution(weight, moment):
    keys, targets = draw(D_IN, 8, seed=3), draw(D_OUT, 8, seed=4)
    together, _ = make("alphaedit", weight, moment)
    portions, _ = make("alphaedit", weight, moment)
    together.update(keys, targets - weight.double() @ keys)
    for part in torch.arange(8).split(2):
        residuals = targets[:, part] - portions.weight.double() @ keys[:, part]
        portions.update(keys[:, part], residuals)
    # Ridge regression keeps what was written, but shrinks the whole once more at every batch:
    # equal up to the ridge, and nearly so once that is small.
    gaps = [float((portions.weight - together.weight).norm() / (together.weight - weight).norm())]
    tight, loose = (
        make("alphaedit", weight, moment, ridge=1e-9)[0],
        make("alphaedit", weight, moment, ridge=1e-9)[0],
    )
    tight.update(keys, targets - weight.double() @ keys)
    for part in torch.arange(8).split(2):
        loose.update(keys[:, part], targets[:, part] - loose.weight.double() @ keys[:, part])
    gaps.append(float((loose.weight - tight.weight).norm() / (tight.weight - weight).norm()))
    assert gaps[1] < 1e-5
    assert gaps[0] < 0.2


def test_an_empty_null_space_is_refused_with_the_smallest_eigenvalue(weight, moment):
    editor, _ = make("alphaedit", weight, moment, null_threshold=1e-9)
    key, residual = torch.ones(weight.shape[1], 1).double(), torch.ones(weight.shape[0], 1).double()
    with pytest.raises(NumericalError, match=r"null space is empty.*smallest 0\.00"):
        editor.update(key, residual)


@pytest.mark.parametrize("name", ["alphaedit", "alphaedit-energy", "betaedit", "evoedit"])
@pytest.mark.parametrize("wrapper", [None, "rect"])
def test_statistics_without_a_null_space_are_refused_with_the_options(name, wrapper):
    entry = {**CLOSED_FORM[name], "layers": [3], "learning_rate": 0.1, "second_moment": "identity"}
    if name == "betaedit":
        entry["lambda"] = 0.5
    if wrapper:
        entry = {**entry, "method": wrapper, "base": entry["method"]}
    with pytest.raises(ConfigError, match=r"^m\.second_moment: found identity, .*; set corpus$"):
        parse_variant(entry, "m")
