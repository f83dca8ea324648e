"""Requests behind their fact, for the row that changes no weights (`method: in-context`).

Source of the form: IKE (Zheng et al. 2023, EMNLP, arXiv 2305.12740; icl.py of Zce1112zslx/IKE),
whose inputs end with

    New Fact: {edit prompt} {new object}
    Prompt: {prompt}

after up to 32 demonstrations of the same form. Here there are none, as in EasyEdit's PROMPT, which
has a line of instruction first. As in IKE's evaluation, the fact stands before neighbour prompts
too. Options: InContextOptions.
"""

from collections.abc import Iterable
from dataclasses import replace

from mose.errors import ConfigError
from mose.facts.requests import EditRequest, Probe
from mose.methods.context_options import InContextOptions
from mose.methods.options import Variant


def behind_fact(request: EditRequest, statement: str) -> EditRequest:
    """The request with the statement of its own fact before each of its prompts.

    statement: with one {} for the fact, the edit prompt with the new object. A fact that has {} in
    it makes all of the text the result's subject, so that its `text` is as for any other.
    """
    before = statement.replace("{}", f"{request.text} {request.target_new}")

    def texts(prompts: Iterable[str]) -> tuple[str, ...]:
        return tuple(before + prompt for prompt in prompts)

    def probes(given: Iterable[Probe]) -> tuple[Probe, ...]:
        return tuple(replace(probe, prompt=before + probe.prompt) for probe in given)

    # The fact's own braces are no place for the subject.
    braced = "{}" in before
    return replace(
        request,
        subject=before + request.text if braced else request.subject,
        prompt="{}" if braced else before + request.prompt,
        paraphrases=texts(request.paraphrases),
        locality=probes(request.locality),
        portability=probes(request.portability),
        instances=texts(request.instances),
        generation=texts(request.generation),
    )


def as_asked(variant: Variant, requests: Iterable[EditRequest]) -> list[EditRequest]:
    """The requests as a model with edits is asked about them: as they are, but for this row."""
    options = variant.options
    if isinstance(options, InContextOptions):
        return [behind_fact(request, options.statement) for request in requests]
    return list(requests)


def refuse_unedited(variant: Variant) -> None:
    """Raise ConfigError for this row, where an edited model is wanted."""
    if isinstance(variant.options, InContextOptions):
        raise ConfigError(
            f"method: {variant.method} changes no weights, so there is no edited model; take a "
            "method that edits, and this one as a row of an experiment"
        )
