"""A sequence of edits in a person's hands: edited, undone, stored and resumed.

A session owns the unedited matrices of the edited layers, in the model's number format, so that
the unedited model comes back bit for bit. Between two calls the model has the weights that are
measured (PRUNE's differ from those that the next edit starts from).
"""

import dataclasses
import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from torch import Tensor

from mose.editing import checkpoints, sequence
from mose.editing.in_context import refuse_unedited
from mose.editing.writing import FoundTarget
from mose.errors import ConfigError, RequestError, StoreError
from mose.facts.requests import (
    EditRequest,
    Repeated,
    check_requests,
    records_of,
    replaced_by,
    requests_from,
)
from mose.linalg.second_moment import SecondMoment
from mose.methods.options import TargetOptions, Variant
from mose.models.causal_lm import CausalLM
from mose.models.tokens import check_encodable
from mose.storage import files, hdf5
from mose.validation.refusals import either

logger = logging.getLogger(__name__)

SESSION = "session"


@dataclass(frozen=True)
class Materials:
    """What edits need besides the model: context templates, second moments by layer and their
    digest."""

    templates: Sequence[str]
    moments: Mapping[int, SecondMoment]
    digest: str


@dataclass(frozen=True)
class Saved:
    """A stored session: its requests, the digest of its second moments, its templates, what was
    replaced, and what its editor was made with."""

    path: str
    identity: dict[str, Any]
    requests: list[EditRequest]
    templates: list[str]
    replaced: dict[str, list[str]]
    editor: dict[str, Any]


