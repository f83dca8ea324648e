import pytest
import tiny

from mose.errors import RequestError
from mose.models.tokens import batches_by_length, encode_edit, encode_pair, pad

TOKENIZER = tiny.tokenizer()


@pytest.mark.parametrize("template", ["{}", "Because I said so. {}"])
@pytest.mark.parametrize(
    ("prompt", "subject"),
    [
        ("The capital of {} is", "France"),
        ("{} is in", "Switzerland"),
        ("People in {}", "the United States"),
        ("{} has the capital", "Côte d'Ivoire"),
        ("In Paris, the city of {} is", "Paris"),
        ("The river of {} is", "日本"),
    ],
)
def test_the_subjects_last_token_is_found(template, prompt, subject):
    cut = encode_edit(TOKENIZER, template, prompt, subject, "Rome now")
    text = template.replace("{}", prompt.replace("{}", subject))
    ids = [*cut.prefix, *cut.suffix, cut.target[-1]]
    assert TOKENIZER.decode(ids) == f"{text} Rome now"
    assert TOKENIZER.decode([*cut.prefix, cut.suffix[0]]).endswith(subject)
    assert not TOKENIZER.decode(cut.prefix).endswith(subject)
    # What is read at read_at[j] predicts target[j]: the token after it.
    following = [*cut.suffix[1:], cut.target[-1]]
    assert [following[at] for at in cut.read_at] == cut.target
    assert TOKENIZER.decode(cut.target) == " Rome now"


def test_without_target_the_whole_prompt_is_kept():
    cut = encode_edit(TOKENIZER, "{}", "{} is a", "France")
    assert TOKENIZER.decode([*cut.prefix, *cut.suffix]) == "France is a"
    assert cut.target == cut.read_at == []


def test_a_subject_that_ends_inside_a_token_is_refused():
    ids = TOKENIZER("The capital of")["input_ids"]
    assert TOKENIZER.decode(ids[-2:]) == " capital of"  # one token holds "capital"
    with pytest.raises(RequestError, match="'capita' does not end at a token's end"):
        encode_edit(TOKENIZER, "{}", "The {}l of", "capita")


def test_a_pair_is_split_where_the_target_begins():
    prompt, target = encode_pair(TOKENIZER, "The capital of France is", "Paris")
    assert TOKENIZER.decode(prompt) == "The capital of France is"
    assert TOKENIZER.decode(target) == " Paris"


def test_padding_on_either_side():
    ids, mask = pad([[1, 2, 3], [4]], "left")
    assert ids.tolist() == [[1, 2, 3], [0, 0, 4]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    ids, mask = pad([[1, 2, 3], [4]])
    assert ids.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_groups_hold_every_row_once_and_stay_within_the_bound():
    lengths = [3, 9, 1, 4, 4, 12, 7]
    groups = batches_by_length(lengths, 14)
    assert sorted(i for group in groups for i in group) == list(range(7))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= 14
