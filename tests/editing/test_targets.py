"""Batched value targets against a plain loop over requests that runs the whole model."""

import dataclasses
import math
import re
from collections.abc import Callable

import pytest
import tiny
import torch
from plain_margin import plain_margin_descent

from mose.editing import anchors, targets
from mose.errors import NumericalError
from mose.facts.requests import EditRequest
from mose.linalg.orthogonal import on_sphere
from mose.methods.options import MemitOptions, RomeOptions
from mose.methods.rotation_options import MoseOptions
from mose.models.losses import check_finite
from mose.statistics import keys

FREE = MoseOptions(
    layers=(1,), retention_weight=1.0, learning_rate=0.05, steps=6, stop_loss=0.0, weight_decay=0.02
)
VALUE = dataclasses.replace(FREE, targets="reachable", learning_rate=0.2)
KEY = dataclasses.replace(FREE, targets="reachable", side="input", learning_rate=0.1)
COMMON = {"layers": (1,), "learning_rate": 0.05, "steps": 6, "stop_loss": 0.0}
ROME = RomeOptions(**COMMON, clamp=0.2, weight_decay=0.0)
RESCALED = MemitOptions(**COMMON, retention_weight=1.0, targets="rescaled", weight_decay=0.0)
ANCHORED = dataclasses.replace(RESCALED, targets="anchored", anchor=40.0)
PATIENT = MemitOptions(
    **{**COMMON, "learning_rate": 0.1, "steps": 20}, retention_weight=1.0, clamp=10.0,
    weight_decay=0.0, patience=2,
)  # fmt: skip
FORMS = {
    "free": FREE, "value": VALUE, "key": KEY, "rome": ROME, "rescaled": RESCALED,
    "anchored": ANCHORED,
}  # fmt: skip


@dataclasses.dataclass
class PlainProblem:
    """One request's search: one prompt at a time, the full model.

    loss_of: of a shift, the loss and whether all templates say the target. width: of a shift;
    scale: the greatest one, or the length of what a sphere turns. shift: what is written of one.
    """

    loss_of: Callable
    width: int
    scale: float
    shift: Callable


