"""The contracts of a method: what edits one projection through a sequence of batches."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor


class LayerEditor(ABC):
    """Holds one layer's weight through a sequence of updates.

    An editor sees tensors only: no model, no tokenizer, no request. Its state is the cheapest set
    of arrays that gives the edited weight back exactly, together with whatever memory the next
    update needs.

    An editor owns its base: `make_editor` gives it a copy, and `load` copies. A batch replaces
    what an editor holds and changes no tensor in place: what `weight` and `state` hand out is the
    editor's own, to be read only, and stays as it is while the editor goes on.
    """

    @property
    @abstractmethod
    def weight(self) -> Tensor:
        """The edited W (d_out, d_in), float64 or float32, from which the next batch goes on."""

    @property
    def measured(self) -> Tensor:
        """The W that is measured at a checkpoint, where that is another one (PRUNE)."""
        return self.weight

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """The arrays to store."""

    @abstractmethod
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Copy arrays that `state` gave, into an editor made with the same arguments."""

    @property
    def rotation(self) -> Tensor | None:
        """The orthogonal matrix that the base weight was multiplied by, if there is one."""
        return None

    def undo(self) -> Tensor:
        """The unedited weight, computed from the edited one.

        Raises NotImplementedError for methods that keep no way back.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be undone from its state")


class ClosedFormEditor(LayerEditor):
    """An editor whose update follows from keys and residuals."""

    @abstractmethod
    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        """Write one batch.

        keys: (d_in, n) float64, as the unchanged lower part of the model gives them.
        residuals: what is to be added for these keys: to the value, (d_out, n), or, for editors
        that rotate the input, to the key, (d_in, n).
        prompt_keys: (d_in, n), the keys in the bare prompts, where they differ from `keys`.
        """

    def finish(self) -> bool:
        """Called once all layers of a batch have been updated; whether it changed the weight."""
        return False


class AdditiveEditor(ClosedFormEditor):
    """W <- W + Delta. The state is the edited weight, and earlier keys for those with memory."""

    remembers = False

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight.to(torch.float32)
        self._earlier = torch.empty(weight.shape[1], 0, dtype=torch.float64)

    @abstractmethod
    def delta(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor) -> Tensor:
        """The change (d_out, d_in) float64 that writes a batch; arguments as of `update`.

        Methods with memory get the earlier batches' keys by `with_earlier`.
        """

    @property
    def weight(self) -> Tensor:
        return self._weight

    def put(self, weight: Tensor) -> None:
        """Replace the weight by a copy. It is rounded to what is stored, so that a resumed run is
        the same run."""
        self._weight = weight.to(torch.float32, copy=True)

    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        delta = self.delta(keys, residuals, keys if prompt_keys is None else prompt_keys)
        self.put(self._weight.to(torch.float64) + delta)
        if self.remembers:
            self._earlier = torch.cat([self._earlier, keys], dim=1)

    def with_earlier(self, keys: Tensor, residuals: Tensor) -> tuple[Tensor, Tensor]:
        """[K_p, K] and [0, R]: earlier keys are to keep their present values."""
        known = torch.zeros(residuals.shape[0], self._earlier.shape[1], dtype=residuals.dtype)
        return torch.cat([self._earlier, keys], dim=1), torch.cat([known, residuals], dim=1)

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
    """An editor that is trained on the target loss of requests. Its state is one parameter.

    The loop asks for `trainable` once per batch, or once per request, then for `trained` at every
    step, and calls `constrain` after every step of the optimiser and `finish` after the last.
    """

    def __init__(self, parameter: Tensor) -> None:
        self._kept = parameter
        self._training = parameter

    def trainable(self) -> Tensor:
        """The parameter (a leaf that requires grad), as the last training left it."""
        self._training = self._kept.clone().requires_grad_()
        return self._training

    @abstractmethod
    def trained(self) -> Tensor:
        """W (d_out, d_in) float32, a differentiable function of the parameter in training."""

    @abstractmethod
    def constrain(self) -> None:
        """Bring the parameter in training back into what is allowed, in place."""

    def finish(self) -> None:
        """Keep what was trained."""
        self._kept = self._training.detach()

    def state(self) -> dict[str, Tensor]:
        return {"parameter": self._kept}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self._kept = state["parameter"].clone()


class WrappedEditor(ClosedFormEditor):
    """Another additive editor whose updates are changed. Everything else is that one's."""

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
    """Reshapes the base's whole change of a batch once all layers have theirs.

    Until then the model runs with the base's own weights, so that deeper layers see nothing of
    what is done to the changes below them.
    """

    def __init__(self, base: AdditiveEditor) -> None:
        super().__init__(base)
        self._before: Tensor | None = None

    @abstractmethod
    def reshape(self, change: Tensor, before: Tensor) -> Tensor:
        """What is kept of a batch's change; change, before (the weight): (d_out, d_in) float64."""

    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        # A batch may be written in several updates (one request at a time); it is reshaped once.
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
