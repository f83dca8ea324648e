"""A second device on a machine without one: mistakes of devices show as they do on a GPU.

Tensors of device `FAR` hold their numbers in host memory, but say that they are elsewhere. As with
CUDA, an operation on tensors of both devices is an error, unless one is a number (0-dim) of the
host or the operation copies. What a GPU would have to wait for is counted.
"""

from collections import Counter
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

# The one type besides the host's for which a torch without CUDA has device guards.
FAR = torch.device("meta")
COPIES = {"aten::_to_copy", "aten::copy_"}
# What ends with a number, or with a shape, that the host must know.
WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal"}


class FarTensor(Tensor):
    """A tensor that says it is on FAR; `near` has its numbers."""

    near: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, near: Tensor) -> "FarTensor":
        made = Tensor._make_wrapper_subclass(
            cls,
            near.shape,
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=FAR,
        )
        made.near = near.detach()
        return made

    def tolist(self) -> Any:
        """To the host, as torch does it for tensors of a GPU."""
        return self.cpu().tolist()

    def __repr__(self) -> str:
        return f"Far({self.near!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError("a tensor of the second device outside of its mode")


class SecondDevice(TorchDispatchMode):
    """Within this context tensors can be made on and moved to FAR.

    waits: how often the host waited for the device, by kind of operation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.patches = (
            # Which transformers asks by device; there is none for this one.
            patch("torch.is_autocast_enabled", lambda *_: False),
            # Of the type "meta", torch itself would make tensors without numbers.
            patch("torch.tensor", _tensor),
        )

    def __enter__(self) -> "SecondDevice":
        for one in self.patches:
            one.start()
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        for one in self.patches:
            one.stop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        far = [t for t in tensors if isinstance(t, FarTensor)]
        name = func._schema.name
        near = [t for t in tensors if not isinstance(t, FarTensor) and t.ndim]
        if far and near and name not in COPIES:
            raise RuntimeError(
                f"{name}: tensors of two devices, {[tuple(t.shape) for t in near]} on cpu and "
                f"{[tuple(t.shape) for t in far]} on {FAR}"
            )
        wanted = kwargs.get("device")
        on_far = torch.device(wanted).type == FAR.type if wanted is not None else bool(far)
        if name == "aten::copy_":
            on_far = isinstance(args[0], FarTensor)
        self._count(name, args, far, on_far)
        if on_far and wanted is not None:
            kwargs["device"] = torch.device("cpu")
        result = func(*tree_map(_near, args), **tree_map(_near, kwargs))
        if func._schema.is_mutable and tensors and isinstance(result, Tensor):
            changed = next(t for t in tensors if _near(t) is result or t is result)
            return changed
        return tree_map(_far, result) if on_far else result

    def _count(self, name: str, args: Any, far: list[Any], on_far: bool) -> None:
        masked = name == "aten::index" and any(
            i is not None and i.dtype == torch.bool for i in args[1]
        )
        if far and (name in WAITS or masked or (name in COPIES and not on_far)):
            self.waits[name] += 1


MAKE = torch.tensor


def _tensor(data: Any, dtype: Any = None, device: Any = None, **others: Any) -> Tensor:
    """torch.tensor: on the host, then copied, as a GPU has it."""
    made = MAKE(data, dtype=dtype, **others)
    return made if device is None else made.to(device)


def _near(value: Any) -> Any:
    return value.near if isinstance(value, FarTensor) else value


def _far(value: Any) -> Any:
    return FarTensor(value) if isinstance(value, Tensor) else value


def move(module: nn.Module) -> None:
    """Move a module's parameters and buffers to FAR."""
    moved: dict[int, Any] = {}
    for part in module.modules():
        for table in (part._parameters, part._buffers):
            for name, tensor in table.items():
                if tensor is None:
                    continue
                if id(tensor) not in moved:
                    far: Any = FarTensor(tensor.detach().clone())
                    if isinstance(tensor, nn.Parameter):
                        far = nn.Parameter(far, requires_grad=tensor.requires_grad)
                    moved[id(tensor)] = far
                table[name] = moved[id(tensor)]