def plain_problem(lm, request, templates, options):
    layer, tokenizer = options.layers[-1], lm.tokenizer
    target = tokenizer(f" {request.target_new}")["input_ids"]
    prompts = [template.replace("{}", request.text) for template in templates]
    weight = lm.weight(layer)
    behind_norm = lm.post_norm(layer) is not None

    def subject_at(text):
        upto = text[: text.rindex(request.subject) + len(request.subject)]
        return len(tokenizer(upto)["input_ids"]) - 1

    def forward(text, extra, shift_of):
        ids = torch.tensor([tokenizer(text)["input_ids"] + extra])
        at = subject_at(text)
        seen = {}

        def keep(_module, args):
            seen["key"] = args[0][0, at]

        def add(_module, _args, output):
            hidden = output[0] if isinstance(output, tuple) else output
            seen["hidden"] = hidden[0, at].detach()
            hidden = hidden.clone()
            hidden[0, at] = hidden[0, at] + shift_of(seen["key"])
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        # Behind a norm the block's output cannot be moved freely: the projection's is.
        moved = lm.projection(layer) if behind_norm else lm.blocks[layer]
        hooks = [
            lm.projection(layer).register_forward_pre_hook(keep),
            moved.register_forward_hook(add),
        ]
        logits = lm.model(ids).logits[0]
        for hook in hooks:
            hook.remove()
        return logits, at, seen

    with torch.no_grad():
        _, _, seen = forward(prompts[0], target[:-1], lambda key: 0 * (weight @ key))
        value = lm.projection(layer)(seen["key"])
        origin = value if options.LENGTH_OF == "value" or behind_norm else seen["hidden"]
        length, seen_key = origin.norm(), seen["key"]
        logits, at, _ = forward(f"{request.subject} is a", [], lambda key: 0 * (weight @ key))
        essence0 = logits[at].log_softmax(-1)

    def loss_of(delta):
        def shift_of(key):
            if options.target_space == "free":
                return delta
            if options.target_space == "value":
                return on_sphere(weight @ key, delta) - weight @ key
            return weight @ (on_sphere(key, delta) - key)

        loss, said = 0.0, True
        for text in prompts:
            logits, _, _ = forward(text, target[:-1], shift_of)
            start = len(tokenizer(text)["input_ids"]) - 1
            log_probs = logits[start : start + len(target)].log_softmax(-1)
            nll = -log_probs[range(len(target)), target].mean()
            loss = loss + nll / len(prompts)
            said &= bool((log_probs.argmax(-1) == torch.tensor(target)).all())
        logits, at, _ = forward(f"{request.subject} is a", [], shift_of)
        now = logits[at].log_softmax(-1)
        # KL(now || before): the direction in which the authors' code has it.
        divergence = torch.nn.functional.kl_div(essence0, now, log_target=True, reduction="sum")
        loss = loss + options.kl_weight * divergence
        if options.target_space == "free":
            loss = loss + options.weight_decay * delta.norm() / length**2
        return loss, said

    def shift(delta):
        if options.targets == "rescaled":
            return (on_sphere(origin, delta) - origin).detach()
        if options.targets == "anchored":
            asked = (value + delta).detach()
            if asked.norm() > 2 * options.anchor:
                return torch.zeros_like(asked)
            return asked / asked.norm() * options.anchor - value
        return delta.detach()

    width = weight.shape[1 if options.target_space == "key" else 0]
    turned = {"free": options.clamp * length, "value": value.norm(), "key": seen_key.norm()}
    return PlainProblem(loss_of, width, float(turned[options.target_space]), shift)


def plain_targets(lm, request, templates, options):
    """Torch's own Adam on a `plain_problem`: the shift and the losses of all steps."""
    problem = plain_problem(lm, request, templates, options)
    delta = torch.zeros(problem.width, requires_grad=True)
    adam = torch.optim.Adam([delta], lr=options.learning_rate)
    losses, said_at = [], None
    for step in range(options.steps):
        loss, said = problem.loss_of(delta)
        losses.append(float(loss.detach()))
        if losses[-1] < options.stop_loss or step == options.steps - 1:
            break
        said_at = step if said and said_at is None else said_at
        if None not in (said_at, options.patience) and step >= said_at + options.patience:
            break
        adam.zero_grad()
        loss.backward()
        adam.step()
        if options.target_space == "free":
            with torch.no_grad():
                delta *= (problem.scale / delta.norm()).clamp(max=1)
    return problem.shift(delta), losses


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("tokens_per_pass", [1, 4096])
def test_margin_steps_of_a_batch_are_those_of_a_plain_loop(
    llama, requests, templates, options, tokens_per_pass
):
    # Four steps: at the clamp, later losses differ by less than float32 tells, and a tie decides
    # whether a step is refused.
    options = dataclasses.replace(options, optimiser="margin", stop_loss=1e-3, steps=4)
    found = targets.optimise(llama, requests, templates, options, tokens_per_pass)
    for i, request in enumerate(requests):
        problem = plain_problem(llama, request, templates, options)
        limit = problem.scale if options.target_space == "free" else math.inf
        _, losses, best = plain_margin_descent(
            lambda point, p=problem: p.loss_of(point.float())[0],
            *(problem.width, options.steps, options.stop_loss, limit, problem.scale),
        )
        shift = problem.shift(torch.tensor(best))
        assert float((found.shift[i] - shift).abs().max()) < 1e-5 * float(shift.abs().max())
        assert found.loss[i] == pytest.approx(min(losses), rel=1e-5)
        assert found.steps[i] == options.steps
        assert min(losses) < losses[0]


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("tokens_per_pass", [1, 60, 4096])
def test_a_batch_finds_what_a_plain_loop_finds(
    llama, requests, templates, options, tokens_per_pass
):
    found = targets.optimise(llama, requests, templates, options, tokens_per_pass)
    gained = []
    for i, request in enumerate(requests):
        shift, losses = plain_targets(llama, request, templates, options)
        scale = float(shift.abs().max())
        assert float((found.shift[i] - shift).abs().max()) < 1e-4 * scale
        assert found.loss[i] == pytest.approx(losses[-1], rel=1e-4)
        assert found.steps[i] == options.steps
        gained.append(losses[0] - losses[-1])
    assert min(gained) > 0, "the plain loop itself must learn"


