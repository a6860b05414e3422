"""A device that no machine lacks: tensors that say they are elsewhere, while the CPU computes what they hold.

An operation that mixes tensors of this device with tensors of the CPU raises, as it would on a GPU. All else gives the
CPU's results, so that whole fits run. The name of the device is ``meta``, which torch never initialises; unlike torch's
own meta tensors these have values, so that code may look at them.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from helpers.small import small_trainer
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
CPU = torch.device("cpu")
COPIES = {"copy_", "_to_copy", "to", "copy"}
"""Operations that take tensors of any two devices."""
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
"""Operations whose indices may lie on the CPU if what they index lies on a GPU; not the other way."""

PACKING = {"_pack_padded_sequence", "_pack_padded_sequence_backward", "_pad_packed_sequence"}
"""Operations that want lengths on the CPU, and give them there."""
READS = {"_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "masked_select"}
"""Operations for which a GPU makes the program wait, since a size or a value depends on what it computes."""


class MixedDevicesError(RuntimeError):
    """An operation between tensors of two devices."""


class Elsewhere(Tensor):
    """A tensor of the pretended device. ``held`` has its values."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        plain = held.layout == torch.strided
        place = {"strides": held.stride(), "storage_offset": held.storage_offset()} if plain else {}
        made = Tensor._make_wrapper_subclass(
            cls, held.size(), dtype=held.dtype, layout=held.layout, device=DEVICE, **place
        )
        made.held = held
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self, **_: Any) -> str:
        return f"Elsewhere({self.held!r})"


class _WithValues(TorchFunctionMode):
    """``torch.tensor`` gives torch's own tensors on ``meta`` no values, before any operation is seen."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.new_tensor:
            kwargs = {"device": args[0].device, "dtype": args[0].dtype, **kwargs}
            func, args = torch.tensor, args[1:]
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and kwargs.get("device") is not None:
            device = torch.device(kwargs["device"])
            return func(*args, **{**kwargs, "device": CPU if device == DEVICE else device}).to(device)
        return func(*args, **kwargs)


class Pretending(TorchDispatchMode):
    """Within it the device exists: tensors can be made on it and moved to it. ``reads`` counts reads of values."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        self._with_values = _WithValues()
        self._autocast = mock.patch.object(torch, "autocast", _autocast)  # torch has none for ``meta``

    def __enter__(self) -> Pretending:
        self._autocast.__enter__()
        self._with_values.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._with_values.__exit__(*error)
        self._autocast.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in READS and any(isinstance(each, Elsewhere) for each in tree_leaves((args, kwargs))):
            self.reads[name] += 1
        return compute(func, args, kwargs or {})


_AUTOCAST = torch.autocast


def _autocast(device_type: str, *args: Any, **kwargs: Any) -> Any:
    return _AUTOCAST("cpu" if device_type == DEVICE.type else device_type, *args, **kwargs)


def compute(func: Any, args: Any, kwargs: Any) -> Any:
    """Check the devices of an operation, compute it on the CPU, and name the device of its result."""
    leaves = tree_leaves((args, kwargs))
    tensors = [each for each in leaves if isinstance(each, Tensor)]
    asked = [each for each in leaves if isinstance(each, torch.device)]
    there = any(isinstance(each, Elsewhere) for each in tensors)
    result = asked[-1] == DEVICE if asked else there
    name = func.overloadpacket.__name__
    if there and name not in COPIES:
        _check(name, args, tensors)
    if result and any(isinstance(each, torch.Generator) for each in leaves):
        raise MixedDevicesError(f"{name}: a generator of the CPU draws for a tensor of another device")
    owners = {id(each.held): each for each in tensors if isinstance(each, Elsewhere)}
    inner_args, inner_kwargs = tree_map(_on_cpu, (args, kwargs))
    found = func(*inner_args, **inner_kwargs)
    if there and torch.Tag.inplace_view in func.tags:
        with no_dispatch():
            func(*args, **kwargs)  # the shape that the tensor itself shows
    if there and name in PACKING:
        return (Elsewhere(found[0]), found[1]) if isinstance(found, tuple) else Elsewhere(found)

    def named(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) in owners:  # changed in place; or moved to the CPU, which in inference mode copies nothing
            return owners[id(value)] if result else value.clone()
        return Elsewhere(value) if result else value

    return tree_map(named, found)


def _check(name: str, args: Any, tensors: list[Tensor]) -> None:
    if name in INDEXING and isinstance(args[0], Elsewhere):
        tensors = [args[0], *(each for each in args[2:] if isinstance(each, Tensor))]
    if name in PACKING:
        tensors = [args[0]]
    if any(not isinstance(each, Elsewhere) and each.dim() for each in tensors):  # a GPU takes scalars of the CPU
        shapes = [(("elsewhere" if isinstance(each, Elsewhere) else "cpu"), tuple(each.shape)) for each in tensors]
        raise MixedDevicesError(f"{name}: tensors of two devices: {shapes}")


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Elsewhere):
        return value.held
    return CPU if isinstance(value, torch.device) else value


class PretendedAccelerator(Accelerator):
    """What Lightning asks of a device."""

    def setup_device(self, device: torch.device) -> None:
        assert device == DEVICE

    def teardown(self) -> None:
        """Nothing to do."""

    @staticmethod
    def parse_devices(devices: Any) -> int:
        return 1

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [DEVICE]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return "pretended"

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        return {}


def pretended_trainer(folder: Path, **changes: Any) -> Trainer:
    """A trainer whose device is the pretended one; use it within ``Pretending``."""
    strategy = SingleDeviceStrategy(DEVICE, PretendedAccelerator())
    return small_trainer(folder, **{"accelerator": "auto", "strategy": strategy, "inference_mode": False, **changes})
