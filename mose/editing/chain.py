"""A chain of checkpoints: opening the files that it depends on, for the programs."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mose.editing import checkpoints, sequence
from mose.editing.in_context import as_asked
from mose.errors import RequestError, StoreError
from mose.facts import requests
from mose.facts.requests import EditRequest
from mose.methods.options import Variant
from mose.methods.register import parse_variant
from mose.models import loading, sources
from mose.models.causal_lm import CausalLM
from mose.statistics import second_moments
from mose.storage import files, hdf5


@dataclass(frozen=True)
class Chain:
    """The inputs of a method's sequence of edits, apart from the model."""

    variant: Variant
    requests: list[EditRequest]
    templates: Sequence[str]
    moments: str
    seed: int
    batch: int

    @property
    def asked(self) -> list[EditRequest]:
        """The requests as the model is asked about them at a checkpoint."""
        return as_asked(self.variant, self.requests)

    def identity(self, fingerprint: str) -> checkpoints.Identity:
        """The identity that all checkpoints of this chain share; fingerprint: the model's."""
        return checkpoints.Identity(
            variant=self.variant,
            model=fingerprint,
            moments=hdf5.read(self.moments, "moments", []).digest,
            templates=files.digest_of(self.templates),
            seed=self.seed,
            batch=self.batch,
        )

    def fresh_state(
        self,
        weights: Mapping[int, Tensor],
        fingerprint: str,
        devices: Mapping[int, torch.device] | None = None,
    ) -> sequence.State:
        """State without edits; weights: unedited (d_out, d_in) by layer; devices: as in
        `sequence.make_editors`."""
        layers = self.variant.edit.layers
        return sequence.new_state(
            weights,
            self.variant,
            lambda: second_moments.load(self.moments, layers, fingerprint),
            devices,
        )

    def read_checkpoint(
        self, path: str, weights: Mapping[int, Tensor], fingerprint: str
    ) -> sequence.State:
        """The state stored in a checkpoint of this chain; weights: unedited, by layer."""
        state = self.fresh_state(weights, fingerprint)
        checkpoints.load(path, state, self.identity(fingerprint), self.requests)
        return state


def open_chain(args: argparse.Namespace) -> Chain:
    """Read the files that the options of `cli.chain_options` name."""
    templates = files.read_json(args.templates)
    try:
        requests.check_templates(templates)
    except RequestError as error:
        raise StoreError(f"{args.templates}: not a file of context templates: {error}") from None
    return Chain(
        variant=parse_variant(json.loads(args.variant), "--variant"),
        requests=requests.read_requests(args.requests),
        templates=templates,
        moments=args.moments,
        seed=args.seed,
        batch=args.batch,
    )


def open_state(args: argparse.Namespace) -> tuple[sequence.State, dict[int, Tensor]]:
    """The state of a checkpoint, and the unedited matrices (d_out, d_in) by layer.

    Reads the matrices from the model's files; loads no model.
    """
    manifest = files.read_json(args.model)
    loading.check_files(manifest, args.model)
    run = open_chain(args)
    weights = {layer: sources.read_weight(manifest, layer) for layer in run.variant.edit.layers}
    return run.read_checkpoint(args.checkpoint, weights, manifest["fingerprint"]), weights


def open_model(args: argparse.Namespace) -> CausalLM:
    """The model to measure: at `args.checkpoint`, or unedited without one."""
    lm = loading.load(args.model, args.device, args.dtype, args.gpus)
    if args.checkpoint:
        run = open_chain(args)
        weights = {layer: lm.weight(layer) for layer in run.variant.edit.layers}
        state = run.read_checkpoint(args.checkpoint, weights, lm.fingerprint)
        sequence.put_into(lm, state, measured=True)
    return lm
