"""Forms of edit records (record formats of data sets), and how a record becomes a fact.

A form is recognised by fields that all its records have. Field names are those of the published
files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mose.facts import fields
from mose.facts.concepts import read_concept, read_replacement
from mose.facts.fields import Record, Refused
from mose.facts.questions import read_qaedit, read_ultraeditbench, read_wikibigedit
from mose.facts.requests import MEASURED_ONLY, PROBES, Fact, Probe
from mose.storage import records as storage


@dataclass(frozen=True)
class Form:
    """A form: description, identifying fields, and the reader of a record with a given id."""

    what: str
    fields: frozenset[str]
    read: Callable[[Record, str], Fact]


def unroll(records: Sequence[storage.Placed]) -> list[tuple[str, str, Record]]:
    """Records with their places and ids; one with several rewrites (MQuAKE) becomes one per
    rewrite."""
    named: list[tuple[str, str, Record]] = []
    for number, (place, record) in enumerate(records):
        name = str(number)
        if isinstance(record, Mapping):
            name = str(record.get("case_id", record.get("id", number)))
            rewrites = record.get("requested_rewrite")
            if isinstance(rewrites, list):
                named += [
                    (place, f"{name}.{i}", {**record, "requested_rewrite": rewrite})
                    for i, rewrite in enumerate(rewrites)
                ]
                continue
        named.append((place, name, record))
    return named


def _counterfact(record: Record, name: str) -> Fact:
    """CounterFact as in MEMIT: requested_rewrite, paraphrase_prompts, neighborhood_prompts."""
    rewrite = record["requested_rewrite"]
    true = fields.text(rewrite["target_true"]["str"], "target_true")
    neighbours = record.get("neighborhood_prompts", ())
    return Fact(
        id=name,
        subject=fields.filled(rewrite["subject"], "subject"),
        prompt=rewrite["prompt"],
        target_true=true,
        target_new=fields.filled(rewrite["target_new"]["str"], "target_new"),
        relation=rewrite.get("relation_id", ""),
        paraphrases=tuple(record.get("paraphrase_prompts", ())),
        # CounterFact's neighbours share the true object; MEMIT's ZsRE gives each its own target.
        locality=tuple(
            Probe(p, true)
            if isinstance(p, str)
            else Probe(p["prompt"], fields.text(p["target"], "neighborhood_prompts"))
            for p in neighbours
        ),
        generation=fields.texts(record.get("generation_prompts"), "generation_prompts"),
        references=fields.texts(record.get("references"), "references"),
    )


def _fact(record: Record, name: str, target_new: str, prompt: str = "prompt", **more: Any) -> Fact:
    """A fact from a prompt that contains the subject. prompt: its field."""
    return Fact(
        id=name,
        subject=fields.filled(record["subject"], "subject"),
        prompt=fields.with_placeholder(record[prompt], record["subject"], prompt),
        target_new=target_new,
        **more,
    )


def _easyedit(record: Record, name: str) -> Fact:
    """CounterFact in EasyEdit's form, with one paraphrase and at most one locality prompt."""
    return _fact(
        record,
        name,
        fields.filled(record["target_new"], "target_new"),
        target_true=fields.first_answer(record.get("ground_truth", ""), "ground_truth"),
        relation=str(record.get("relation_id", "")),
        paraphrases=(record["rephrase_prompt"],),
        locality=fields.optional_probe(
            record.get("locality_prompt"),
            record.get("locality_ground_truth"),
            "locality_ground_truth",
        ),
    )


def _zsre(target: str) -> Callable[[Record, str], Fact]:
    """zsre_mend_eval: src, rephrase, loc; target: "answers" (the first) or "alt"."""

    def read(record: Record, name: str) -> Fact:
        true = fields.first_answer(record["answers"], "answers") if target == "alt" else ""
        return _fact(
            record,
            name,
            fields.filled(fields.first_answer(record[target], target), target),
            "src",
            target_true=true,
            paraphrases=(record["rephrase"],),
            # The NQ questions have no question mark; MEMIT's loader adds it.
            locality=fields.optional_probe(f"{record['loc']}?", record["loc_ans"], "loc_ans"),
        )

    return read


