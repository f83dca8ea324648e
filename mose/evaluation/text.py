"""Comparison of answers after SQuAD's normalisation (Rajpurkar et al. 2016)."""

import re
import string

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Lower case, without ASCII punctuation, English articles and repeated spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def says_exactly(generated: str, answer: str) -> bool:
    """Whether the first sentence of a generation's first line is the answer, normalised.

    A full stop within the length of the answer does not end the sentence ("St. Louis").
    """
    line = generated.strip().partition("\n")[0]
    end = re.search(r"[.!?](?=\s|$)", line[len(answer) :])
    sentence = line if end is None else line[: len(answer) + end.start()]
    return normalised(sentence) == normalised(answer)


def contains(generated: str, answer: str) -> bool:
    """Whether a generation contains the answer's words as one run, normalised."""
    wanted = normalised(answer)
    return bool(wanted) and f" {wanted} " in f" {normalised(generated)} "
