"""Scores of real records by the packaged model, against a plain computation."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from mose.evaluation import prompt_scores
from mose.facts import drawing, readers
from mose.report import prompt_metrics, tables

pytestmark = pytest.mark.package

NEIGHBOURS = 2


def mean_logprobs(lm, texts):
    """Mean log probability per target token of (prompt, target): the whole model, padded."""
    rows = []
    for prompt, target in texts:
        start = len(lm.tokenizer(prompt)["input_ids"])
        rows.append((start, lm.tokenizer(f"{prompt} {target}")["input_ids"]))
    found = np.empty(len(rows))
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][1]))
    for at in range(0, len(order), 16):
        group = order[at : at + 16]
        width = max(len(rows[i][1]) for i in group)
        ids = torch.zeros(len(group), width, dtype=torch.long)
        for place, i in enumerate(group):
            ids[place, : len(rows[i][1])] = torch.tensor(rows[i][1])
        # Padding on the right of a causal model is seen by nothing that is read.
        with torch.no_grad():
            logits = lm.model(ids).logits
        for place, i in enumerate(group):
            start, own = rows[i]
            log_probs = logits[place, start - 1 : len(own) - 1].double().log_softmax(-1)
            found[i] = log_probs[range(len(own) - start), own[start:]].mean().item()
    return found


@pytest.mark.parametrize("size", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_success_on_real_records_is_what_a_plain_computation_says(
    smollm2, real_data, tmp_path, size
):
    records = json.loads((real_data / "edits" / "counterfact.json").read_text())[:size]
    wanted = {"efficacy": [], "paraphrase": [], "neighborhood": []}
    texts, plan = [], []
    for record in records:
        rewrite = record["requested_rewrite"]
        new, true = rewrite["target_new"]["str"], rewrite["target_true"]["str"]
        prompts = {
            "efficacy": [rewrite["prompt"].replace("{}", rewrite["subject"])],
            "paraphrase": record["paraphrase_prompts"],
            "neighborhood": record["neighborhood_prompts"][:NEIGHBOURS],
        }
        for metric, asked in prompts.items():
            plan.append((metric, len(asked)))
            texts += [(prompt, target) for prompt in asked for target in (new, true)]
    found = mean_logprobs(smollm2, texts).reshape(-1, 2)
    at = 0
    for metric, count in plan:
        new, true = found[at : at + count].T
        at += count
        won = true > new if metric == "neighborhood" else new > true
        wanted[metric].append(won.mean())

    (tmp_path / "first.json").write_text(json.dumps(records))
    facts, _ = readers.read_facts_of(str(tmp_path / "first.json"))
    drawn = drawing.draw_requests(facts, 0, False, NEIGHBOURS, 0.0)
    scores = pd.DataFrame(
        prompt_scores.score_requests(smollm2, drawn, range(len(drawn))),
        columns=prompt_scores.COLUMNS,
    )
    long = prompt_metrics.score_metrics(scores, scores)
    long = tables.identify(
        long, model="m", dataset="d", method="unedited", seed=0, edits=0, when="retention"
    )
    means = tables.request_means(long)
    assert len(means) == len(records) == size
    for metric, values in wanted.items():
        assert means[metric].mean() == pytest.approx(np.mean(values), abs=1e-6), metric
