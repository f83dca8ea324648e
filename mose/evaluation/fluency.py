"""Metrics of sampled text: entropy of its n-grams, and similarity to reference texts.

Both as in ROME (Meng et al. 2022, arXiv 2202.05262); fluency after Zhang et al. 2018 (arXiv
1809.05972).
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

# A word, or one punctuation character.
TOKEN = re.compile(r"\w+|[^\w\s]")
# Words of two letters or more.
TERM = re.compile(r"\b\w\w+\b")


def ngram_entropy(tokens: Sequence[str], n: int) -> float:
    """Entropy in bits of the frequencies of a text's n-grams; 0 for fewer than n tokens."""
    counts = Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
    total = counts.total()
    return sum(count / total * math.log2(total / count) for count in counts.values())


def fluency(text: str) -> float:
    """(2/3 H_2 + 4/3 H_3) / 2, H_n the entropy of n-grams in bits; low for repetitive text."""
    tokens = TOKEN.findall(text)
    return (2 / 3 * ngram_entropy(tokens, 2) + 4 / 3 * ngram_entropy(tokens, 3)) / 2


class Tfidf:
    """TF-IDF vectors: a term in df of n distinct documents has the weight
    log((1 + n) / (1 + df)) + 1; terms in no document are ignored."""

    def __init__(self, documents: Iterable[str]) -> None:
        distinct = set(documents)
        frequencies = Counter(term for text in distinct for term in set(_terms(text)))
        self.weight = {
            term: math.log((1 + len(distinct)) / (1 + count)) + 1
            for term, count in frequencies.items()
        }

    def similarity(self, one: str, other: str) -> float:
        """Cosine of two texts' vectors, 0 to 1; 0 if one of them has no known term."""
        first, second = self._vector(one), self._vector(other)
        lengths = math.hypot(*first.values()) * math.hypot(*second.values())
        product = sum(value * second.get(term, 0.0) for term, value in first.items())
        return product / lengths if lengths else 0.0

    def _vector(self, text: str) -> dict[str, float]:
        counts = Counter(term for term in _terms(text) if term in self.weight)
        return {term: count * self.weight[term] for term, count in counts.items()}


def _terms(text: str) -> list[str]:
    return TERM.findall(text.lower())
