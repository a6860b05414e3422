"""Tables that are larger than one device: their rows shared by the ranks of a tensor-parallel group."""

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
    """Each rank of a tensor-parallel group holds a share of every large table's rows, gradient and optimizer state.

    All else is on every rank. The ranks of a group see the same batches and compute the same; batches, negatives and
    metrics count a group as one rank. Groups, of which there are ``data_parallel_size``, see batches of their own, as
    ranks do under DDP.

    Args:
        min_rows: tables from so many rows on are shared; a lookup in one adds up (B, D) numbers over the group.
        data_parallel_size: groups, each of which holds the tables once.
        tensor_parallel_size: ranks of a group; "auto" = all processes of a machine.
        save_distributed_checkpoint: True = a folder to which each rank writes what it holds; False = one file that
            every other command and strategy reads: table by table passes through the devices whole, into the host
            memory of rank 0.
        process_group_backend: None = NCCL on GPUs, gloo on CPUs.
        timeout: after which a rank that waits for another gives up.
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
        """Let this rank keep its share of the large tables, and start from rank 0's values; returns their names.

        Raises:
            ValueError: no table is large enough; one has sparse gradients.
        """
        tables = {name: part for name, part in model.named_modules() if isinstance(part, nn.Embedding)}
        large = {name: table for name, table in tables.items() if table.num_embeddings >= self.min_rows}
        if not large:
            rows = max((table.num_embeddings for table in tables.values()), default=0)
            raise UserError(
                f"no table has {self.min_rows:,} rows to share (the largest has {rows:,}): lower the strategy's "
                "min_rows, or use strategy: ddp"
            )
        if sparse := list(sparse_tables(model)):
            raise UserError(
                f"{sparse[0]} has sparse gradients, which DTensor cannot hold (torch {torch.__version__}): set sparse: "
                "false for its encoder; each rank then updates its share of the rows in every step"
            )
        mesh = self.device_mesh["tensor_parallel"]
        for table in large.values():
            if not isinstance(table.weight, DTensor):
                table.weight = nn.Parameter(_own_rows(table.weight, mesh, self.root_device), table.weight.requires_grad)
                parallelize_module(table, mesh, RowwiseParallel(input_layouts=Replicate()))
        for tensor in [*model.parameters(), *model.buffers()]:
            values, group = self._on_several(tensor)
            first = values.to(self.root_device)
            dist.broadcast(first, group_src=0, group=group)
            values.copy_(first)
        return list(large)

    def _on_several(self, tensor: Tensor) -> tuple[Tensor, dist.ProcessGroup | None]:
        """What this rank has of a tensor, and the ranks that have the same: None = all."""
        if isinstance(tensor, DTensor):
            return tensor.to_local(), self.device_mesh["data_parallel"].get_group()
        return tensor, None

    def setup(self, trainer: Trainer) -> None:
        """Set up the model and its optimizer."""
        super().setup(trainer)
        self._step_one_by_one()

    def _step_one_by_one(self) -> None:
        """Torch's kernels for many parameters at once take no mixture of whole and shared ones."""
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            if len({isinstance(parameter, DTensor) for parameter in group["params"]}) > 1:
                group.update({name: False for name in ("foreach", "fused") if name in group})

    def post_backward(self, closure_loss: Tensor) -> None:
        """Average gradients as DDP does: of what is whole over all ranks, of a share over those that hold the same."""
        assert self.model is not None
        waiting: list[tuple[Any, Tensor, int]] = []
        for gradient in (p.grad for p in self.model.parameters() if p.grad is not None):
            own, group = self._on_several(gradient)
            work = dist.all_reduce(own, group=group, async_op=True)
            waiting.append((work, own, dist.get_world_size(group)))
        for work, own, size in waiting:
            work.wait()
            own.div_(size)
        super().post_backward(closure_loss)

    def clip_gradients(self, optimizer: Optimizer, limit: float, algorithm: str | None) -> None:
        """By the norm of all gradients, or each value ("value"): torch's own functions take whole or shared ones."""
        both = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        shared = [gradient.to_local() for gradient in both if isinstance(gradient, DTensor)]
        whole = [gradient for gradient in both if not isinstance(gradient, DTensor)]
        if algorithm == "value":
            for gradient in whole + shared:
                gradient.clamp_(-limit, limit)
            return
        square = nn.utils.get_total_norm(shared).square()
        dist.all_reduce(square, group=self.device_mesh["tensor_parallel"].get_group())
        norm = (square + nn.utils.get_total_norm(whole).square()).sqrt()
        for gradient in whole + shared:
            gradient.mul_((limit / (norm + 1e-6)).clamp(max=1))  # as torch.nn.utils.clip_grad_norm_

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """For one file the state as any other strategy saves it: a collective, as tables are gathered."""
        if self._save_distributed_checkpoint:
            return super().optimizer_state(optimizer)
        state: dict[str, Any] = tree_map_only(DTensor, _gathered, optimizer.state_dict())
        return state

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Go on from a folder of shares, or from one file of whole tables, whichever strategy wrote it."""
        path = Path(self.broadcast(checkpoint_path))
        if path.is_dir():
            return super().load_checkpoint(path, weights_only)
        assert self.model is not None
        assert self.lightning_module is not None
        checkpoint: dict[str, Any] = torch.load(path, mmap=True, map_location="cpu", weights_only=weights_only)
        own = self.model.state_dict()
        weights = {name: _share_of(value, own.get(name)) for name, value in checkpoint.pop("state_dict").items()}
        self.model.load_state_dict(weights, strict=self.lightning_module.strict_loading)
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=False):  # none in a test
            optimizer.load_state_dict(_shares(state, optimizer))
        self._step_one_by_one()
        return checkpoint


def data_parallel_group(strategy: Strategy, stage: str) -> dist.ProcessGroup | None:
    """Ranks of which each has rows of its own: one of each group that shares tables; None = all.

    Raises:
        ValueError: Lightning's own strategy, which shares nothing by itself; or ranks that share tables are to predict.
    """
    if not isinstance(strategy, ModelParallelStrategy):
        return None
    if not isinstance(strategy, ShardedTables):
        raise UserError(
            "ModelParallelStrategy shares nothing by itself: use its subclass "
            "dssm_lightning.training.distributed.ShardedTables, as configs/sharded.yaml does"
        )
    if stage == "predict":
        raise UserError(
            "predict writes each rank's rows, and ranks that share tables have the same ones: predict from the "
            "checkpoint with one process, or under strategy: ddp"
        )
    return strategy.device_mesh["data_parallel"].get_group()


def one_file(folder: Path, path: Path) -> None:
    """Make one file, which every command and strategy reads, of a folder of shares; it holds all tables in memory.

    Raises:
        FileNotFoundError: the folder holds no shares.
    """
    with TemporaryDirectory(dir=path.parent) as place:
        dcp_to_torch_save(folder, Path(place) / "shares.pt")
        shares = torch.load(Path(place) / "shares.pt", weights_only=True)
    rest = torch.load(folder / "meta.pt", weights_only=True)
    states = [shares[name] for name in sorted(shares) if name.startswith("optimizer_")]
    AtomicCheckpointIO().save_checkpoint({**rest, "state_dict": shares["state_dict"], "optimizer_states": states}, path)


def _own_rows(weight: Tensor, mesh: DeviceMesh, device: torch.device) -> DTensor:
    """What of a table, on the CPU, this rank is to hold on its device: the whole is never there."""
    size = -(-len(weight) // mesh.size())  # as DTensor's Shard(0) cuts
    first = size * mesh.get_local_rank()
    rows = weight.detach()[first : first + size].to(device, copy=True)
    return DTensor.from_local(rows, mesh, [Shard(0)], run_check=False, shape=weight.shape, stride=weight.stride())


def _share_of(value: Tensor, like: Tensor | None) -> Tensor:
    """What of a whole tensor this rank holds, if it holds a share of what has as many rows."""
    if isinstance(like, DTensor) and value.shape[:1] == like.shape[:1]:
        return _own_rows(value, like.device_mesh, like.device)
    return value


def _gathered(part: DTensor) -> Tensor:
    """On rank 0, which alone writes, all rows in host memory."""
    whole = part.full_tensor()
    return whole.cpu() if dist.get_rank() == 0 else whole.new_empty(0)


def _shares(state: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """An optimizer's state of whole tables -> this rank's, moments (V, D) and sums (V,) alike."""
    saved = chain.from_iterable(group["params"] for group in state["param_groups"])
    like = dict(zip(saved, chain.from_iterable(group["params"] for group in optimizer.param_groups), strict=False))
    moments = {
        number: {key: _share_of(value, like.get(number)) for key, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": moments}
