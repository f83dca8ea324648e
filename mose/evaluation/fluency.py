"""How freely written text is judged: entropies of its n-grams, and likeness to reference texts.

Both as in ROME (Meng et al. 2022, arXiv 2202.05262), whose fluency is that of Zhang et al. 2018
(arXiv 1809.05972).
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

# A word, or one mark of punctuation.
TOKEN = re.compile(r"\w+|[^\w\s]")
# Words of two letters or more.
TERM = re.compile(r"\b\w\w+\b")


def ngram_entropy(tokens: Sequence[str], n: int) -> float:
    """Entropy of a text's n-grams by how often each comes, in bits; 0 for fewer than n tokens."""
    counts = Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
    total = counts.total()
    return sum(count / total * math.log2(total / count) for count in counts.values())


def fluency(text: str) -> float:
    """(2/3 H_2 + 4/3 H_3) / 2, with the entropies of bigrams and trigrams in bits. A text that
    repeats itself has little of it."""
    tokens = TOKEN.findall(text)
    return (2 / 3 * ngram_entropy(tokens, 2) + 4 / 3 * ngram_entropy(tokens, 3)) / 2


class Tfidf:
    """Term frequency by inverse document frequency: log((1 + n) / (1 + df)) + 1 for a term that is
    in df of n documents. Terms that are in none of them count for nothing."""

    def __init__(self, documents: Iterable[str]) -> None:
        distinct = set(documents)
        document_counts = Counter(term for text in distinct for term in set(_terms(text)))
        self.weight = {
            term: math.log((1 + len(distinct)) / (1 + count)) + 1
            for term, count in document_counts.items()
        }

    def similarity(self, one: str, other: str) -> float:
        """Cosine of two texts' vectors, 0 to 1; 0 where one of them has no known term."""
        first, second = self._vector(one), self._vector(other)
        lengths = math.hypot(*first.values()) * math.hypot(*second.values())
        product = sum(value * second.get(term, 0.0) for term, value in first.items())
        return product / lengths if lengths else 0.0

    def _vector(self, text: str) -> dict[str, float]:
        counts = Counter(term for term in _terms(text) if term in self.weight)
        return {term: count * self.weight[term] for term, count in counts.items()}


def _terms(text: str) -> list[str]:
    return TERM.findall(text.lower())