@pytest.mark.parametrize(
    ("kind", "form"), [("gemma2", "free"), ("olmo2", "free"), *(("gemma3", f) for f in FORMS)]
)
def test_targets_before_a_norm_are_what_a_plain_loop_finds(kind, form, requests, templates):
    # These values are short: the decay of FREE, over their squared length, would win.
    options = FORMS[form] if form != "free" else dataclasses.replace(FREE, weight_decay=0.001)
    lm = tiny.model(kind)
    found = targets.optimise(lm, requests[:2], templates, options)
    for i, request in enumerate(requests[:2]):
        shift, losses = plain_targets(lm, request, templates, options)
        assert float((found.shift[i] - shift).abs().max()) < 1e-3 * float(shift.abs().max())
        assert found.loss[i] == pytest.approx(losses[-1], rel=1e-4)
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_a_pass_is_as_large_as_the_estimate_of_memory_assumes(
    llama, requests, templates, threads, monkeypatch
):
    asked = []
    grouped = targets._groups

    def groups(sizes, tokens):
        asked.append(tokens)
        return grouped(sizes, tokens)

    monkeypatch.setattr(targets, "_groups", groups)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    targets.optimise(llama, requests, templates, FREE)
    assert asked == [256 if threads == 1 else 512]


def test_finished_requests_leave_and_the_others_do_not_notice(llama, requests, templates):
    losses = [plain_targets(llama, r, templates, FREE)[1] for r in requests]
    # A threshold that some cross midway and others do not.
    stop = sorted(step[3] for step in losses)[2] * 1.0001
    options = dataclasses.replace(FREE, stop_loss=stop)
    found = targets.optimise(llama, requests, templates, options)
    assert len(set(found.steps)) > 1
    for i, request in enumerate(requests):
        shift, plain = plain_targets(llama, request, templates, options)
        assert found.steps[i] == len(plain)
        assert torch.allclose(found.shift[i].float(), shift, atol=1e-4 * float(shift.abs().max()))


def test_the_patient_leave_two_steps_after_all_templates_say_it(templates):
    lm = tiny.model()
    # A sharper head, and prompts that end with the subject, so that a random model can be
    # brought to say one token; two tokens are beyond it.
    lm.norm.weight.mul_(20.0)
    requests = [
        EditRequest(str(i), country, "I live in {}", target)
        for i, (country, target) in enumerate([("France", "Rome"), ("Italy", "Paris")])
    ]
    found = targets.optimise(lm, requests, templates, PATIENT)
    for i, request in enumerate(requests):
        shift, plain = plain_targets(lm, request, templates, PATIENT)
        assert found.steps[i] == len(plain)
        assert torch.allclose(found.shift[i].float(), shift, atol=1e-3 * float(shift.abs().max()))
    assert found.steps[0] < found.steps[1] == PATIENT.steps
    unstopped = dataclasses.replace(PATIENT, patience=None)
    assert targets.optimise(lm, requests, templates, unstopped).steps == [PATIENT.steps] * 2


