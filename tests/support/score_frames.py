"""Scores of three requests by hand, the frames made of them, and plain loops over them."""

import math

import numpy as np
import pandas as pd

from mose.report import prompt_metrics, tables

COLUMNS = [
    *("order", "request", "kind", "prompt", "tokens_new", "right_new", "logprob_new"),
    *("tokens_true", "right_true", "logprob_true", "predicted_true"),
]
RUN = {"model": "tiny", "dataset": "facts", "method": "memit", "seed": 0}


def unedited_scores():
    rows = [
        (0, "a", "edit", 0, 2, 0, -8.0, 1, 1, -1.0, "5"),
        (0, "a", "paraphrase", 0, 2, 1, -6.0, 1, 0, -2.0, "6"),
        (0, "a", "paraphrase", 1, 2, 0, -9.0, 1, 0, -3.0, "7"),
        (0, "a", "locality", 0, 2, 0, -8.0, 3, 2, -3.0, "1 2 3"),
        (0, "a", "locality", 1, 2, 0, -8.0, 1, 1, -1.0, "4"),
        (1, "b", "edit", 0, 1, 0, -5.0, 2, 2, -1.0, "8 9"),
        (1, "b", "paraphrase", 0, 1, 0, -5.0, 2, 1, -1.5, "8 1"),
        (1, "b", "locality", 0, 1, 0, -6.0, 2, 1, -2.0, "3 3"),
        (2, "c", "edit", 0, 3, 1, -5.0, 1, 0, -4.0, "2"),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def edited_scores():
    rows = [
        # mean log-probabilities per token: -1 of new, -1 of true: a tie
        (0, "a", "edit", 0, 2, 2, -2.0, 1, 0, -1.0, "5"),
        (0, "a", "paraphrase", 0, 2, 1, -1.0, 1, 0, -2.0, "6"),
        (0, "a", "paraphrase", 1, 2, 2, -1.0, 1, 0, -0.25, "0"),
        (0, "a", "locality", 0, 2, 0, -8.0, 3, 1, -3.0, "1 9 3"),
        (0, "a", "locality", 1, 2, 0, -2.0, 1, 1, -1.0, "4"),
        (1, "b", "edit", 0, 1, 1, -0.5, 2, 0, -6.0, "1 1"),
        (1, "b", "paraphrase", 0, 1, 0, -2.0, 2, 0, -3.0, "1 1"),
        (1, "b", "locality", 0, 1, 0, -6.0, 2, 2, -2.0, "3 3"),
        (2, "c", "edit", 0, 3, 2, -3.0, 1, 0, -4.0, "2"),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def loop_metrics(scores, unedited):
    """{(request, kind, prompt, metric): value}, row by row."""
    before = {(r.request, r.kind, r.prompt): r for r in unedited.itertuples()}
    found = {}
    for row in scores.itertuples():
        new = row.logprob_new / row.tokens_new
        true = row.logprob_true / row.tokens_true if row.tokens_true else None
        if row.kind.startswith("portability"):
            share = row.right_true / row.tokens_true
            values = {"portability": share, "portability_exact": float(share == 1)}
        elif row.kind == "locality":
            now = row.predicted_true.split()
            then = before[row.request, row.kind, row.prompt].predicted_true.split()
            same = sum(now[i] == then[i] for i in range(len(now)))
            values = {
                "locality": same / len(now),
                "locality_exact": float(same == len(now)),
                "locality_truth": row.right_true / row.tokens_true,
                "locality_truth_exact": float(row.right_true == row.tokens_true),
                "neighborhood": 1.0 if true > new else 0.0,
                "neighborhood_margin": true - new,
                "neighborhood_magnitude": math.exp(true) - math.exp(new),
            }
        else:
            share, success = {
                "edit": ("reliability", "efficacy"),
                "paraphrase": ("generalization", "paraphrase"),
                "prefixed": ("prefixed_reliability", "prefixed_efficacy"),
            }[row.kind]
            values = {
                share: row.right_new / row.tokens_new,
                f"{share}_exact": float(row.right_new == row.tokens_new),
            }
            if true is not None:
                values |= {success: float(new > true), f"{success}_margin": new - true}
                values[f"{success}_magnitude"] = math.exp(new) - math.exp(true)
                values |= loop_choice(row, "" if row.kind == "edit" else f"{row.kind}_")
            if row.kind == "prefixed":
                own = scores[scores.request == row.request]
                (edit,) = own[own.kind == "edit"].itertuples()
                if edit.right_new == edit.tokens_new:
                    values["prefixed_kept"] = float(row.right_new == row.tokens_new)
        for metric, value in values.items():
            found[row.request, row.kind, row.prompt, metric] = value
    return found


def loop_choice(row, prefix):
    """The likeliest of three ways to go on, 1 for it and 0 for the others."""
    new, true = math.exp(row.logprob_new), math.exp(row.logprob_true)
    shares = {"neither": 1 - new - true, "new": new, "true": true}
    best = max(shares, key=shares.get)
    return {f"{prefix}choice_{name}": float(name == best) for name in shares}


def history():
    """metrics, stability, perplexity of one run with checkpoints 0, 1, 3."""
    unedited, edited = unedited_scores(), edited_scores()
    metrics, perplexity, stability = [], [], []
    for edits, newest, scores in ((0, 0, unedited), (1, 0, edited), (3, 1, edited)):
        rows = prompt_metrics.score_metrics(scores, unedited)
        done = rows[rows.order < edits] if edits else rows
        done, rows = (part.assign(drawn_of=0) for part in (done, rows))
        metrics.append(tables.identify(done, **RUN, edits=edits, when="retention"))
        fresh = rows[(rows.order >= newest) & (rows.order < edits)]
        metrics.append(tables.identify(fresh, **RUN, edits=edits, when="immediate"))
        one = pd.DataFrame({"tokens": [100], "nll": [2.0], "perplexity": [40.0 + edits]})
        perplexity.append(tables.identify(one, **RUN, edits=edits))
    for edits in (1, 3):
        layers = pd.DataFrame(
            {
                "layer": [4, 5, 6],
                "output_orthogonality": [np.nan] * 3,
                "input_orthogonality": [np.nan] * 3,
                "rotation_error": [np.nan] * 3,
                "frobenius_ratio": [1.0, 1.0 + 0.1 * edits, 0.95],
                "condition_ratio": [1.5, 1.0, 0.25 if edits == 3 else 0.9],
            }
        )
        stability.append(tables.identify(layers, **RUN, edits=edits))
    return tuple(pd.concat(parts, ignore_index=True) for parts in (metrics, stability, perplexity))


def loop_mean(scores, unedited, metric, orders):
    """The mean over requests of means over prompts."""
    values = loop_metrics(scores, unedited)
    order = dict(zip(scores.request, scores.order, strict=True))
    by_request = {}
    for (request, _, _, name), value in values.items():
        if name == metric and order[request] in orders:
            by_request.setdefault(request, []).append(value)
    means = [sum(found) / len(found) for found in by_request.values()]
    return sum(means) / len(means) if means else math.nan


def generated_metrics():
    """Three requests, of which only the first was answered by generation."""
    scores = edited_scores()
    asked = (scores["request"] == "a") & (scores["kind"] != "locality")
    scores["answer"] = np.where(asked, "Rome", "")
    scores["generated"] = np.where(asked, "It is Rome.", "")
    long = prompt_metrics.score_metrics(scores, unedited_scores())
    return tables.identify(long, **RUN, edits=3, when="retention")
