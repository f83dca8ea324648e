"""UltraEdit and StableEdit on plain tensors: all places kept and normalised at once, and solved as
their authors do."""

import numpy as np
import pytest
import torch
from small_layer import D_IN, D_OUT, draw

from mose.methods.editors import make_editor
from mose.methods.register import parse_variant
from mose.methods.ultraedit import Moments

LAYERS = (3, 5)
EPS = float(np.finfo(np.float32).eps)


def editors(weights, method="ultraedit", **changed):
    entry = {"method": method, "layers": list(LAYERS), "learning_rate": 0.01, **changed}
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
        deviation = every.std(1, keepdim=True) + EPS
        write(made, found)
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
            moved = torch.dist(plain[layer], weights[layer].double())
            assert moved > 0.1
            assert torch.dist(made[layer].weight.double(), plain[layer]) < 1e-5 * moved
    assert options.ridge == 0.7


def test_the_length_of_the_gradients_does_not_matter():
    """A loss that is the mean over ten times as many tokens has gradients a tenth as long."""
    weights = {layer: draw(D_OUT, D_IN, seed=layer).float() for layer in LAYERS}
    changes = []
    for length in (1.0, 0.1):
        made, _ = editors(weights)
        write(made, {layer: (k, length * g) for layer, (k, g) in signals(0).items()})
        changes.append(made[3].weight.double() - weights[3].double())
    assert torch.dist(*changes) < 0.02 * changes[0].norm()


def test_moments_in_parts_are_moments_of_the_whole():
    whole, parts = Moments(4), Moments(4)
    columns = draw(4, 23) + torch.arange(4)[:, None]
    whole.add(columns)
    for part in columns.split([1, 7, 0, 15], dim=1):
        parts.add(part)
    assert torch.allclose(parts.mean, columns.mean(1), atol=1e-12)
    assert torch.allclose(parts.squares / 23, columns.var(1, correction=0), atol=1e-12)
    assert torch.allclose(parts.normalised(columns), whole.normalised(columns), atol=1e-12)


def stable(warm_up, turns, **changed):
    """StableEdit after turns; also its unedited weights, and the signals of all turns."""
    weights = {layer: draw(D_OUT, D_IN, seed=layer).float() for layer in LAYERS}
    made, _ = editors(weights, "stableedit", warm_up=warm_up, **changed)
    seen = [spread_signals(turn) for turn in range(turns)]
    for found in seen:
        write(made, found)
    return made, weights, seen


def spread_signals(turn):
    """Signals with gradients of the length of 1, but for the last entries, far below the bound."""
    scale = torch.ones(D_OUT, 1, dtype=torch.float64)
    scale[-4:] = 1e-5
    mixed = torch.linalg.qr(draw(D_OUT, D_OUT, seed=9)).Q
    return {layer: (k, mixed @ (scale * 1e4 * g)) for layer, (k, g) in signals(turn).items()}


def write(made, found):
    for editor in made.values():
        for pair in found.values():
            editor.observe(*pair)
    for layer, pair in found.items():
        made[layer].update(*pair)


@pytest.mark.parametrize("warm_up", [0, 2])
def test_stableedit_is_the_slow_computation_in_numpy(warm_up):
    made, weights, seen = stable(warm_up, 3, ridge=0.7)
    plain = {layer: weights[layer].double().numpy() for layer in LAYERS}
    places, whitened = [], 0
    for turn, found in enumerate(seen):
        places += [np.concatenate([p.numpy() for p in pair]) for pair in found.values()]
        every = np.concatenate(places, axis=1)
        mean, count = every.mean(axis=1), every.shape[1]
        deviation = every.std(axis=1, ddof=1)
        left, lengths, _ = np.linalg.svd(every[D_IN:] - mean[D_IN:, None])
        for layer, (keys, gradients) in found.items():
            keys, gradients = keys.numpy(), gradients.numpy()
            values = np.zeros((D_OUT, keys.shape[1]))
            for place in range(keys.shape[1]):
                key = (keys[:, place] - mean[:D_IN]) / (deviation[:D_IN] + EPS)
                away = gradients[:, place] - mean[D_IN:]
                if count > D_OUT + 1 and turn >= warm_up:
                    spread = np.maximum(lengths**2 / (count - D_OUT - 1), 1e-6)
                    away = left @ ((left.T @ away) / np.sqrt(spread))
                    whitened += 1
                else:
                    away = away / (deviation[D_IN:] + EPS)
                values[:, place] = -0.01 * (key @ key) * away
            system = keys @ keys.T + 0.7 * np.eye(D_IN)
            plain[layer] = plain[layer] + np.linalg.solve(system, keys @ values.T).T
    # Of 12, 26 and 42 places so far, the last 14 and 16 of each sequence have enough before them.
    assert whitened == {0: 30, 2: 16}[warm_up]
    for layer in LAYERS:
        moved = np.linalg.norm(plain[layer] - weights[layer].double().numpy())
        assert moved > 0.1
        distance = np.linalg.norm(made[layer].weight.double().numpy() - plain[layer])
        assert distance < 1e-5 * moved


def test_whitened_gradients_of_all_places_have_the_identity_as_covariance():
    weights = {layer: draw(D_OUT, D_IN, seed=layer).float() for layer in LAYERS}
    made, _ = editors(weights, "stableedit", warm_up=0)
    seen = [{la: (k, 1e4 * g) for la, (k, g) in signals(turn).items()} for turn in range(4)]
    for found in seen:
        write(made, found)
    every = [torch.cat([pair[i] for found in seen for pair in found.values()], 1) for i in (0, 1)]
    _, whitened = made[LAYERS[0]].normalised(*every)
    count = whitened.shape[1]
    assert whitened.mean(1).abs().max() < 1e-9
    covariance = whitened @ whitened.mT / (count - D_OUT - 1)
    assert torch.allclose(covariance, torch.eye(D_OUT, dtype=torch.float64), atol=1e-9)


def test_stableedit_in_its_warm_up_is_ultraedit():
    made, weights, seen = stable(3, 3, ridge=0.7)
    same, _ = editors(weights, ridge=0.7)
    for found in seen:
        write(same, found)
    for layer in LAYERS:
        assert torch.equal(made[layer].weight, same[layer].weight)
        assert not torch.equal(made[layer].weight, weights[layer])


@pytest.mark.parametrize("method", ["ultraedit", "stableedit"])
def test_a_restored_editor_goes_on_to_the_same_numbers(method):
    changed = {"warm_up": 2} if method == "stableedit" else {}
    weights = {layer: draw(D_OUT, D_IN, seed=layer).float() for layer in LAYERS}
    (first, _), (second, _) = (editors(weights, method, **changed) for _ in range(2))
    for turn in range(2):
        write(first, signals(turn))
    for layer in LAYERS:
        second[layer].load(first[layer].state())
    for made in (first, second):
        write(made, signals(2))
    for layer in LAYERS:
        assert torch.equal(first[layer].weight, second[layer].weight)
