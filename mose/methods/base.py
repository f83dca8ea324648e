"""The contracts of layer editors: each edits one projection through a sequence of batches."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rotations:
    """R and Q of an edited weight W = R W_0 Q, to be checked.

    output: R (d_out, d_out), or R U_0 (d_out, r) for orthonormal U_0 that span W_0's column space;
    None for R = I. input: Q^T (d_in, d_in), or Q^T V_0 (d_in, r) for orthonormal V_0 that span its
    row space; None for Q = I. product: R W_0 Q (d_out, d_in), multiplied out.
    """

    output: Tensor | None
    input: Tensor | None
    product: Tensor


class LayerEditor(ABC):
    """Holds one layer's weight through a sequence of updates.

    An editor sees tensors only: no model, no tokenizer, no request. Its state is the cheapest set
    of arrays that restores the edited weight exactly, plus the memory that the next update needs.

    An editor shares no memory with its caller: `make_editor` gives it a copy, and `load` copies.
    Updates replace its tensors and change none in place. Callers must not write to what `weight`
    and `state` return; later updates do not change it either.
    """

    @property
    @abstractmethod
    def weight(self) -> Tensor:
        """The edited W (d_out, d_in), float64 or float32; the next update starts from it."""

    @property
    def measured(self) -> Tensor:
        """The W (d_out, d_in) that is measured at a checkpoint; PRUNE alone overrides it."""
        return self.weight

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """The arrays that a checkpoint stores."""

    @abstractmethod
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Copy the arrays of `state` into an editor made with the same arguments."""

    @property
    def rotations(self) -> Rotations | None:
        """The orthogonal matrices that multiply the unedited weight; None for other methods."""
        return None

    def undo(self) -> Tensor:
        """The unedited weight (d_out, d_in), computed from the edited one.

        Raises NotImplementedError for methods whose state does not allow it.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be undone from its state")


class ClosedFormEditor(LayerEditor):
    """A layer editor that computes its update from keys and residuals."""

    @abstractmethod
    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        """Write one batch.

        keys: (d_in, n) float64.
        residuals: wanted change of the values, (d_out, n); for editors that rotate the input, of
        the keys, (d_in, n).
        prompt_keys: (d_in, n), keys in the bare prompts; None: the same as `keys`.
        """

    def finish(self) -> bool:
        """Called after all layers of a batch are updated; returns whether it changed the weight."""
        return False


class AdditiveEditor(ClosedFormEditor):
    """W <- W + Delta. The state is the edited weight; methods with memory add the earlier keys."""

    # Whether the editor keeps the keys of earlier batches.
    remembers = False

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight.to(torch.float32)
        self._earlier = weight.new_empty(weight.shape[1], 0, dtype=torch.float64)

    @abstractmethod
    def delta(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor) -> Tensor:
        """Delta (d_out, d_in) float64 of a batch; arguments as in `update`.

        Methods with memory call `with_earlier` for the keys of earlier batches.
        """

    @property
    def weight(self) -> Tensor:
        return self._weight

    def put(self, weight: Tensor) -> None:
        """Replace the weight by a copy, rounded to float32 as checkpoints store it, so that a
        resumed run gives the same numbers."""
        self._weight = weight.to(torch.float32, copy=True)

    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        delta = self.delta(keys, residuals, keys if prompt_keys is None else prompt_keys)
        self.put(self._weight.to(torch.float64) + delta)
        if self.remembers:
            self._earlier = torch.cat([self._earlier, keys], dim=1)

    def with_earlier(self, keys: Tensor, residuals: Tensor) -> tuple[Tensor, Tensor]:
        """[K_p, K] and [0, R]: the values of earlier keys K_p should not change."""
        unchanged = residuals.new_zeros(residuals.shape[0], self._earlier.shape[1])
        return torch.cat([self._earlier, keys], dim=1), torch.cat([unchanged, residuals], dim=1)

    def state(self) -> dict[str, Tensor]:
        state = {"weight": self._weight}
        if self.remembers:
            state["keys"] = self._earlier.mT
        return state

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.put(state["weight"])
        if self.remembers:
            self._earlier = state["keys"].mT.clone()


class GradientEditor(LayerEditor):
    """A layer editor that the optimiser trains on requests. Its state is one parameter.

    Training (`mose.editing.training`) calls `trainable` once for the requests trained together,
    `trained` before and `constrain` after each optimiser step, and `finish` after the last one.
    """

    def __init__(self, parameter: Tensor) -> None:
        self._kept = parameter
        self._training = parameter

    def trainable(self) -> Tensor:
        """The parameter to train: a leaf that requires grad, a copy of the last trained one."""
        self._training = self._kept.clone().requires_grad_()
        return self._training

    @abstractmethod
    def trained(self) -> Tensor:
        """W (d_out, d_in) float32 as a differentiable function of the parameter being trained."""

    @abstractmethod
    def constrain(self) -> None:
        """Project the parameter being trained onto the allowed set, in place."""

    def finish(self) -> None:
        """Keep the trained parameter."""
        self._kept = self._training.detach()

    def state(self) -> dict[str, Tensor]:
        return {"parameter": self._kept}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self._kept = state["parameter"].clone()


class SignalEditor(LayerEditor):
    """A layer editor that computes its update from keys and gradients at the answers' tokens.

    A place is a position that an answer's token is predicted from. Its key is the input of the
    edited projection there, its gradient that of the loss with respect to the projection's output.
    `mose.editing.signals` finds both for all layers of a batch, in one model. Then every editor
    sees those of all layers once (`observe`), before the first one is updated.
    """

    @abstractmethod
    def observe(self, keys: Tensor, gradients: Tensor) -> None:
        """Take note of one layer's signals, which may be another layer's than the editor's own.

        keys: (d_in, m) float64 at the batch's m places; gradients: (d_out, m) float64.
        """

    @abstractmethod
    def update(self, keys: Tensor, gradients: Tensor) -> None:
        """Write one batch; arguments as in `observe`, of the editor's own layer."""


class WrappedEditor(ClosedFormEditor):
    """Changes the updates of an additive editor, `base`; the rest is delegated to it."""

    def __init__(self, base: AdditiveEditor) -> None:
        self.base = base

    @property
    def weight(self) -> Tensor:
        return self.base.weight

    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        self.base.update(keys, residuals, prompt_keys)

    def finish(self) -> bool:
        return self.base.finish()

    def state(self) -> dict[str, Tensor]:
        return self.base.state()

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.base.load(state)


class DeferredWrapper(WrappedEditor):
    """Reshapes a batch's whole change after the base has written it at all layers.

    Until then the model runs with the base's weights, so that deeper layers' keys and residuals
    do not depend on the reshaping.
    """

    def __init__(self, base: AdditiveEditor) -> None:
        super().__init__(base)
        self._before: Tensor | None = None

    @abstractmethod
    def reshape(self, change: Tensor, before: Tensor) -> Tensor:
        """The change to write; before: the earlier weight. All are (d_out, d_in) float64."""

    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        # A batch may take several updates (one per request); its sum is reshaped once.
        if self._before is None:
            self._before = self.base.weight
        super().update(keys, residuals, prompt_keys)

    def finish(self) -> bool:
        changed = super().finish()
        if self._before is None:
            return changed
        before = self._before.to(torch.float64)
        change = self.base.weight.to(torch.float64) - before
        self.base.put(before + self.reshape(change, before))
        self._before = None
        return True