def _knowedit(record: Record, name: str) -> Fact:
    """KnowEdit: locality and portability are lists of {prompt, ground_truth} by kind."""
    rephrased = record.get("rephrase_prompt")
    return _fact(
        record,
        name,
        fields.filled(record["target_new"], "target_new"),
        target_true=fields.first_answer(record.get("ground_truth", ""), "ground_truth"),
        paraphrases=(rephrased,) if rephrased else (),
        locality=_by_kind(record.get("locality"), "locality"),
        portability=_by_kind(record.get("portability"), "portability"),
    )


def _plain(record: Record, name: str) -> Fact:
    """The form for users' own data. `locality` and `portability` are lists of {prompt, target},
    `generation` of prompts, `references` and `instances` of texts."""
    # A blank at the end would be a token of its own, which no answer follows.
    prompt = fields.filled(record["prompt"], "prompt")
    subject = fields.filled(record["subject"], "subject")
    # Braces of the subject itself are no place for it.
    has_place = "{}" in prompt.replace(subject, "")
    if has_place and prompt.count("{}") > 1:
        raise Refused("{} more than once in the prompt")

    def probes(key: str) -> tuple[Probe, ...]:
        given = record.get(key) or ()
        if not isinstance(given, list | tuple):
            by_kind = "; form knowedit reads it by kind" if isinstance(given, Mapping) else ""
            raise Refused(f"{key}: found {fields.kind_of(given)}, expected {PROBE_LIST}{by_kind}")
        for p in given:
            if not isinstance(p, Mapping) or not {"prompt", "target"} <= p.keys():
                has = fields.listed(p) if isinstance(p, Mapping) else fields.kind_of(p)
                raise Refused(f"{key}: found {has} in it, expected {PROBE_LIST}")
        return tuple(
            Probe(
                fields.text(p["prompt"], f"{key}.prompt"),
                fields.text(p["target"], f"{key}.target"),
                fields.text(p.get("kind") or "", f"{key}.kind"),
            )
            for p in given
        )

    return Fact(
        id=name,
        subject=subject,
        prompt=prompt if has_place else fields.with_placeholder(prompt, subject),
        target_true=fields.text(record.get("target_true") or "", "target_true"),
        target_new=fields.filled(record["target_new"], "target_new"),
        relation=str(record.get("relation") or ""),
        paraphrases=tuple(
            p.replace("{}", subject) for p in fields.texts(record.get("paraphrases"), "paraphrases")
        ),
        locality=probes("locality"),
        portability=probes("portability"),
        instances=fields.texts(record.get("instances"), "instances"),
        generation=tuple(
            p.replace("{}", subject) for p in fields.texts(record.get("generation"), "generation")
        ),
        references=fields.texts(record.get("references"), "references"),
    )


def _form(what: str, fields: str, read: Callable[[Record, str], Fact]) -> Form:
    return Form(what, frozenset(fields.split()), read)


# What locality and portability are in the form plain.
PROBE_LIST = "a list of {prompt, target}, in a cell of a table as JSON"
# Required fields, and all fields, of the form plain.
REQUIRED = ("subject", "prompt", "target_new")
PLAIN_FIELDS = (
    *REQUIRED,
    *("id", "case_id", "target_true", "relation", "paraphrases"),
    *(*PROBES, *MEASURED_ONLY),
)

