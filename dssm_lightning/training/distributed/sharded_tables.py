"""Tables that are larger than one device: their rows are distributed over the processes of a tensor-parallel group."""

from __future__ import annotations

from datetime import timedelta
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import RowwiseParallel, parallelize_module
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from dssm_lightning.training.atomic_checkpoint_io import AtomicCheckpointIO
from dssm_lightning.training.optimizers import sparse_tables
from dssm_lightning.utils.errors import UserError


class ShardedTables(ModelParallelStrategy):
    """Distribute the rows of large tables, with their gradients and optimizer states, over a group of processes.

    Each process of a tensor-parallel group holds a shard of the rows of every large table. Each process holds all other
    parameters completely. The processes of a group have the same batches and compute the same results; batches,
    negatives and metrics count a group as one process. There are ``data_parallel_size`` groups with different batches,
    like the processes of DDP.

    Args:
        min_rows: tables with at least this many rows are distributed; a lookup in such a table sums (B, D) numbers over
            the group.
        data_parallel_size: number of groups; each group holds the tables once.
        tensor_parallel_size: number of processes in a group; "auto" = all processes of a machine.
        save_distributed_checkpoint: True = a folder to which each process writes its shards; False = one file that
            every other command and strategy can read. For the file, each table is gathered on the devices and copied to
            the host memory of process 0, one table after the other.
        process_group_backend: None = NCCL on GPUs, gloo on CPUs.
        timeout: a process that waits longer than this for another process fails.

    Example:
        >>> from dssm_lightning.training.distributed import ShardedTables
        >>> strategy = ShardedTables(min_rows=1_000_000)  # then: Trainer(strategy=strategy, devices=4)
        >>> strategy.min_rows
        1000000
    """

    def __init__(
        self,
        min_rows: int = 10_000,
        data_parallel_size: int = 1,
        tensor_parallel_size: Literal["auto"] | int = "auto",
        save_distributed_checkpoint: bool = False,
        process_group_backend: str | None = None,
        timeout: timedelta = timedelta(minutes=30),  # Lightning's
    ) -> None:
        super().__init__(
            data_parallel_size, tensor_parallel_size, save_distributed_checkpoint, process_group_backend, timeout
        )
        self.min_rows = min_rows
        self.checkpoint_io = AtomicCheckpointIO(go_on=True)

    @torch.no_grad()
    def share(self, model: nn.Module) -> list[str]:
        """Keep this process's shards of the large tables, with the values of process 0. Returns the tables' names.

        Raises:
            UserError: no table is large enough; a table has sparse gradients.
        """
        tables = {name: part for name, part in model.named_modules() if isinstance(part, nn.Embedding)}
        large = {name: table for name, table in tables.items() if table.num_embeddings >= self.min_rows}
        if not large:
            rows = max((table.num_embeddings for table in tables.values()), default=0)
            raise UserError(
                f"no table has {self.min_rows:,} rows or more (the largest has {rows:,}): lower the strategy's "
                "min_rows, or use strategy: ddp"
            )
        if sparse := list(sparse_tables(model)):
            raise UserError(
                f"{sparse[0]} has sparse gradients, which DTensor does not support (torch {torch.__version__}): set "
                "sparse: false for its encoder; each process then updates all of its rows in every step"
            )
        mesh = self.device_mesh["tensor_parallel"]
        for table in large.values():
            if not isinstance(table.weight, DTensor):
                table.weight = nn.Parameter(_own_rows(table.weight, mesh, self.root_device), table.weight.requires_grad)
                parallelize_module(table, mesh, RowwiseParallel(input_layouts=Replicate()))
        for tensor in [*model.parameters(), *model.buffers()]:
            values, group = self._replicated(tensor)
            first = values.to(self.root_device)
            dist.broadcast(first, group_src=0, group=group)
            values.copy_(first)
        return list(large)

    def _replicated(self, tensor: Tensor) -> tuple[Tensor, dist.ProcessGroup | None]:
        """Return this process's part of a tensor, and the processes that hold the same part; None = all processes."""
        if isinstance(tensor, DTensor):
            return tensor.to_local(), self.device_mesh["data_parallel"].get_group()
        return tensor, None

    def setup(self, trainer: Trainer) -> None:
        """Set up the model and the optimizer."""
        super().setup(trainer)
        self._step_one_by_one()

    def _step_one_by_one(self) -> None:
        """Turn off torch's kernels for many parameters: they refuse sharded beside other parameters."""
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            if len({isinstance(parameter, DTensor) for parameter in group["params"]}) > 1:
                group.update({name: False for name in ("foreach", "fused") if name in group})

    def post_backward(self, closure_loss: Tensor) -> None:
        """Average gradients as DDP does: of a shard over the processes that hold the same shard, of others over all."""
        assert self.model is not None
        waiting: list[tuple[Any, Tensor, int]] = []
        for gradient in (p.grad for p in self.model.parameters() if p.grad is not None):
            own, group = self._replicated(gradient)
            work = dist.all_reduce(own, group=group, async_op=True)
            waiting.append((work, own, dist.get_world_size(group)))
        for work, own, size in waiting:
            work.wait()
            own.div_(size)
        super().post_backward(closure_loss)

    def clip_gradients(self, optimizer: Optimizer, limit: float, algorithm: str | None) -> None:
        """Clip by the norm of all gradients, or by value; torch's functions refuse sharded beside other gradients."""
        every = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        shards = [gradient.to_local() for gradient in every if isinstance(gradient, DTensor)]
        whole = [gradient for gradient in every if not isinstance(gradient, DTensor)]
        if algorithm == "value":
            for gradient in whole + shards:
                gradient.clamp_(-limit, limit)
            return
        square = nn.utils.get_total_norm(shards).square()
        dist.all_reduce(square, group=self.device_mesh["tensor_parallel"].get_group())
        norm = (square + nn.utils.get_total_norm(whole).square()).sqrt()
        for gradient in whole + shards:
            gradient.mul_((limit / (norm + 1e-6)).clamp(max=1))  # as torch.nn.utils.clip_grad_norm_

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the state as other strategies save it, with gathered tables; a collective."""
        if self._save_distributed_checkpoint:
            return super().optimizer_state(optimizer)
        state: dict[str, Any] = tree_map_only(DTensor, _gathered, optimizer.state_dict())
        return state

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Restore from a folder of shards, or from one file of any strategy."""
        path = Path(self.broadcast(checkpoint_path))
        if path.is_dir():
            return super().load_checkpoint(path, weights_only)
        assert self.model is not None
        assert self.lightning_module is not None
        checkpoint: dict[str, Any] = torch.load(path, mmap=True, map_location="cpu", weights_only=weights_only)
        own = self.model.state_dict()
        weights = {name: _shard_of(value, own.get(name)) for name, value in checkpoint.pop("state_dict").items()}
        self.model.load_state_dict(weights, strict=self.lightning_module.strict_loading)
        states = checkpoint["optimizer_states"]
        for optimizer, state in zip(self.optimizers, states, strict=False):  # an evaluation has no optimizers
            optimizer.load_state_dict(_shards(state, optimizer))
        self._step_one_by_one()
        return checkpoint


