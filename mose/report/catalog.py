"""Every table and figure of an experiment: name, place in the report, caption.

Rules and programs take the list of output files from here. Imports neither pandas nor matplotlib:
the workflow plans with it. Captions are reStructuredText.
"""

from dataclasses import dataclass

EDITS = "Edits"
RETENTION = "Retention"
STABILITY = "Stability"
ABILITIES = "Abilities"
SETTINGS = "Settings"

OVER_SEEDS = (
    "Lines are means over seeds. Whiskers or bands are the range over seeds or, with one seed, 95 "
    "% bootstrap intervals over requests. Checkpoint 0 is the unedited model."
)
OVER_ITEMS = (
    "Lines are means over seeds. Whiskers or bands are the range over seeds or, with one seed, 95 "
    "% bootstrap intervals over items, the edited and the unedited model drawn in pairs. "
    "Checkpoint 0 is the unedited model."
)


@dataclass(frozen=True)
class Entry:
    """A table or a figure.

    name: of its file, without suffix. title: two or three words for the report. category: of the
    report. per_prompt: a table with one row per prompt or item. It may have millions of rows, so it
    is not in the report.
    """

    name: str
    title: str
    category: str
    caption: str
    per_prompt: bool = False


TABLES = (
    Entry(
        "summary",
        "summary",
        EDITS,
        "One row per method, seed and checkpoint: mean scores over all requests edited so far, "
        "perplexity, and norm and condition number of the layer that moved most, over those of the "
        "unedited matrix. Where it was asked for: scores of edit prompts behind unrelated text; "
        "which of two conflicting edits is kept.",
    ),
    Entry(
        "summary_intervals",
        "intervals of the summary",
        EDITS,
        "95 % bootstrap intervals over requests of the scores in the summary.",
    ),
    Entry(
        "means",
        "means of all metrics",
        EDITS,
        "Mean of every metric over requests with its 95 % bootstrap interval, and how many "
        "requests have it or were left out.",
    ),
    Entry(
        "protocols",
        "four protocols",
        EDITS,
        "Success of the same requests judged in four ways: by the share of target tokens, by all "
        "target tokens, and by generated text that equals or contains the target.",
    ),
    Entry(
        "ranks",
        "ranks by family",
        EDITS,
        "Score and rank of each method by families of measures, at the last checkpoint that all "
        "methods have: which object is likelier, shares of tokens, all tokens, generated answers "
        "(each the harmonic mean of its metrics), and perplexity.",
    ),
    Entry(
        "collapse_points",
        "points of collapse",
        RETENTION,
        "Number of edits at the first checkpoint where a score is below 60 % of its value at the "
        "first checkpoint; empty if it never was.",
    ),
    Entry(
        "drift_correlations",
        "what collapse goes with",
        STABILITY,
        "Rank correlation (Spearman) of each measure of how far the edited matrices moved with "
        "scores, perplexity and the reliability of the first group of requests, over all methods, "
        "seeds and checkpoints.",
    ),
    Entry(
        "immediate",
        "scores after each batch",
        RETENTION,
        "Mean scores of each batch right after it was written, before later edits.",
    ),
    Entry(
        "retention_matrix",
        "retention by group",
        RETENTION,
        "Mean score of each group of requests at every later checkpoint. origin is the number of "
        "edits when the group was complete.",
    ),
    Entry(
        "forgetting_curves",
        "scores by age",
        RETENTION,
        "Mean score of requests by the number of edits made since their group was complete.",
    ),
    Entry(
        "written_and_kept",
        "written and kept",
        RETENTION,
        "Mean score of each group of requests right after their own batch and at the last "
        "checkpoint: what the first lacks was not written, what the second lacks of it later edits "
        "undid. origin is the number of edits when the group was complete.",
    ),
    Entry(
        "metrics",
        "metrics of all prompts",
        EDITS,
        "Every metric of every prompt at every checkpoint.",
        per_prompt=True,
    ),
    Entry(
        "stability",
        "edited matrices",
        STABILITY,
        "Norms, spectrum, distance from the unedited matrix and error of orthogonality, per edited "
        "layer and checkpoint.",
    ),
    Entry(
        "perplexity",
        "perplexity",
        STABILITY,
        "Perplexity per token on held-out text, per checkpoint.",
    ),
    Entry(
        "edit_records",
        "records of all edits",
        EDITS,
        "One row per request of each run: optimiser steps, loss, attained fraction of the "
        "residual, seconds.",
    ),
)

TASK_TABLES = (
    Entry(
        "task_scores",
        "scores of all items",
        ABILITIES,
        "Every raw score of every item of the downstream tasks, edited and unedited.",
        per_prompt=True,
    ),
    Entry(
        "abilities",
        "tasks",
        ABILITIES,
        "Every metric of every downstream task at each checkpoint, beside the unedited model on "
        "the same items: difference and retained ability in percent, with paired 95 % bootstrap "
        "intervals.",
    ),
    Entry(
        "comparison",
        "comparison",
        ABILITIES,
        "Methods at the last checkpoint: edit scores, scores of the tasks, and the mean retained "
        "ability in percent.",
    ),
)