ZSRE_FIELDS = "subject src rephrase answers alt loc loc_ans"
FORMS = {
    "counterfact": _form("CounterFact as in MEMIT, MQuAKE", "requested_rewrite", _counterfact),
    "zsre-answer": _form("ZsRE, answers[0] is the target", ZSRE_FIELDS, _zsre("answers")),
    "zsre-alt": _form("ZsRE, alt is the target", ZSRE_FIELDS, _zsre("alt")),
    "conceptedit": _form(
        "ConceptEdit's files for one model",
        "label prompt phrase_prompt target_new_desc",
        read_concept,
    ),
    "conceptedit-intra": _form(
        "ConceptEdit, a definition of the same superclass",
        "concept_name concept_def module_intra",
        read_replacement("intra"),
    ),
    "conceptedit-inter": _form(
        "ConceptEdit, a definition of another superclass",
        "concept_name concept_def module_inter",
        read_replacement("inter"),
    ),
    "wikibigedit": _form(
        "WikiBigEdit", "subject update ans rephrase loc loc_ans", read_wikibigedit
    ),
    "ultraeditbench": _form(
        "UltraEditBench", "subject prompt rephrase_prompt ans loc loc_ans", read_ultraeditbench
    ),
    "qaedit": _form("QAEdit", "subject prompt target rephrase locality", read_qaedit),
    "easyedit": _form(
        "CounterFact as in EasyEdit", "subject prompt rephrase_prompt locality_prompt", _easyedit
    ),
    "knowedit": _form("KnowEdit", "subject prompt target_new portability ground_truth", _knowedit),
    "plain": _form(", ".join(REQUIRED), " ".join(REQUIRED), _plain),
}


# Pairs of forms that fit the same records but edit towards different targets: the config must
# name one.
AMBIGUOUS_FORMS = (
    ("zsre-alt", "towards the false alt", "zsre-answer", "towards answers[0]"),
    (
        "conceptedit-intra",
        "towards a definition of the same superclass",
        "conceptedit-inter",
        "towards one of another superclass",
    ),
)


def read_record(form: str, record: Record, name: str) -> Fact:
    """The fact of a record.

    Raises Refused, RequestError for an invalid prompt or subject, and KeyError, TypeError or
    AttributeError for missing or malformed fields.
    """
    fact = FORMS[form].read(record, name)
    for what, text in _texts_of(fact):
        if not isinstance(text, str):
            raise fields.not_text(what, text)
        # JSON can hold lone surrogates, which can be neither tokenised nor written to a file.
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise Refused(f"{what}: holds half a surrogate pair")
    return fact


def _texts_of(fact: Fact) -> Iterator[tuple[str, Any]]:
    """All that should be text in a fact, each with the name of its field."""
    for name in ("id", "subject", "prompt", "relation", "target_true", "target_new"):
        yield name, getattr(fact, name)
    for name in ("paraphrases", *MEASURED_ONLY):
        yield from ((name, text) for text in getattr(fact, name))
    for name in PROBES:
        for probe in getattr(fact, name):
            yield from ((name, text) for text in (probe.prompt, probe.target, probe.kind))


def without_blanks(fact: Fact) -> tuple[Fact, int]:
    """The fact without prompts that are empty or lack an answer, and the number of those."""
    kept: dict[str, Any] = {}
    for name in ("paraphrases", *MEASURED_ONLY):
        kept[name] = tuple(text for text in getattr(fact, name) if text.strip())
    for name in PROBES:
        kept[name] = tuple(p for p in getattr(fact, name) if p.prompt.strip() and p.target)
    cleaned = replace(fact, **kept)
    return cleaned, sum(prompts_of(fact).values()) - sum(prompts_of(cleaned).values())


def prompts_of(fact: Fact) -> dict[str, int]:
    """Numbers of a fact's prompts by kind (paraphrases, locality, ...)."""
    return {name: len(getattr(fact, name)) for name in ("paraphrases", *PROBES, *MEASURED_ONLY)}


def forms_of(record: Record) -> list[str]:
    """Names of the forms whose fields a record has, in the order of FORMS (specific first).

    Records of KnowEdit's wiki_recent have those of the form plain only, but their prompts by kind.
    """
    names = [name for name, form in FORMS.items() if form.fields <= record.keys()]
    if names == ["plain"] and any(isinstance(record.get(name), Mapping) for name in PROBES):
        return ["knowedit"]
    return names


def _by_kind(kinds: Any, name: str) -> tuple[Probe, ...]:
    """Probes of {kind: [{prompt, ground_truth}]}. name: the field."""
    if kinds and not isinstance(kinds, Mapping):
        raise Refused(
            f"{name}: found {fields.kind_of(kinds)}, expected {{kind: [{{prompt, ground_truth}}]}}"
        )
    return tuple(
        Probe(probe["prompt"], fields.first_answer(probe["ground_truth"], name), kind)
        for kind, probes in (kinds or {}).items()
        for probe in probes
    )
