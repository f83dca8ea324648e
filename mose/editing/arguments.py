"""The arguments of `mose.Editor` beside model, method and options; templates and second moments."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from mose.editing import sequence
from mose.editing.session import Materials
from mose.errors import ConfigError
from mose.facts.requests import check_templates
from mose.methods.options import RESERVED, TargetOptions, Variant
from mose.methods.register import entry_keys
from mose.models.causal_lm import CausalLM
from mose.statistics import cached, second_moments
from mose.statistics.templates import context_templates
from mose.storage import hdf5
from mose.validation.refusals import unknown_key
from mose.validation.strict import LISTED, Checked, Count, Natural, Text

# Context templates as the workflow's default: five, of ten tokens.
TEMPLATE_TOKENS, TEMPLATES_PER_STARTER = 10, 1


class Arguments(Checked):
    """What an editor takes beside the model, the method and its options."""

    batch: Count = Field(default=10, description="Requests per update; 1: one by one.")
    seed: Natural = Field(default=0, description="Seed of sampled text and templates.")
    templates: Annotated[tuple[Text, ...] | None, LISTED] = Field(
        default=None, description="Context templates with one {} each; null: sampled."
    )
    corpus: Text = Field(default="sampled", description="sampled, or the path of a text.")
    tokens: Count | None = Field(default=None, description="Tokens of the corpus.")
    window: Annotated[int, Field(ge=2)] = Field(default=128, description="Tokens per window.")
    moments: Text | None = Field(default=None, description="A moments.h5 of the workflow.")
    solve_on: Literal["model", "host"] = Field(
        default="model",
        description="Where updates are solved: on the GPU that holds the layer, if there is one; "
        "or in the host's memory.",
    )

    def check(self) -> None:
        """Raise RequestError or StoreError for templates or files that cannot be used."""
        if self.templates is not None:
            check_templates(self.templates)
        self.options.check_source()
        if self.moments is not None:
            hdf5.read(self.moments, "moments", [])

    @property
    def options(self) -> cached.CorpusOptions:
        """Those of the corpus."""
        return cached.CorpusOptions(
            source=self.corpus, tokens=self.tokens, window=self.window, seed=self.seed
        )

    def materials(self, lm: CausalLM, variant: Variant) -> Materials:
        """Templates and second moments, of the unedited model."""
        if not isinstance(variant.edit, TargetOptions):  # trained methods need neither
            return Materials(["{}"], {}, "")
        templates = self.templates
        if templates is None:
            generator = torch.Generator().manual_seed(self.seed)
            sampled = context_templates(lm, generator, TEMPLATE_TOKENS, TEMPLATES_PER_STARTER)
            templates = tuple(sampled)
        layers = variant.edit.layers
        if not sequence.uses_corpus(variant):
            return Materials(templates, {}, "")
        if self.moments is not None:
            by_layer = second_moments.load(self.moments, layers, lm.fingerprint)
            digest = hdf5.read(self.moments, "moments", []).digest
            return Materials(templates, by_layer, digest)
        made = cached.second_moments_of(lm, layers, self.options)
        return Materials(templates, made.by_layer, made.digest)


def split_arguments(options: Mapping[str, Any]) -> tuple[Arguments, dict[str, Any]]:
    """An editor's own arguments, checked, and the options of its method.

    Raises ConfigError for a name that is neither an argument nor an option of any method.
    """
    own = {field.name for field in fields(Arguments)}
    known = [*own, *RESERVED.values(), *entry_keys()]
    for name in options:
        if name not in known:
            raise ConfigError(f"options: {unknown_key(name, known)}")
    given = {name: value for name, value in options.items() if name in own}
    for name in ("corpus", "moments"):
        if name in given and given[name] is not None:
            given[name] = absolute(given[name])
    arguments = Arguments(**given)
    arguments.check()
    return arguments, {name: value for name, value in options.items() if name not in own}


def absolute(path: Any) -> Any:
    """The absolute path of a file or folder that exists; anything else as it is."""
    if isinstance(path, str | Path) and Path(path).expanduser().exists():
        return str(Path(path).expanduser().resolve())
    return path if not isinstance(path, Path) else str(path)
