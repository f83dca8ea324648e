"""Trained editors on plain tensors: a quadratic loss stands for the model."""

import pytest
import torch
from small_layer import D_IN, D_OUT, draw

from mose.errors import ConfigError
from mose.linalg.orthogonal import orthogonality_error
from mose.methods.editors import make_editor
from mose.methods.oft import cayley
from mose.methods.register import parse_variant


def train(editor, keys, wanted, steps=40, learning_rate=0.02):
    adam = torch.optim.Adam([editor.trainable()], lr=learning_rate)
    for _ in range(steps):
        adam.zero_grad()
        ((editor.trained() @ keys - wanted) ** 2).mean().backward()
        adam.step()
        editor.constrain()
    editor.finish()


def make(weight, **entry):
    return make_editor(weight, None, parse_variant({**entry, "layers": [3]}))


def test_fine_tuning_stays_within_its_bound_of_where_the_batch_began(weight):
    keys, wanted = draw(D_IN, 4).float(), draw(D_OUT, 4, seed=1).float()
    free, bound = make(weight, method="ft"), make(weight, method="ft", norm_constraint=0.01)
    for editor in (free, bound):
        train(editor, keys, wanted)
    assert (free.weight - weight).abs().max() > 0.1
    assert (bound.weight - weight).abs().max() == pytest.approx(0.01, rel=1e-4)
    once = bound.weight
    train(bound, keys, wanted)
    assert (bound.weight - once).abs().max() <= 0.01 * (1 + 1e-4)
    assert (bound.weight - weight).abs().max() > 0.012


def test_the_cayley_transform_is_orthogonal_and_begins_at_the_identity():
    rotations = cayley(draw(3, 8, 8))
    for rotation in rotations:
        assert orthogonality_error(rotation) < 1e-12
        assert torch.linalg.det(rotation) == pytest.approx(1.0)
    s = draw(8, 8) - draw(8, 8).mT
    eye = torch.eye(8, dtype=torch.float64)
    expected = (eye - s) @ torch.linalg.inv(eye + s)
    assert torch.allclose(cayley(2 * draw(1, 8, 8))[0], expected, atol=1e-10)
    assert torch.equal(cayley(torch.zeros(1, 8, 8))[0], torch.eye(8))


def test_a_trained_rotation_turns_the_input_and_keeps_the_spectrum(weight):
    keys, wanted = draw(D_IN, 4).float(), draw(D_OUT, 4, seed=1).float()
    editor = make(weight, method="oft", blocks=4, ball=1.0)
    before = ((weight @ keys - wanted) ** 2).mean()
    for _ in range(2):
        train(editor, keys, wanted)
    assert ((editor.weight.float() @ keys - wanted) ** 2).mean() < 0.7 * before
    assert torch.allclose(
        torch.linalg.svdvals(editor.weight), torch.linalg.svdvals(weight.double()), rtol=1e-12
    )
    assert torch.allclose(editor.weight, weight.double() @ editor.rotation, atol=1e-12)
    assert torch.allclose(editor.undo().float(), weight, atol=1e-6)
    assert (editor.rotation[:8, 8:] == 0).all()


def test_generators_go_on_from_batch_to_batch_and_stay_in_their_ball(weight):
    keys, wanted = draw(D_IN, 4).float(), draw(D_OUT, 4, seed=1).float()
    editor = make(weight, method="oft", blocks=2, ball=1e-3)
    radius = 1e-3 * 16**2 / 2**0.5
    for _ in range(2):
        train(editor, keys, wanted)
        norms = torch.linalg.matrix_norm(editor.state()["parameter"])
        assert (norms <= radius * (1 + 1e-5)).all()
    assert norms.max() == pytest.approx(radius, rel=1e-4)


def test_blocks_must_divide_the_input(weight):
    with pytest.raises(ConfigError, match="5 does not divide the input's width 32"):
        make(weight, method="oft", blocks=5)
