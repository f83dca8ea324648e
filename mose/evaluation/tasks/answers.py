"""Metrics of generated text against right answers, as functions of strings.

With several right answers, the best score counts.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence

from mose.evaluation.text import contains, normalised

NOT_ROUGE = re.compile(r"[^a-z0-9]+")


def cut(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there is one.

    Leading whitespace is removed first: a line break at the start ends no answer.
    """
    text = text.lstrip()
    places = [place for place in map(text.find, stop) if place >= 0]
    return (text[: min(places)], True) if places else (text, False)


def exact_match(answer: str, right: str) -> float:
    """1 if the normalised texts are equal, else 0."""
    return float(normalised(answer) == normalised(right))


def token_f1(answer: str, right: str) -> float:
    """F1 of the normalised words as multisets (SQuAD)."""
    given, wanted = normalised(answer).split(), normalised(right).split()
    if not given or not wanted:
        return float(given == wanted)
    return _f1((Counter(given) & Counter(wanted)).total(), len(given), len(wanted))


def rouge_words(text: str) -> list[str]:
    """Lower-case runs of a to z and digits: rouge-score's tokens without stemming."""
    return NOT_ROUGE.sub(" ", text.lower()).split()


def rouge_n(answer: str, right: str, n: int) -> float:
    """ROUGE-n, F measure (Lin 2004)."""
    given, wanted = (
        Counter(zip(*(words[i:] for i in range(n)), strict=False))
        for words in (rouge_words(answer), rouge_words(right))
    )
    return _f1((given & wanted).total(), given.total(), wanted.total())


def rouge_l(answer: str, right: str) -> float:
    """ROUGE-L, F measure, of the longest common subsequence of the whole texts (Lin 2004)."""
    given, wanted = rouge_words(answer), rouge_words(right)
    lengths = [0] * (len(wanted) + 1)
    for word in given:
        diagonal = 0
        for i, other in enumerate(wanted, 1):
            above = lengths[i]
            lengths[i] = diagonal + 1 if word == other else max(above, lengths[i - 1])
            diagonal = above
    return _f1(lengths[-1], len(given), len(wanted))


def _f1(common: int, given: int, wanted: int) -> float:
    """F1 from counts, by the same operations as rouge-score, so that rounding agrees too."""
    precision, recall = common / max(given, 1), common / max(wanted, 1)
    return 2 * precision * recall / (precision + recall) if common else 0.0


METRICS: dict[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "contains": contains,
    "token_f1": token_f1,
    "rouge1": lambda answer, right: rouge_n(answer, right, 1),
    "rouge2": lambda answer, right: rouge_n(answer, right, 2),
    "rougeL": rouge_l,
    "rouge": lambda answer, right: (
        (rouge_n(answer, right, 1) + rouge_n(answer, right, 2) + rouge_l(answer, right)) / 3
    ),
}


def score(answer: str, right: Sequence[str], metrics: Sequence[str]) -> dict[str, float]:
    """Each metric by name, the best over the right answers."""
    return {name: float(max(METRICS[name](answer, one) for one in right)) for name in metrics}
