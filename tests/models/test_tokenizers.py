"""Positions in the tokens of every kind of tokenizer: where subjects end and targets begin."""

import json
import unicodedata

import pytest
import tiny
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from mose.errors import ModelError
from mose.models import sources
from mose.models.tokens import encode, encode_edit, encode_pair

SPECIAL = ["<unk>", "<s>", "</s>"]
SPELLED = ["now 日本 Bern then river Switzerland Reykjavi\u0301k Zürich"] * 4


def wrapped(made, trainer, bos):
    # WordPiece and Unigram spell no word of letters that they have not seen.
    made.train_from_iterator([*tiny.TEXT, *SPELLED], trainer)
    if bos:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def byte_bpe(bos):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options = {"initial_alphabet": alphabet, "special_tokens": SPECIAL, "show_progress": False}
    return wrapped(made, trainers.BpeTrainer(vocab_size=420, **options), bos)


def word_piece(bos):
    made = Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    letters = sorted(set("".join(tiny.TEXT) + "çôéíãü日本-"))
    trainer = trainers.WordPieceTrainer(
        vocab_size=420, special_tokens=SPECIAL, initial_alphabet=letters, show_progress=False
    )
    return wrapped(made, trainer, bos)


def unigram(bos):
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()  # a space before the text, as sentencepiece's
    made.decoder = decoders.Metaspace()
    letters = sorted(set("".join(tiny.TEXT) + "çôéíãü日本-▁"))
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>", initial_alphabet=letters,
        show_progress=False,
    )  # fmt: skip
    return wrapped(made, trainer, bos)


MADE = {"byte BPE": byte_bpe, "WordPiece": word_piece, "Unigram": unigram}


@pytest.fixture(
    scope="module",
    params=[
        *[(name, bos) for name in MADE for bos in (False, True)],
        pytest.param(("SmolLM2", False), marks=pytest.mark.package),
    ],
    ids=lambda p: p[0] + (" with BOS" if p[1] else ""),
)
def tokenizer(request):
    name, bos = request.param
    if name == "SmolLM2":
        return request.getfixturevalue("smollm2").tokenizer
    return MADE[name](bos)


def letters(text):
    """Text without its spaces, composed: WordPiece forgets where they were, NFC how it was."""
    return "".join(unicodedata.normalize("NFC", text).split())


def decoded(tokenizer, ids):
    return letters(tokenizer.decode(ids, skip_special_tokens=True))


CASES = [
    ("The capital of {} is", "France"),
    ("{} is in", "Switzerland"),  # begins the prompt
    ("People in {}", "the United States"),
    ("{} has the capital", "São Paulo"),
    ("In Paris, the city of {} is", "Paris"),  # occurs before its place
    ("{} is Paris, is", "Paris"),  # occurs after its place
    ("The river of {}, then", "日本"),
    ("The river of {}", "Reykjavi\u0301k"),  # a letter of two code points
]


@pytest.mark.parametrize("template", ["{}", "Because I said so. {}"])
@pytest.mark.parametrize(("prompt", "subject"), CASES)
@pytest.mark.parametrize("target", ["Rome now", "Bern", "Zürich"])
def test_subject_and_target_are_found(tokenizer, template, prompt, subject, target):
    cut = encode_edit(tokenizer, template, prompt, subject, target)
    text = template.replace("{}", prompt.replace("{}", subject)).rstrip()
    whole, _ = encode(tokenizer, f"{text} {target}")
    ids = [*cut.prefix, *cut.suffix, cut.target[-1]]
    assert ids == whole
    before = template.split("{}")[0] + prompt.split("{}")[0]
    # The prefix holds less than the text up to the subject's end, with the next token all of it.
    upto = letters(before + subject)
    assert decoded(tokenizer, [*cut.prefix, cut.suffix[0]]) == upto
    # Bytes of a letter that is not complete yet are shown as a replacement character.
    assert len(decoded(tokenizer, cut.prefix).rstrip("\ufffd")) < len(upto)
    assert decoded(tokenizer, cut.target) == letters(target)
    following = [*cut.suffix[1:], cut.target[-1]]
    assert [following[at] for at in cut.read_at] == cut.target


@pytest.mark.parametrize("target", ["Paris", " Paris"])
def test_a_target_keeps_its_tokens_with_and_without_a_space_in_front(tokenizer, target):
    prompt, ids = encode_pair(tokenizer, "The capital of France is", target.strip())
    assert decoded(tokenizer, prompt) == "ThecapitalofFranceis"
    assert decoded(tokenizer, ids) == "Paris"
    own, _ = encode(tokenizer, "The capital of France is Paris")
    assert [*prompt, *ids] == own


def test_one_bos_stands_in_front_of_all(tokenizer):
    bos = tokenizer.bos_token_id
    ids, _ = encode(tokenizer, "France is in")
    prefixed = tokenizer("France")["input_ids"][0] == bos
    assert ids.count(bos) == (1 if prefixed else 0)
    cut = encode_edit(tokenizer, "{}", "{} is in", "France", "Rome")
    assert (cut.prefix[:1] == [bos]) == prefixed


def test_a_converted_tokenizer_that_lost_its_merges_is_refused():
    """As transformers 5.17 makes of Gemma 3's GGUF file: all is encoded, in single characters."""
    whole = tiny.tokenizer()
    sources.check_whole_words(whole, "model.gguf")
    made = json.loads(whole.backend_tokenizer.to_str())
    made["model"]["merges"] = []
    lost = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(made)))
    assert whole.decode(lost("of capital")["input_ids"]) == "of capital"
    with pytest.raises(ModelError, match=r"model\.gguf: transformers .* are split, '"):
        sources.check_whole_words(lost, "model.gguf")