FIGURES = (
    Entry(
        "shares",
        "token scores",
        EDITS,
        f"Reliability, generalization and locality against the number of edits. {OVER_SEEDS}",
    ),
    Entry(
        "success",
        "success rates",
        EDITS,
        f"Efficacy, paraphrase and neighborhood success against the number of edits. {OVER_SEEDS}",
    ),
    Entry(
        "stability",
        "norm and condition",
        STABILITY,
        "Frobenius norm and condition number of the edited layer that moved most, relative to the "
        f"unedited matrix. {OVER_SEEDS}",
    ),
    Entry(
        "perplexity",
        "perplexity",
        STABILITY,
        f"Perplexity on held-out text against the number of edits. {OVER_SEEDS}",
    ),
    Entry(
        "tradeoff",
        "edits against fluency",
        EDITS,
        "Reliability of all edits so far against perplexity on held-out text: one line per method, "
        "one point per checkpoint, the last one filled. Upper left is better; means over seeds.",
    ),
    Entry(
        "drift",
        "reliability against drift",
        STABILITY,
        "Reliability of all edits so far against measures of how far the edited matrices are from "
        "the unedited ones (the largest over layers; rounding, below 1e-7, counts as none), with "
        "Spearman's rank correlation over all methods, seeds and checkpoints.",
    ),
    Entry(
        "attained",
        "attained fraction",
        EDITS,
        "Fraction of the residual that the update wrote. Dots are medians over requests, thick "
        "bars the middle half, thin bars the middle 90 %, of all seeds together.",
    ),
    Entry(
        "forgetting",
        "forgetting",
        RETENTION,
        "Reliability of each batch right after it was written and at the last checkpoint, one "
        "panel per method. The bars between are what later edits undid.",
    ),
    Entry(
        "retention",
        "retention map",
        RETENTION,
        "Reliability by place in the edit sequence (rows) and checkpoint (columns), one map per "
        "method; means over seeds.",
    ),
)
FORGETTING_CURVES = Entry(
    "forgetting_curves",
    "scores by age",
    RETENTION,
    "Scores against the number of edits made since a group of requests was complete.",
)
FIRST_EDITS = Entry(
    "first_edits",
    "the first edits",
    RETENTION,
    "Scores of the edits before the first checkpoint, measured again at every checkpoint. Lines "
    "are means over seeds, whiskers the range over seeds.",
)
OVER_CHECKPOINTS = (FORGETTING_CURVES, FIRST_EDITS)
PORTABILITY = Entry(
    "by_kind",
    "portability",
    EDITS,
    "Portability of all edits so far by kind of question, against the number of edits. "
    f"{OVER_SEEDS}",
)

TASK_FIGURES = (
    Entry(
        "abilities",
        "task scores",
        ABILITIES,
        f"Headline score of each downstream task against the number of edits. {OVER_ITEMS}",
    ),
    Entry(
        "retained",
        "retained ability",
        ABILITIES,
        "Retained ability: the score of each task over that of the unedited model, in percent, and "
        f"their mean. {OVER_ITEMS}",
    ),
)

NEXT_TOKENS = Entry(
    "next_tokens",
    "next tokens",
    STABILITY,
    "Divergence of the edited model's next-token distribution from the unedited one's, and the "
    "share of the 1, 5 and 10 likeliest tokens that both have, after neighbour prompts and on "
    "held-out text, per checkpoint.",
)
NULL_SPACE = Entry(
    "null_space",
    "null space",
    STABILITY,
    "Size of the null space that AlphaEdit edits in, per layer, and the share of the energy of "
    "keys that falls into it, on the corpus and on held-out text.",
)
LAYER_SCORES = Entry(
    "layer_scores",
    "choice of layers",
    SETTINGS,
    "Decrease of the target loss per radian of rotation, to first order, for each layer, relative "
    "to the best. Bars are one standard error to either side, filled markers the proposed layers.",
)
SCAN = Entry(
    "scan",
    "scan of settings",
    SETTINGS,
    "All variants of each scanned entry, ranked by the harmonic mean of reliability, "
    "generalization and locality at the last checkpoint.",
)


def figures(checkpoints: int) -> tuple[Entry, ...]:
    """The figures of an experiment with that number of checkpoints.

    Without PORTABILITY, which only some data sets have. OVER_CHECKPOINTS need two of them.
    """
    return (*FIGURES, *OVER_CHECKPOINTS) if checkpoints > 1 else FIGURES


def caption_name(kind: str, entry: Entry) -> str:
    """The name of an entry's caption, unique also if a table and a figure have the same name.

    kind: "table" or "figure".
    """
    return f"{kind}_{entry.name}"


def captions() -> dict[str, str]:
    """The caption of every entry, by `caption_name`."""
    tables = (*TABLES, *TASK_TABLES, NEXT_TOKENS, NULL_SPACE, SCAN)
    drawn = (*FIGURES, *OVER_CHECKPOINTS, PORTABILITY, *TASK_FIGURES, LAYER_SCORES)
    return {
        caption_name(kind, entry): entry.caption
        for kind, entries in (("table", tables), ("figure", drawn))
        for entry in entries
    }