def test_rescaled_targets_keep_the_length_of_the_hidden_state(llama, requests, templates):
    found = targets.optimise(llama, requests, templates, RESCALED)
    hidden = keys.collect(llama, requests, templates, [1]).prompt_hidden
    moved = torch.linalg.vector_norm(hidden + found.shift.mT, dim=0)
    assert torch.allclose(moved, torch.linalg.vector_norm(hidden, dim=0), rtol=1e-5)
    assert found.shift.norm() > 0.1


def test_a_target_over_twice_the_anchor_is_not_written(llama, requests, templates):
    """The shift of NAS: nothing where ||v*|| > 2 anchor, else v* at the anchor's length."""
    free = dataclasses.replace(ANCHORED, targets="free", anchor=None)
    delta = targets.optimise(llama, requests, templates, free).shift
    key = keys.collect(llama, requests, templates, [1]).prompt_keys[1]
    value = llama.project(1, key.mT.float()).double()
    norms = torch.linalg.vector_norm(value + delta, dim=1)
    anchor = float(norms.median()) / 2 * 1.001
    options = dataclasses.replace(ANCHORED, anchor=anchor)
    found = targets.optimise(llama, requests, templates, options)
    skipped = norms > 2 * anchor
    assert 0 < skipped.sum() < len(requests)
    assert (found.shift[skipped] == 0).all()
    lengths = torch.linalg.vector_norm(value + found.shift, dim=1)[~skipped]
    assert torch.allclose(lengths, torch.full_like(lengths, anchor), rtol=1e-5)


def test_pilot_norms_are_those_of_plain_targets_of_the_bare_prompt(llama, requests):
    free = dataclasses.replace(RESCALED, targets="free")
    norms = anchors.pilot_norms(llama, requests, free)
    for i, request in enumerate(requests):
        shift, _ = plain_targets(llama, request, ["{}"], free)
        upto = request.text[: request.text.rindex(request.subject) + len(request.subject)]
        seen = []
        hook = llama.projection(1).register_forward_hook(lambda *args, to=seen: to.append(args[2]))
        llama.model(torch.tensor([llama.tokenizer(upto)["input_ids"]]))
        hook.remove()
        assert norms[i] == pytest.approx(float((seen[0][0, -1] + shift).norm()), rel=1e-4)
    with pytest.raises(ValueError, match="of free targets, found rescaled"):
        anchors.pilot_norms(llama, requests, RESCALED)


def test_the_clamp_bounds_free_shifts(llama, requests, templates):
    tight = dataclasses.replace(FREE, clamp=0.01, learning_rate=5.0)
    shift, _ = plain_targets(llama, requests[0], templates, tight)
    found = targets.optimise(llama, requests[:1], templates, tight)
    assert torch.allclose(found.shift[0].float(), shift, atol=1e-5)
    loose = targets.optimise(llama, requests[:1], templates, FREE)
    assert found.shift[0].norm() < 0.5 * loose.shift[0].norm()


@pytest.mark.parametrize(
    ("changed", "cure"),
    [
        ({"learning_rate": float("inf")}, "at step 2; lower learning_rate (now inf)"),
        ({"kl_weight": float("inf")}, "at step 1; nothing was learned for it yet, so look at"),
    ],
)
def test_a_loss_that_is_not_finite_names_request_layer_step_and_cure(
    changed, cure, llama, requests, templates
):
    layer = FREE.layers[-1]
    where = f"the loss of request {requests[0].id} at layer {layer} is not finite {cure}"
    with pytest.raises(NumericalError, match=re.escape(where)):
        targets.optimise(llama, requests[:2], templates, dataclasses.replace(FREE, **changed))


def test_the_one_request_whose_loss_is_not_finite_is_named():
    loss = torch.tensor([1.0, float("nan"), 2.0])
    with pytest.raises(NumericalError, match="request b at layer 1 is not finite at step 3"):
        check_finite(loss, ["a", "b", "c"], "layer 1", 3, 0.1, "")
    check_finite(loss[[0, 2]], ["a", "c"], "layer 1", 3, 0.1, "")