class Session:
    """A model and the edits made in it."""

    def __init__(
        self,
        lm: CausalLM,
        variant: Variant,
        materials: Callable[[CausalLM, Variant], Materials],
        batch: int,
        seed: int,
        solve_on: str = "model",
    ) -> None:
        """lm: unedited. materials: makes them, from the unedited model; called before the first
        edit. batch: requests per update. solve_on: as in `sequence.solve_devices`. Raises
        ConfigError for layers that the model lacks, and for the in-context row."""
        refuse_unedited(variant)
        lm.check_layers(variant.edit.layers, "layers")
        self.lm, self.variant, self.batch, self.seed = lm, variant, batch, seed
        self.solve_on = solve_on
        self.base: dict[int, Tensor] = {
            layer: lm.weight(layer).detach().to("cpu", copy=True) for layer in variant.edit.layers
        }
        self.requests: list[EditRequest] = []
        # Ids of the edits that were taken back for an edit of the same fact, by its id.
        self.replaced: dict[str, list[str]] = {}
        self._make_materials = materials
        self._materials: Materials | None = None
        # Read at first use, which is after the first call of `edit` has made the materials.
        self._moments = {
            layer: SecondMoment(partial(self._matrix, layer), f"second moment of layer {layer}")
            for layer in self.base
        }
        # Digest of the second moments, and templates, that the edits are made with.
        self._made_with: tuple[str, list[str]] | None = None
        self.state = self._new_state()

    @property
    def ids(self) -> list[str]:
        """Ids of all edits, those too that were taken back for another: none is given twice."""
        earlier = [one for members in self.replaced.values() for one in members]
        return [*(request.id for request in self.requests), *self.replaced, *earlier]

    @property
    def weights(self) -> dict[int, Tensor]:
        """Copies of the edited matrices (d_out, d_in) by layer, as the model runs with them."""
        return {layer: self.lm.weight(layer).detach().to("cpu", copy=True) for layer in self.base}

    def edit(
        self,
        requests: Sequence[EditRequest],
        repeated: Repeated | None = "keep",
        found: Mapping[str, FoundTarget] | None = None,
    ) -> None:
        """Write requests, in batches.

        repeated: what becomes of an earlier request of the same subject and prompt. replace: it is
        taken back first, or is not written if it is among `requests`; keep: both are written;
        refuse: RequestError; None: replace for methods with a ledger, keep for others. After an
        exception, KeyboardInterrupt among them, model and session are as after the last whole
        batch; before the first one, what was to be replaced is still there. Raises RequestError
        before anything else for a request that cannot be edited in the model's tokens,
        NumericalError for a numerical failure, ConfigError for replacing without a ledger.
        found: as in `sequence.run`.
        """
        check_requests(requests)
        by_subject = isinstance(self.variant.edit, TargetOptions)
        check_encodable(self.lm.tokenizer, requests, by_subject)
        before = self.state, self.requests, self.replaced
        replaced: dict[str, list[str]] = {}
        if self._replaces(requests, repeated):
            replaced = replaced_by([*self.requests, *requests])
            requests = self._take_back(replaced, requests)
        materials = self._ready()
        order = [*self.requests, *requests]
        whole = self._snapshot()
        left = self.state.edits

        def after_batch(*_: object) -> None:
            nonlocal whole
            whole = self._snapshot()

        try:
            sequence.put_into(self.lm, self.state)
            sequence.run(
                self.lm, self.state, self.variant, order, materials.templates, self.batch,
                len(order), after_batch, found,
            )  # fmt: skip
        except BaseException:
            self._go_back(whole)
            if replaced and self.state.edits == left:
                self.state, order, self.replaced = before
            raise
        finally:
            self.requests = order[: self.state.edits]
            written = {request.id for request in self.requests}
            self.replaced |= {one: ids for one, ids in replaced.items() if one in written}
            sequence.put_into(self.lm, self.state, measured=True)

    def _replaces(self, requests: Sequence[EditRequest], repeated: Repeated | None) -> bool:
        """Whether earlier requests of the same facts are to be replaced."""
        if repeated not in (None, *get_args(Repeated)):
            raise ConfigError(
                f"repeated: found {repeated!r}, expected {either(get_args(Repeated))}"
            )
        ledger = sequence.keeps_ledger(self.variant)
        if repeated == "replace" and not ledger:
            raise ConfigError(
                f"repeated: {self.variant.method} keeps no ledger, so it cannot replace a single "
                "fact; set keep or refuse"
            )
        if repeated == "refuse":
            for later, earlier in replaced_by([*self.requests, *requests]).items():
                raise RequestError(
                    f"facts: {later} has the subject and prompt of {earlier[0]}; take one of them "
                    "out, or let it be replaced (repeated)"
                )
        return ledger if repeated is None else repeated == "replace"

    def _take_back(
        self, replaced: Mapping[str, list[str]], requests: Sequence[EditRequest]
    ) -> list[EditRequest]:
        """Take back the edits that are replaced; returns the requests that are to be written."""
        gone = {earlier for ids in replaced.values() for earlier in ids}
        written = [request.id for request in self.requests if request.id in gone]
        if written:
            self.remove(written)
        for later, earlier in replaced.items():
            logger.info("%s replaces %s", later, ", ".join(earlier))
        return [request for request in requests if request.id not in gone]

    def undo(self) -> None:
        """Take all edits back: the matrices are the unedited ones, bit for bit."""
        self.state = self._new_state()
        self.requests, self.replaced = [], {}
        self._write_base()

    def remove(self, ids: Collection[str]) -> None:
        """Take single edits back, by solving all others again from the unedited weights.

        With `targets_from: unedited` it is as if they had never been written; targets that were
        sought on the edited model were found in their presence. An unfinished removal is undone.
        Raises ConfigError for a method that keeps no wanted outputs.
        """
        if not sequence.keeps_ledger(self.variant):
            raise ConfigError(
                f"{self.variant.method} keeps no ledger, so a single edit cannot be removed; "
                "undo() takes all back"
            )
        left = [place for place, request in enumerate(self.requests) if request.id not in ids]
        if not left:
            self.undo()
            return
        materials, whole, all_requests = self._ready(), self.state, self.requests
        self.requests = [all_requests[place] for place in left]
        self.state = dataclasses.replace(
            whole,
            edits=len(left),
            diagnoses=[
                dataclasses.replace(whole.diagnoses[place], order=i) for i, place in enumerate(left)
            ],
            wanted=[whole.wanted[place] for place in left],
            fresh=lambda: self._new_state().editors,
        )
        try:
            sequence.solve_again(
                self.lm, self.state, self.variant, self.requests, materials.templates
            )
        except BaseException:
            self.state, self.requests = whole, all_requests
            raise
        finally:
            sequence.put_into(self.lm, self.state, measured=True)

    @contextmanager
    def unedited(self) -> Iterator[CausalLM]:
        """The unedited model within the context."""
        self._write_base()
        try:
            yield self.lm
        finally:
            if self.state.edits:
                sequence.put_into(self.lm, self.state, measured=True)

    def save(self, path: str | Path, editor: Mapping[str, Any]) -> str:
        """Write a checkpoint that also holds requests and templates; returns its digest.

        editor: what `read_saved` is to return of the editor, as values for JSON.
        """
        if self._made_with is None:
            self._ready()
        assert self._made_with is not None
        digest, templates = self._made_with
        session = {
            "requests": records_of(self.requests),
            "templates": templates,
            "replaced": self.replaced,
            "editor": dict(editor),
        }
        packed = np.frombuffer(json.dumps(session).encode(), dtype=np.uint8)
        identity = self._identity(digest, templates)
        return checkpoints.save(path, self.state, identity, self.requests, {SESSION: packed})

    def restore(self, saved: Saved) -> None:
        """Continue from a stored session. Raises StoreError for one of another model."""
        made_with, this = (str(one)[:12] for one in (saved.identity["model"], self.lm.fingerprint))
        if made_with != this:
            raise StoreError(
                f"{saved.path}: made with another model (fingerprint {made_with}, this is {this}); "
                "give the one that it was made with, unedited"
            )
        identity = self._identity(saved.identity["moments"], saved.templates)
        state = self._new_state()
        checkpoints.load(saved.path, state, identity, saved.requests)
        self.state, self.requests = state, list(saved.requests)
        self.replaced = dict(saved.replaced)
        self._made_with = (saved.identity["moments"], saved.templates)
        sequence.put_into(self.lm, self.state, measured=True)

    def _identity(self, moments: str, templates: list[str]) -> checkpoints.Identity:
        return checkpoints.Identity(
            variant=self.variant,
            model=self.lm.fingerprint,
            moments=moments,
            templates=files.digest_of(templates),
            seed=self.seed,
            batch=self.batch,
        )

    def _ready(self) -> Materials:
        """The materials, made at the first call.

        Raises StoreError if a resumed session was made with other second moments or templates.
        """
        if self._materials is None:
            with self.unedited() as lm:
                made = self._make_materials(lm, self.variant)
            made_with = made.digest, list(made.templates)
            if self._made_with not in (None, made_with):
                raise StoreError(
                    "second moments or templates are not those that the stored edits were made "
                    "with; give the same corpus, tokens and seed, or start a new editor"
                )
            self._materials, self._made_with = made, made_with
        return self._materials

    def _matrix(self, layer: int) -> Tensor:
        return self._ready().moments[layer].matrix

    def _new_state(self) -> sequence.State:
        layers = self.variant.edit.layers
        devices = sequence.solve_devices(self.lm, layers, self.solve_on)
        return sequence.new_state(self.base, self.variant, lambda: self._moments, devices)

    def _write_base(self) -> None:
        for layer, weight in self.base.items():
            self.lm.write(layer, weight)

    def _snapshot(self) -> tuple[int, dict[int, dict[str, Tensor]]]:
        """Number of edits, and the editors' states: updates replace tensors and change none."""
        return self.state.edits, {i: editor.state() for i, editor in self.state.editors.items()}

    def _go_back(self, whole: tuple[int, dict[int, dict[str, Tensor]]]) -> None:
        """The state of a snapshot, in new editors: those that were interrupted are in between."""
        edits, states = whole
        earlier, self.state = self.state, self._new_state()
        for layer, editor in self.state.editors.items():
            editor.load(states[layer])
        self.state.edits, self.state.parent = edits, earlier.parent
        self.state.diagnoses = earlier.diagnoses[:edits]
        self.state.wanted = earlier.wanted[:edits]


def read_saved(path: str | Path) -> Saved:
    """A session that `Session.save` wrote; reads no matrices.

    Raises StoreError for a file that is none, or a checkpoint of the workflow.
    """
    contents = hdf5.read(path, "checkpoint", [])
    if SESSION not in contents.names:
        raise StoreError(
            f"{path}: a checkpoint of the workflow, which does not hold its requests; resume what "
            "Editor.save wrote"
        )
    packed = hdf5.read(path, "checkpoint", [SESSION]).arrays[SESSION]
    session = json.loads(packed.tobytes())
    requests = requests_from(session["requests"], str(path))
    return Saved(
        str(path), contents.attributes, requests, session["templates"], session["replaced"],
        session["editor"],
    )  # fmt: skip
