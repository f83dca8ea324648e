"""Metrics of single prompts against sums written out by hand or in plain loops."""

import pandas as pd
import pytest
from score_frames import COLUMNS, edited_scores, loop_metrics, unedited_scores

from mose.evaluation.fluency import Tfidf, fluency
from mose.report import prompt_metrics


def test_score_metrics_agree_with_a_loop_over_rows():
    more = [
        (2, "c", "portability:Reasoning", 0, 3, 0, -5.0, 4, 3, -3.0, "1 2 3 4"),
        # Without a true object there is nothing to be likelier than.
        (3, "d", "edit", 0, 1, 1, -5.0, 0, 0, 0.0, ""),
        # Behind text: of a and b, whose edit prompts are right, a is lost; of c nothing was right.
        (0, "a", "prefixed", 0, 2, 1, -3.0, 1, 0, -1.0, "5"),
        (1, "b", "prefixed", 0, 1, 1, -0.25, 2, 0, -6.0, "1 1"),
        (2, "c", "prefixed", 0, 3, 3, -0.1, 1, 0, -4.0, "2"),
        (3, "d", "prefixed", 0, 1, 0, -5.0, 0, 0, 0.0, ""),
    ]
    scores, unedited = (
        pd.concat([frame, pd.DataFrame(more, columns=COLUMNS)], ignore_index=True)
        for frame in (edited_scores(), unedited_scores())
    )
    metrics = prompt_metrics.score_metrics(scores, unedited)
    expected = loop_metrics(scores, unedited)
    assert list(metrics.columns) == ["order", "request", "kind", "prompt", "metric", "value"]
    keys = list(zip(metrics.request, metrics.kind, metrics.prompt, metrics.metric, strict=True))
    assert len(keys) == len(set(keys)) == len(expected)
    for key, value in zip(keys, metrics.value, strict=True):
        assert value == pytest.approx(expected[key], abs=1e-15), key
    kept = metrics[metrics.metric == "prefixed_kept"].set_index("request").value
    assert kept.to_dict() == {"a": 0.0, "b": 1.0, "d": 0.0}


def value_of(metrics, request, metric, prompt=0):
    chosen = metrics.request.eq(request) & metrics.metric.eq(metric) & metrics.prompt.eq(prompt)
    (value,) = metrics[chosen].value
    return value


def test_ties_are_lost_and_shares_are_of_tokens():
    metrics = prompt_metrics.score_metrics(edited_scores(), unedited_scores())
    assert value_of(metrics, "a", "efficacy") == 0.0
    assert value_of(metrics, "a", "efficacy_margin") == 0.0
    assert value_of(metrics, "a", "neighborhood", prompt=1) == 0.0
    assert value_of(metrics, "a", "locality") == pytest.approx(2 / 3)
    assert value_of(metrics, "a", "locality_truth") == pytest.approx(1 / 3)
    assert value_of(metrics, "c", "reliability") == pytest.approx(2 / 3)
    assert value_of(metrics, "c", "reliability_exact") == 0.0


def test_the_unedited_model_agrees_with_itself_in_any_row_order():
    unedited = unedited_scores()
    metrics = prompt_metrics.score_metrics(unedited, unedited.iloc[::-1])
    assert (metrics[metrics.metric == "locality_exact"].value == 1.0).all()


def test_single_tokens_read_as_numbers_are_compared_as_text():
    rows = [(0, 7, "locality", 0, 1, 0, -2.0, 1, 1, -1.0, 4)]
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    text = numbers.astype({"request": str, "predicted_true": str})
    metrics = prompt_metrics.score_metrics(numbers, text)
    assert value_of(metrics, "7", "locality") == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda u: u.drop(index=4), r"no score for request a, kind locality, prompt 1.* 2 new and"),
        (
            lambda u: u.assign(tokens_new=u.tokens_new.where(u.index != 5, 4)),
            r"tokens_new differs for request b, kind edit, prompt 0: 1 in the scores, 4 in the un",
        ),
        (
            lambda u: u.assign(tokens_true=u.tokens_true.where(u.index != 3, 2)),
            r"tokens_true differs for request a, kind locality, prompt 0: 3 .* 2 in the unedited",
        ),
        (
            lambda u: u.assign(predicted_true=u.predicted_true.where(u.index != 3, "1 2")),
            r"has 3 tokens in the scores and 2 .* request a, kind locality, prompt 0",
        ),
        (lambda u: pd.concat([u, u.iloc[:1]]), "unedited scores hold request a, kind edit.* once"),
    ],
)
def test_scores_of_other_prompts_or_tokens_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        prompt_metrics.score_metrics(edited_scores(), change(unedited_scores()))


