"""ConceptEdit (Wang et al. 2024, arXiv 2403.06259): the target of an edit is a definition.

The benchmark has two kinds of files. In concept_data.json each concept has its definition and two
replacements. In the files for single models, derived from it, each record is an edit with its
prompts.
"""

from collections.abc import Callable
from typing import Any

from mose.facts import fields
from mose.facts.fields import Record, Refused
from mose.facts.requests import Fact

# concept_data.json has no prompts; these are ours.
PROMPT = "The definition of {} is"
PARAPHRASES = ("{} is defined as", "By definition, {} means")


def read_concept(record: Record, name: str) -> Fact:
    """The fact of a record in a file for one model: label, prompt, phrase_prompt,
    target_new_desc."""
    return Fact(
        id=name,
        subject=fields.filled(record["label"], "label"),
        prompt=fields.with_placeholder(record["prompt"], record["label"]),
        target_new=fields.filled(record["target_new_desc"], "target_new_desc"),
        target_true=fields.first_answer(record.get("ground_truth", ""), "ground_truth"),
        paraphrases=(record["phrase_prompt"],),
        locality=fields.optional_probe(
            record.get("locality_prompt"), record.get("locality_answer"), "locality_answer"
        ),
        instances=fields.texts(record.get("instance_prompt"), "instance_prompt"),
    )


def read_replacement(module: str) -> Callable[[Record, str], Fact]:
    """A reader of records of concept_data.json: concept_name, concept_def, instances,
    module_intra, module_inter, locality_prompt, locality_answer.

    module: the new definition is that of another concept, of the same superclass ("intra") or of
    another one ("inter"). Records without locality prompts get held-out concepts' definitions
    (`mose.facts.drawing`).
    """

    def read(record: Record, name: str) -> Fact:
        concept = fields.filled(record["concept_name"], "concept_name")
        old = fields.text(record["concept_def"], "concept_def")
        new = _new_definition(record.get(f"module_{module}"), module)
        if new == old:
            raise Refused(f"module_{module}: the new definition is the old one")
        return Fact(
            id=name,
            subject=concept,
            prompt=PROMPT,
            target_new=new,
            target_true=old,
            relation="definition",
            paraphrases=tuple(text.replace("{}", concept) for text in PARAPHRASES),
            locality=fields.optional_probe(
                record.get("locality_prompt"), record.get("locality_answer"), "locality_answer"
            ),
            instances=tuple(
                f"Whether {instance} belongs to category {concept}?"
                for instance in fields.texts(record.get("instances"), "instances")
                if instance
            ),
        )

    return read


def _new_definition(replacement: Any, module: str) -> str:
    if not isinstance(replacement, dict) or not replacement.get("replace_def"):
        raise Refused(f"module_{module}: no replace_def, the definition to put in place")
    return fields.filled(replacement["replace_def"], f"module_{module}.replace_def")
