"""Entropies and likeness of texts against slow computations written out here."""

import math
import random

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from mose.evaluation.fluency import Tfidf, fluency, ngram_entropy

TEXT = "a river runs under the old bridge and the river is long , she said"


def texts(count, length=60):
    generator = random.Random(3)
    return [" ".join(generator.choices(TEXT.split(), k=length)) for _ in range(count)]


def slow_entropy(tokens, n):
    grams = [" ".join(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    shares = [sum(other == gram for other in grams) / len(grams) for gram in sorted(set(grams))]
    return -sum(share * math.log(share) / math.log(2) for share in shares)


def test_fluency_is_the_weighted_mean_of_two_entropies():
    for text in texts(5):
        two, three = slow_entropy(text.split(), 2), slow_entropy(text.split(), 3)
        assert fluency(text) == pytest.approx(np.mean([2 / 3 * two, 4 / 3 * three]), abs=1e-12)


def test_entropy_of_all_different_and_all_same_ngrams():
    assert ngram_entropy([str(i) for i in range(17)], 2) == pytest.approx(4.0)  # 16 bigrams
    assert ngram_entropy(["again"] * 30, 3) == 0.0
    assert ngram_entropy(["one"], 2) == 0.0
    assert fluency("") == 0.0


def test_marks_of_punctuation_are_tokens_of_their_own():
    assert fluency("He said: no. He said: yes.") == fluency("he said : no . he said : yes .") > 0


def slow_similarity(documents, one, other):
    """Cosine by vectors over the whole vocabulary; words here are one space apart."""

    def terms(text):
        return [word for word in text.lower().split() if len(word) > 1]

    documents = sorted(set(documents))
    vocabulary = sorted({term for text in documents for term in terms(text)})
    df = np.array([sum(term in terms(text) for text in documents) for term in vocabulary])
    idf = np.log((1 + len(documents)) / (1 + df)) + 1
    a, b = (np.array([terms(text).count(t) for t in vocabulary]) * idf for text in (one, other))
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_similarity_is_the_cosine_over_the_whole_vocabulary():
    documents = [*texts(4, 12), "Rome was not built in one day", "Rome was not built in one day"]
    weights = Tfidf(documents)
    for one in ("The old river in Rome", *texts(3)):
        for other in documents:
            found = weights.similarity(one, other)
            assert found == pytest.approx(slow_similarity(documents, one, other), abs=1e-12)
    assert weights.similarity(documents[-1], documents[-1]) == pytest.approx(1.0)
    assert weights.similarity("entirely unknown", documents[0]) == 0.0


def test_similarity_is_that_of_scikit_learn():
    documents = sorted(
        {*texts(4, 12), "It's Rome, built in a day: ROME!", "Zürich (2nd), São-Paulo"}
    )
    theirs = TfidfVectorizer().fit(documents)
    ours = Tfidf(documents)
    for one in documents:
        for other in documents:
            a, b = theirs.transform([one, other]).toarray()
            assert ours.similarity(one, other) == pytest.approx(a @ b, abs=1e-12)
