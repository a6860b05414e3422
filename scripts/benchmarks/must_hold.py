"""What a fit or an evaluation cannot do without, in bytes, from the objects that hold it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from dssm_lightning.training.module import TwoTower

WEIGHTS, GRADIENTS, STATE, TABLES = "weights", "gradients", "optimizer state", "encoded tables"


class MustHold(Callback):
    """Reads the sizes while a trainer works; only the first training step is looked into."""

    def __init__(self) -> None:
        self._found: dict[str, float] = dict.fromkeys((WEIGHTS, GRADIENTS, STATE, TABLES), 0)
        self._step = self._evaluation = 0
        self._saved: dict[int, int] = {}  # storage of a tensor that autograd saves -> bytes
        self._forward = ExitStack()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note what autograd saves from here to the backward pass."""
        if trainer.global_step == 0:
            self._step = storage_bytes(not_mapped(tensors_in(batch)))
            self._forward.enter_context(saved_tensors_hooks(self._save, lambda tensor: tensor))

    def _save(self, tensor: Tensor) -> Tensor:
        if not tensor.is_sparse:
            storage = tensor.untyped_storage()
            self._saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Of what was saved, weights are counted elsewhere."""
        self._forward.close()
        own = {parameter.untyped_storage().data_ptr() for parameter in pl_module.parameters()}
        self._step += sum(size for place, size in self._saved.items() if place not in own)
        self._saved = {}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """All gradients are there."""
        gradients = [each.grad for each in pl_module.parameters() if each.grad is not None]
        self._found[GRADIENTS] = max(self._found[GRADIENTS], storage_bytes(gradients))

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, *_: Any) -> None:
        """The corpus is embedded."""
        self._evaluate(pl_module, batch)

    def on_test_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, *_: Any) -> None:
        """The corpus is embedded."""
        self._evaluate(pl_module, batch)

    def _evaluate(self, module: LightningModule, batch: Any) -> None:
        assert isinstance(module, TwoTower)
        corpus = module._corpus
        assert corpus is not None
        scores = 4 * len(batch.query_row) * len(corpus)
        self._evaluation = max(self._evaluation, storage_bytes([corpus]) + scores)

    def sizes(self, trainer: Trainer, module: TwoTower) -> dict[str, float]:
        """Return the bytes of each part, when the trainer has ended."""
        states = [state for optimizer in trainer.optimizers for state in optimizer.state.values()]
        found = self._found | {STATE: storage_bytes(tensors_in(states))}
        found[WEIGHTS] = storage_bytes([*module.query_tower.parameters(), *module.candidate_tower.parameters()])
        found[TABLES] = storage_bytes(not_mapped(tensors_in(vars(module.datamodule.assembler))))
        return found | {"a step or an evaluation": max(self._step, self._evaluation)}


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors that containers and our own objects hold."""
    todo, seen = [value], set()
    while todo:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, Tensor):
            yield each
        elif isinstance(each, Mapping):
            todo.extend(each.values())
        elif isinstance(each, (list, tuple)):
            todo.extend(each)
        elif type(each).__module__.startswith("dssm_lightning") and hasattr(each, "__dict__"):
            todo.extend(vars(each).values())


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the storages of tensors, each storage once; of a sparse one its indices and values."""
    parts: list[Tensor] = []
    for tensor in tensors:
        parts.extend([tensor._indices(), tensor._values()] if tensor.is_sparse else [tensor])
    storages = (part.untyped_storage() for part in parts)
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def not_mapped(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Those of the tensors that do not lie in a file that is mapped into this process."""
    files = []
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        span, _, _, _, inode, *_ = line.split(maxsplit=5)
        if inode != "0":
            files.append(tuple(int(end, 16) for end in span.split("-")))
    return [each for each in tensors if not any(start <= each.data_ptr() < end for start, end in files)]
