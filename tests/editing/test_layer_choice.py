"""First-order layer scores against finite rotations of the model itself."""

import pandas as pd
import pytest
import tiny
import torch

from mose.editing import layer_choice
from mose.evaluation import prompt_scores
from mose.linalg.orthogonal import on_sphere
from mose.report.figures import overview


def loss_with(lm, request, layer, replace):
    """Mean NLL of the new object with the projection's output at the subject's end replaced.

    replace: (key, output) -> output, at that position.
    """
    prompt = request.text
    ids = lm.tokenizer(f"{prompt[: prompt.index(request.subject) + len(request.subject)]}")
    at = len(ids["input_ids"]) - 1

    def hook(_module, args, output):
        key = args[0].reshape(-1, args[0].shape[-1])[at]
        flat = output.clone().reshape(-1, output.shape[-1])
        flat[at] = replace(key, flat[at])
        return flat.view_as(output)

    handle = lm.projection(layer).register_forward_hook(hook)
    target = lm.tokenizer(f" {request.target_new}")["input_ids"]
    whole = torch.tensor([lm.tokenizer(prompt)["input_ids"] + target])
    logits = lm.model(whole).logits[0, -len(target) - 1 : -1]
    handle.remove()
    return float(torch.nn.functional.cross_entropy(logits.double(), torch.tensor(target)))


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2", "gptj", "opt"])
@pytest.mark.parametrize("side", layer_choice.SIDES)
def test_no_small_rotation_lowers_the_loss_faster_and_one_lowers_it_as_fast(kind, side, requests):
    lm = tiny.model(kind)
    lm.norm.weight.mul_(10.0)  # a sharper head: losses that move more than they round
    request, layer, angle = requests[0], 2, 2e-3
    score = float(layer_choice.first_order_scores(lm, [request])[side][0, layer])
    weight = lm.weight(layer).detach()

    def turned(direction):
        def replace(key, output):
            base = output if side == "output" else key
            # The projection's bias is not turned: a rotation acts on W k.
            value = weight @ key
            base = value if side == "output" else key
            across = direction - (direction @ base) / (base @ base) * base
            moved = base + angle * base.norm() * across / across.norm()
            after = on_sphere(base, moved - base)
            return output + (after - value if side == "output" else weight @ (after - base))

        return replace

    before = loss_with(lm, request, layer, lambda key, output: output)
    size = weight.shape[0 if side == "output" else 1]
    # The gradient by central differences along every axis.
    slopes = []
    for axis in torch.eye(size):
        step = 1e-3 * axis

        def shifted(sign, step=step):
            change = step if side == "output" else weight @ step
            return loss_with(lm, request, layer, lambda key, output: output + sign * change)

        slopes.append((shifted(1) - shifted(-1)) / 2e-3)
    steepest = -torch.tensor(slopes)
    fall = (before - loss_with(lm, request, layer, turned(steepest))) / angle
    assert fall == pytest.approx(score, rel=0.05)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        other = torch.randn(size, generator=generator)
        assert (before - loss_with(lm, request, layer, turned(other))) / angle < score


def test_scores_do_not_depend_on_the_company(llama, requests):
    together = layer_choice.first_order_scores(llama, requests)
    for side in layer_choice.SIDES:
        assert together[side].shape == (len(requests), llama.n_layers)
        for i, request in enumerate(requests):
            alone = layer_choice.first_order_scores(llama, [request])[side][0]
            assert torch.allclose(together[side][i], alone, rtol=1e-4)
    before = prompt_scores.score_targets(llama, [(requests[0].text, "Rome")])
    assert prompt_scores.score_targets(llama, [(requests[0].text, "Rome")]) == before
    assert not any(p.requires_grad for p in llama.model.parameters())


@pytest.mark.parametrize(
    ("means", "proposed"),
    [
        ([0.1, 0.2, 0.9, 0.3, 0.1], [1, 2, 3]),
        ([0.9, 0.2, 0.3, 0.3, 0.1], [0, 1, 2]),
        ([0.1, 0.2, 0.3, 0.3, 0.9], [2, 3, 4]),
        ([0.1, 0.2], [0, 1]),
    ],
)
def test_the_proposal_is_the_best_layer_with_its_neighbours(means, proposed):
    assert layer_choice.propose(means) == proposed


def test_the_picture_shows_both_sides_and_names_its_axes():
    rows = [
        {"side": side, "layer": layer, "score": (layer % 5 + 1) * scale, "standard_error": 0.1,
         "proposed": layer in (3, 4, 5)}
        for side, scale in (("output", 1.0), ("input", 7.0)) for layer in range(8)
    ]  # fmt: skip
    figure = overview.layer_scores(pd.DataFrame(rows))
    (axes,) = figure.axes
    assert axes.get_xlabel() == "Layer"
    assert "radian" in axes.get_ylabel()
    drawn = [line for line in axes.lines if len(line.get_ydata()) == 8]
    assert [max(line.get_ydata()) for line in drawn] == pytest.approx([1.0, 1.0])
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for line in drawn:
        assert all(left < x < right for x in line.get_xdata())
        assert all(bottom < y < top for y in line.get_ydata())


def test_rows_are_means_over_requests_with_their_standard_error_and_proposal(llama, requests):
    scores = layer_choice.first_order_scores(llama, requests)
    rows = layer_choice.score_rows(llama, requests)
    assert len(rows) == len(layer_choice.SIDES) * llama.n_layers
    for row in rows:
        assert tuple(row) == layer_choice.COLUMNS
        own = scores[row["side"]][:, row["layer"]].numpy()
        assert row["score"] == pytest.approx(own.mean())
        assert row["standard_error"] == pytest.approx(own.std(ddof=1) / len(own) ** 0.5)
        assert row["requests"] == len(requests)
    for side in layer_choice.SIDES:
        own = [row for row in rows if row["side"] == side]
        proposed = layer_choice.propose([row["score"] for row in own])
        assert [row["layer"] for row in own if row["proposed"]] == proposed
