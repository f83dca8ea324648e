"""Metrics of single prompts, from the rows of the scoring stage.

There are two families of metrics. Reliability, generalization and locality are EasyEdit's
(Wang et al. 2023, arXiv 2308.07269): shares of target tokens. Efficacy, paraphrase and
neighborhood are MEMIT's (Meng et al. 2023, arXiv 2210.07229): which of two objects is likelier.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mose.evaluation import text
from mose.evaluation.fluency import Tfidf, fluency

PROMPT = ["request", "kind", "prompt"]


def score_metrics(
    scores: pd.DataFrame,
    unedited: pd.DataFrame,
    references: Mapping[str, str] | None = None,
    tfidf: Tfidf | None = None,
) -> pd.DataFrame:
    """Every metric of every prompt, in long form: order, request, kind, prompt, metric, value.

    scores, unedited: one row per prompt, of the edited and of the unedited model, as the scoring
    stage writes them. Log-probabilities are sums over a target's tokens, in nats.
    references, tfidf: joined reference texts by request id, and tf-idf weights of their terms.
    Metrics by kind of prompt:

    edit        reliability, the share of the new object's tokens that are predicted;
                efficacy, 1 if the new object is likelier than the true one
    paraphrase  generalization and paraphrase, the same for paraphrased prompts
    locality    locality, the share of predicted tokens that are the unedited model's;
                locality_truth, the share that are the neighbour's true object;
                neighborhood, 1 if the true object is likelier than the request's new one
    prefixed    prefixed_reliability and prefixed_efficacy, the same as of edit prompts, behind
                unrelated text; prefixed_kept, whether all of the new object's tokens are still
                predicted, of requests of which they are without that text
    portability and portability:KIND
                portability, the share of the tokens that should follow from the edit
    instance    instance_belongs, 1 unless the answer is no; instance_unclear, 1 if it is neither
                yes nor no; instance_change, the unedited model's instance_belongs minus the edited
                model's
    text        fluency, of each text; consistency, the tf-idf similarity of all texts of a request
                to its `references`, in the row of prompt 0

    For requests answered by greedy generation, reliability and generalization also have
    `_generated_exact`, 1 if the generated text is the answer, and `_generated_contains`, 1 if it
    contains the answer, both by `mose.evaluation.text`.

    Edit prompts have `choice_new`, `choice_true` and `choice_neither`, paraphrases the same with
    `paraphrase_` in front, prompts behind text with `prefixed_`: 1 for the largest of the
    probabilities of the new object's tokens, of the true one's, and of all other continuations; a
    tie counts as neither.

    Each share also has an `_exact` metric, 1 if all tokens agree. Each comparison also has a
    `_margin`, the difference of mean log-probabilities in nats per token, positive for success, and
    a `_magnitude`, the difference of their exponentials (MEMIT's).

    The likelier of two objects has the higher mean log-probability per token, as in MEMIT's code. A
    tie counts as 0, and so do two objects without any probability. Requests without a true object
    have no comparisons.
    Raises ValueError if the unedited model was not scored on the same prompts and tokens.
    """
    free = [
        *_instances(*(frame[frame["kind"] == "instance"] for frame in (scores, unedited))),
        *_texts(scores[scores["kind"] == "text"], references or {}, tfidf),
    ]
    scores = _with_unedited(
        *(frame[~frame["kind"].isin(["instance", "text"])] for frame in (scores, unedited))
    )
    margin = scores["logprob_new"] / scores["tokens_new"]
    margin = margin - scores["logprob_true"] / scores["tokens_true"]
    probability = np.exp(scores["logprob_new"] / scores["tokens_new"])
    magnitude = probability - np.exp(scores["logprob_true"] / scores["tokens_true"])
    written = scores["right_new"] / scores["tokens_new"]
    true = scores["right_true"] / scores["tokens_true"]
    kind = scores["kind"]

    parts = []
    for name, share, success, choice in (
        ("edit", "reliability", "efficacy", ""),
        ("paraphrase", "generalization", "paraphrase", "paraphrase_"),
        ("prefixed", "prefixed_reliability", "prefixed_efficacy", "prefixed_"),
    ):
        rows = scores[kind == name]
        parts += _share(rows, share, written)
        parts += _preference(rows, success, margin, magnitude)
        parts += _generation(rows, share)
        parts += _choice(rows, choice)
    parts.append(_kept(scores[kind == "prefixed"], scores[kind == "edit"], written))
    rows = scores[kind == "locality"]
    parts += _share(rows, "locality", _agreement(rows))
    parts += _share(rows, "locality_truth", true)
    parts += _preference(rows, "neighborhood", -margin, -magnitude)
    parts += _share(scores[kind.str.startswith("portability")], "portability", true)
    return pd.concat([*parts, *free], ignore_index=True)


def _with_unedited(scores: pd.DataFrame, unedited: pd.DataFrame) -> pd.DataFrame:
    """`scores` with the unedited model's predictions as `predicted_before`.

    Raises ValueError if the models were not scored on the same prompts and tokens.
    """
    # pandas reads ids and token lists that look like numbers from CSV as numbers.
    scores, unedited = (
        frame.astype({"request": str, "predicted_true": str}) for frame in (scores, unedited)
    )
    for name, frame in (("scores", scores), ("unedited scores", unedited)):
        twice = frame[frame.duplicated(PROMPT)]
        if len(twice):
            raise ValueError(f"the {name} hold {_where(twice.iloc[0])} more than once")
    before = unedited[[*PROMPT, "tokens_new", "tokens_true", "predicted_true"]]
    joined = scores.merge(before, on=PROMPT, how="left", suffixes=("", "_before"), indicator=True)

    missing = joined[joined["_merge"] == "left_only"]
    if len(missing):
        row = missing.iloc[0]
        raise ValueError(
            f"the unedited model has no score for {_where(row)}: the edited model was scored on "
            f"{row['tokens_new']} new and {row['tokens_true']} true tokens, the unedited on none"
        )
    for count in ("tokens_new", "tokens_true"):
        other = joined[joined[count] != joined[f"{count}_before"]]
        if len(other):
            row = other.iloc[0]
            raise ValueError(
                f"{count} differs for {_where(row)}: {row[count]} in the scores, "
                f"{int(row[f'{count}_before'])} in the unedited model's"
            )
        empty = joined[joined[count] < 1]
        if count == "tokens_true":  # requests may have no true object
            empty = empty[~empty["kind"].isin(["edit", "paraphrase", "prefixed"])]
        if len(empty):
            raise ValueError(f"{count} is {empty.iloc[0][count]} for {_where(empty.iloc[0])}")
    return joined.rename(columns={"predicted_true_before": "predicted_before"})


def _agreement(rows: pd.DataFrame) -> pd.Series:
    """The share of positions at which the two models predict the same token, one value per row."""
    predicted = [rows[name].fillna("") for name in ("predicted_true", "predicted_before")]
    shares = []
    for place, (now, before, tokens) in enumerate(
        zip(*predicted, rows["tokens_true"], strict=True)
    ):
        edited, original = now.split(), before.split()
        if not len(edited) == len(original) == tokens:
            raise ValueError(
                f"predicted_true has {len(edited)} tokens in the scores and {len(original)} in "
                f"the unedited model's for {_where(rows.iloc[place])}; tokens_true is {tokens}"
            )
        same = sum(one == other for one, other in zip(edited, original, strict=True))
        shares.append(same / tokens)
    return pd.Series(shares, index=rows.index, dtype=np.float64)


def _share(rows: pd.DataFrame, metric: str, share: pd.Series) -> list[pd.DataFrame]:
    share = share[rows.index]
    return [_long(rows, metric, share), _long(rows, f"{metric}_exact", share == 1.0)]


def _preference(
    rows: pd.DataFrame, metric: str, margin: pd.Series, magnitude: pd.Series
) -> list[pd.DataFrame]:
    rows = rows[rows["tokens_true"] > 0]
    margin = margin[rows.index]  # NaN if both objects have no probability at all
    return [
        _long(rows, metric, margin > 0.0),
        _long(rows, f"{metric}_margin", margin),
        _long(rows, f"{metric}_magnitude", magnitude[rows.index]),
    ]


def _choice(rows: pd.DataFrame, prefix: str) -> list[pd.DataFrame]:
    """Which of new object, true object and neither the model's own text would most likely be."""
    rows = rows[rows["tokens_true"] > 0]
    new, true = np.exp(rows["logprob_new"]), np.exp(rows["logprob_true"])
    neither = 1.0 - new - true
    chooses = {
        "new": (new > true) & (new > neither),
        "true": (true > new) & (true > neither),
    }
    chooses["neither"] = ~(chooses["new"] | chooses["true"])
    return [_long(rows, f"{prefix}choice_{name}", value) for name, value in chooses.items()]


def _kept(rows: pd.DataFrame, edits: pd.DataFrame, written: pd.Series) -> pd.DataFrame:
    """Whether requests whose edit prompt is answered right are answered right behind text too."""
    right = edits.loc[written[edits.index] == 1.0, "request"]
    rows = rows[rows["request"].isin(right)]
    return _long(rows, "prefixed_kept", written[rows.index] == 1.0)


def _generation(rows: pd.DataFrame, metric: str) -> list[pd.DataFrame]:
    """Success of greedy generation, for the rows that have a generated text."""
    if "answer" not in rows:
        return []
    answered = rows[rows["answer"].fillna("") != ""]
    parts = []
    for name, judge in (("exact", text.says_exactly), ("contains", text.contains)):
        pairs = zip(answered["generated"].fillna(""), answered["answer"], strict=True)
        success = pd.Series(
            [judge(*pair) for pair in pairs], index=answered.index, dtype=np.float64
        )
        parts.append(_long(answered, f"{metric}_generated_{name}", success))
    return parts


def _instances(rows: pd.DataFrame, unedited: pd.DataFrame) -> list[pd.DataFrame]:
    """Whether the model assigns instances to their concept (ConceptEdit, arXiv 2403.06259)."""
    if rows.empty:
        return []
    rows, unedited = (frame.astype({"request": str}) for frame in (rows, unedited))
    before = unedited[[*PROMPT, "generated"]]
    rows = rows.merge(before, on=PROMPT, how="left", suffixes=("", "_before"), validate="1:1")
    missing = rows[rows["generated_before"].isna()]
    if len(missing):
        raise ValueError(f"the unedited model has no answer for {_where(missing.iloc[0])}")
    belongs = ~rows["generated"].map(_says_no)
    return [
        _long(rows, "instance_belongs", belongs),
        _long(rows, "instance_unclear", belongs & ~rows["generated"].map(_says_yes)),
        _long(
            rows,
            "instance_change",
            (~rows["generated_before"].map(_says_no)).astype(np.int64) - belongs.astype(np.int64),
        ),
    ]


def _says_yes(answer: str) -> bool:
    return text.contains(answer, "yes")


def _says_no(answer: str) -> bool:
    return text.contains(answer, "no") and not _says_yes(answer)


def _texts(
    rows: pd.DataFrame, references: Mapping[str, str], tfidf: Tfidf | None
) -> list[pd.DataFrame]:
    """Fluency of each text; consistency of each request's texts with its references."""
    if rows.empty:
        return []
    rows = rows.astype({"request": str})
    parts = [_long(rows, "fluency", rows["generated"].map(fluency))]
    if tfidf is not None:
        compared = rows[rows["request"].isin(references.keys())]
        joined = compared.groupby("request", sort=False)["generated"].agg(" ".join)
        first = compared[compared["prompt"] == 0]
        pairs = ((joined[name], references[name]) for name in first["request"])
        likeness = pd.Series([tfidf.similarity(*pair) for pair in pairs], index=first.index)
        parts.append(_long(first, "consistency", likeness))
    return parts


def _long(rows: pd.DataFrame, metric: str, value: pd.Series) -> pd.DataFrame:
    named = rows[["order", *PROMPT]].assign(metric=metric)
    return named.assign(value=value.astype(np.float64))


def _where(row: pd.Series) -> str:
    return f"request {row['request']}, kind {row['kind']}, prompt {row['prompt']}"
