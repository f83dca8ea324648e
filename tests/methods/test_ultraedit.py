"""UltraEdit on plain tensors: all places kept and normalised at once, and its authors' solve."""

import torch
from small_layer import D_IN, D_OUT, draw

from mose.methods.editors import make_editor
from mose.methods.register import parse_variant
from mose.methods.ultraedit import Moments

LAYERS = (3, 5)


def editors(weights, **changed):
    entry = {"method": "ultraedit", "layers": list(LAYERS), "learning_rate": 0.01, **changed}
    variant = parse_variant(entry)
    return {la: make_editor(weights[la], None, variant) for la in LAYERS}, variant.options


def signals(turn):
    """Keys and gradients by layer; gradients as small as those of a mean over many tokens."""
    shift, count = 3.0 * turn, 6 + turn
    return {
        layer: (
            draw(D_IN, count, seed=10 * turn + layer) + shift,
            1e-4 * (draw(D_OUT, count, seed=100 + 10 * turn + layer) - shift),
        )
        for layer in LAYERS
    }


def test_turns_are_the_authors_solve_with_moments_of_all_places_of_all_layers_so_far():
    weights = {layer: draw(D_OUT, D_IN, seed=layer).float() for layer in LAYERS}
    made, options = editors(weights, ridge=0.7)
    plain = {layer: weights[layer].double() for layer in LAYERS}
    seen = []
    for turn in range(3):
        found = signals(turn)
        seen += [torch.cat(pair) for pair in found.values()]
        every = torch.cat(seen, dim=1)
        mean = every.mean(1, keepdim=True)
        deviation = torch.sqrt(every.var(1, correction=0, keepdim=True) + 1e-8)
        for editor in made.values():
            for pair in found.values():
                editor.observe(*pair)
        for layer, (keys, gradients) in found.items():
            normalised = (torch.cat([keys, gradients]) - mean) / deviation
            values = torch.stack(
                [
                    -0.01 * column[:D_IN].dot(column[:D_IN]) * column[D_IN:]
                    for column in normalised.T
                ]
            )
            system = keys @ keys.T + 0.7 * torch.eye(D_IN, dtype=torch.float64)
            plain[layer] = plain[layer] + torch.linalg.solve(system, keys @ values).T
            made[layer].update(keys, gradients)
            moved = torch.dist(plain[layer], weights[layer].double())
            assert moved > 0.1
            assert torch.dist(made[layer].weight.double(), plain[layer]) < 1e-5 * moved
    assert options.ridge == 0.7


def test_moments_in_parts_are_moments_of_the_whole():
    whole, parts = Moments(4), Moments(4)
    columns = draw(4, 23) + torch.arange(4)[:, None]
    whole.add(columns)
    for part in columns.split([1, 7, 0, 15], dim=1):
        parts.add(part)
    assert torch.allclose(parts.mean, columns.mean(1), atol=1e-12)
    assert torch.allclose(parts.squares / 23, columns.var(1, correction=0), atol=1e-12)
    assert torch.allclose(parts.normalised(columns), whole.normalised(columns), atol=1e-12)


def test_a_restored_editor_goes_on_to_the_same_numbers():
    weights = {layer: draw(D_OUT, D_IN, seed=layer).float() for layer in LAYERS}
    (first, _), (second, _) = editors(weights), editors(weights)
    for turn in range(2):
        if turn:
            for layer in LAYERS:
                second[layer].load(first[layer].state())
        found = signals(turn)
        for made in (first, second) if turn else (first,):
            for layer in LAYERS:
                for pair in found.values():
                    made[layer].observe(*pair)
                made[layer].update(*found[layer])
    for layer in LAYERS:
        assert torch.equal(first[layer].weight, second[layer].weight)