def test_missing_predictions_are_refused():
    scores = edited_scores()
    scores.loc[3, "predicted_true"] = None
    with pytest.raises(ValueError, match=r"has 0 tokens .* and 3 in .* request a, kind loc"):
        prompt_metrics.score_metrics(scores, unedited_scores())


def test_a_target_without_tokens_is_refused():
    empty = edited_scores()
    empty.loc[0, "tokens_new"] = 0
    before = unedited_scores()
    before.loc[0, "tokens_new"] = 0
    with pytest.raises(ValueError, match="tokens_new is 0 for request a, kind edit, prompt 0"):
        prompt_metrics.score_metrics(empty, before)


def free_rows(kind, answers):
    """Rows of generated text: {(request, prompt): text}."""
    rows = [
        (0, request, kind, prompt, 0, 0, 0.0, 0, 0, 0.0, "", text)
        for (request, prompt), text in answers.items()
    ]
    return pd.DataFrame(rows, columns=[*COLUMNS, "generated"])


def with_rows(scores, more):
    return pd.concat([scores.assign(generated=""), more], ignore_index=True)


def test_an_instance_that_is_no_more_of_its_concept_has_changed():
    before = free_rows("instance", {("a", 0): " Yes", ("a", 1): " no.", ("b", 0): " maybe so"})
    after = free_rows("instance", {("a", 0): " No", ("a", 1): " Yes", ("b", 0): " nothing"})
    unedited = with_rows(unedited_scores(), before)
    metrics = prompt_metrics.score_metrics(with_rows(edited_scores(), after), unedited)
    change = [value_of(metrics, *at) for at in (("a", "instance_change"), ("b", "instance_change"))]
    assert change == [1.0, 0.0]
    assert value_of(metrics, "a", "instance_change", prompt=1) == -1.0
    assert value_of(metrics, "a", "instance_belongs") == 0.0
    # Neither yes nor no counts as belonging, and is told.
    assert value_of(metrics, "b", "instance_belongs") == 1.0
    assert value_of(metrics, "b", "instance_unclear") == 1.0
    assert value_of(metrics, "a", "instance_unclear", prompt=1) == 0.0
    same = prompt_metrics.score_metrics(unedited, unedited)
    assert (same[same.metric == "instance_change"].value == 0).all()
    with pytest.raises(ValueError, match="no answer for request b, kind instance, prompt 0"):
        prompt_metrics.score_metrics(with_rows(edited_scores(), after), unedited.iloc[:-1])


def test_fluency_is_of_each_text_and_consistency_of_all_of_a_request():
    texts = {("a", 0): "Rome is in Italy", ("a", 1): "people of Rome", ("b", 0): "no reference"}
    scores = with_rows(edited_scores(), free_rows("text", texts))
    references = {"a": "Rome lies in Italy . The people", "c": "of no text"}
    weights = Tfidf(references.values())
    found = prompt_metrics.score_metrics(scores, unedited_scores(), references, weights)
    for (request, prompt), text in texts.items():
        assert value_of(found, request, "fluency", prompt) == fluency(text)
    consistency = found[found.metric == "consistency"]
    assert consistency[["request", "prompt"]].to_numpy().tolist() == [["a", 0]]
    expected = weights.similarity("Rome is in Italy people of Rome", references["a"])
    assert consistency.value.item() == expected > 0
    assert "consistency" not in set(prompt_metrics.score_metrics(scores, unedited_scores()).metric)