def data_parallel_group(strategy: Strategy, stage: str) -> dist.ProcessGroup | None:
    """Return the group of processes with different rows: one process of each tensor-parallel group; None = all.

    Raises:
        UserError: Lightning's own strategy, which distributes nothing by itself; ``predict`` with sharded tables.
    """
    if not isinstance(strategy, ModelParallelStrategy):
        return None
    if not isinstance(strategy, ShardedTables):
        raise UserError(
            "ModelParallelStrategy distributes nothing by itself: use its subclass "
            "dssm_lightning.training.distributed.ShardedTables, as configs/sharded.yaml does"
        )
    if stage == "predict":
        raise UserError(
            "predict writes the rows of each process, and under ShardedTables several processes have the same rows: "
            "predict from the checkpoint with one process, or with strategy: ddp"
        )
    return strategy.device_mesh["data_parallel"].get_group()


def one_file(folder: Path, path: Path) -> None:
    """Convert a checkpoint that is a folder of shards to one file for every command and strategy.

    All tables are in memory during the conversion. Torch unpickles such a folder: convert only your own, or one whose
    author you trust.

    Raises:
        FileNotFoundError: the folder holds no shards.
    """
    with TemporaryDirectory(dir=path.parent) as place:
        dcp_to_torch_save(folder, Path(place) / "shards.pt")
        shards = torch.load(Path(place) / "shards.pt", weights_only=True)
    rest = torch.load(folder / "meta.pt", weights_only=True)
    states = [shards[name] for name in sorted(shards) if name.startswith("optimizer_")]
    AtomicCheckpointIO().save_checkpoint({**rest, "state_dict": shards["state_dict"], "optimizer_states": states}, path)


def _own_rows(weight: Tensor, mesh: DeviceMesh, device: torch.device) -> DTensor:
    """Copy this process's rows of a table from the CPU to its device, without the other rows."""
    size = -(-len(weight) // mesh.size())  # as DTensor's Shard(0) splits
    first = size * mesh.get_local_rank()
    rows = weight.detach()[first : first + size].to(device, copy=True)
    return DTensor.from_local(rows, mesh, [Shard(0)], run_check=False, shape=weight.shape, stride=weight.stride())


def _shard_of(value: Tensor, like: Tensor | None) -> Tensor:
    """Return this process's rows of a tensor, if ``like`` is sharded and has as many rows; else the tensor."""
    if isinstance(like, DTensor) and value.shape[:1] == like.shape[:1]:
        return _own_rows(value, like.device_mesh, like.device)
    return value


def _gathered(part: DTensor) -> Tensor:
    """Return all rows, in host memory, in process 0, which writes the file; no rows in other processes."""
    whole = part.full_tensor()
    return whole.cpu() if dist.get_rank() == 0 else whole.new_empty(0)


def _shards(state: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """Return this process's rows of an optimizer state: of moments (V, D) and of sums (V,)."""
    saved = chain.from_iterable(group["params"] for group in state["param_groups"])
    like = dict(zip(saved, chain.from_iterable(group["params"] for group in optimizer.param_groups), strict=False))
    moments = {
        number: {key: _shard_of(value, like.get(number)) for key, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": moments}
