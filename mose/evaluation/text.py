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

    A full stop within the answer does not end the sentence ("St. Louis"); one that ends the answer
    does, unless the text goes on in lower case ("Washington, D.C. and"). An answer that is an
    article alone is compared as it is ("A").
    """
    line = generated.strip().partition("\n")[0]
    rest = line[len(answer) :].lstrip()
    if line[: len(answer)].endswith((".", "!", "?")) and not rest[:1].islower():
        sentence = line[: len(answer)]
    else:
        end = re.search(r"[.!?](?=\s|$)", line[len(answer) :])
        sentence = line if end is None else line[: len(answer) + end.start()]
    if not normalised(answer):
        return sentence.strip().lower() == answer.strip().lower()
    return normalised(sentence) == normalised(answer)


def contains(generated: str, answer: str) -> bool:
    """Whether a generation contains the answer's words as one run, normalised."""
    wanted = normalised(answer)
    return bool(wanted) and f" {wanted} " in f" {normalised(generated)} "
