"""Text as answers are compared: SQuAD's normalisation (Rajpurkar et al. 2016)."""

import re
import string

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Lower case, without ASCII punctuation, English articles, and superfluous spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def says_exactly(generated: str, answer: str) -> bool:
    """Whether a generation is the answer: its first line, up to the end of a sentence.

    A full stop within the length of the answer ends nothing ("St. Louis").
    """
    line = generated.strip().partition("\n")[0]
    end = re.search(r"[.!?](?=\s|$)", line[len(answer) :])
    said = line if end is None else line[: len(answer) + end.start()]
    return normalised(said) == normalised(answer)


def contains(generated: str, answer: str) -> bool:
    """Whether the words of the answer stand in a generation, in their order and side by side."""
    wanted = normalised(answer)
    return bool(wanted) and f" {wanted} " in f" {normalised(generated)} "
