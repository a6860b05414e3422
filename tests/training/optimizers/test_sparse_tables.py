"""Row-wise Adagrad, two optimizers as one, and optimizers that are refused before training."""

from __future__ import annotations

import copy
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small import TOWER, small_data, small_model, small_trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from dssm_lightning import TwoTower
from dssm_lightning.training.optimizers import LazyAdam, RowWiseAdagrad, SparseAndDense, check_sparse_tables
from dssm_lightning.training.optimizers.parameter_groups import parameter_groups
from dssm_lightning.utils import distributed

# torch's optimizers make sparse tensors without setting their checks, and torch warns about this
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled")
BATCHES = [[0, 1], [1, 1, 4], [0, 5], [2]] * 3


class Net(nn.Module):
    """A sparse table, and a layer after it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Embedding(6, 3, sparse=True)
        self.layer = nn.Linear(3, 2)

    def forward(self, ids: Tensor) -> Tensor:
        total: Tensor = self.layer(self.table(ids).sin()).square().sum()
        return total


def steps(net: Net, batches: list[list[int]], *parts: Any) -> None:
    """Train with optimizers and schedules."""
    for ids in batches:
        net.zero_grad()
        net(torch.tensor(ids)).backward()
        for part in parts:
            part.step()


SPARSE, DENSE = partial(torch.optim.SparseAdam, lr=0.1), partial(torch.optim.AdamW, lr=0.05, weight_decay=0.1)


def combined(net: nn.Module) -> SparseAndDense:
    return SparseAndDense(parameter_groups(net), SPARSE, DENSE)


# -- row-wise Adagrad --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_row_wise_adagrad_by_hand(decay: float) -> None:
    """Row 1 occurs twice in the second batch, row 0 only in the first, row 2 never."""
    table = nn.Embedding.from_pretrained(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), freeze=False, sparse=True)
    optimizer = RowWiseAdagrad(table.parameters(), lr=0.1, eps=0.0, weight_decay=decay)
    weight, total = table.weight.tolist(), [0.0, 0.0, 0.0]
    for ids in ([0, 1], [1, 1]):
        optimizer.zero_grad()
        (table(torch.tensor(ids)) * torch.tensor([1.0, -3.0])).sum().backward()
        optimizer.step()
        for row in set(ids):
            gradient = [ids.count(row) * g + decay * w for g, w in zip((1.0, -3.0), weight[row], strict=True)]
            total[row] += (gradient[0] ** 2 + gradient[1] ** 2) / 2
            weight[row] = [w - 0.1 * g / math.sqrt(total[row]) for w, g in zip(weight[row], gradient, strict=True)]
    torch.testing.assert_close(table.weight.detach(), torch.tensor(weight))
    assert table.weight[2].tolist() == [5.0, 6.0]
    assert optimizer.state[table.weight]["sum"].shape == (3,)


def test_row_wise_adagrad_with_one_number_a_row_is_adagrad() -> None:
    tables = [nn.Embedding(6, 1, sparse=True) for _ in range(2)]
    tables[1].load_state_dict(tables[0].state_dict())
    optimizers: list[torch.optim.Optimizer] = [
        RowWiseAdagrad(tables[0].parameters(), 0.1),
        torch.optim.Adagrad(tables[1].parameters(), 0.1),
    ]
    for ids in BATCHES:
        for table, optimizer in zip(tables, optimizers, strict=True):
            optimizer.zero_grad()
            table(torch.tensor(ids)).sin().sum().backward()
            optimizer.step()
    torch.testing.assert_close(tables[0].weight, tables[1].weight)


def test_row_wise_adagrad_takes_any_shape_and_dense_gradients() -> None:
    """A table with a dense gradient, like with a sparse gradient; vectors and numbers, like torch's Adagrad."""
    sparse, dense = nn.Embedding(6, 3, sparse=True), nn.Embedding(6, 3)
    dense.load_state_dict(sparse.state_dict())
    vectors = [nn.ParameterList([torch.ones(4), torch.tensor(2.0)]) for _ in range(2)]
    both = [RowWiseAdagrad([table.weight, *vectors[0]], 0.1) for table in (sparse, dense)]
    reference = torch.optim.Adagrad(vectors[1].parameters(), 0.1)
    for ids in BATCHES:
        for table, optimizer in zip((sparse, dense), both, strict=True):
            table.zero_grad()
            table(torch.tensor(ids)).sin().sum().backward()
            vectors[0].zero_grad()  # trained only by the first
            if table is sparse:
                sum((p.cos() * p).sum() for p in vectors[0]).backward()
            optimizer.step()
        vectors[1].zero_grad()
        sum((p.cos() * p).sum() for p in vectors[1]).backward()
        reference.step()
    torch.testing.assert_close(sparse.weight, dense.weight)
    for mine, theirs in zip(*vectors, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_row_wise_adagrad_refuses_negative_settings() -> None:
    with pytest.raises(ValueError, match="RowWiseAdagrad: eps is -1"):
        RowWiseAdagrad(nn.Embedding(2, 2).parameters(), eps=-1)


# -- two as one --------------------------------------------------------------------------------------------------------


def test_both_parts_make_the_same_steps_as_alone_with_a_schedule() -> None:
    one, two = Net(), Net()
    both = combined(one)
    alone = [SPARSE(list(two.table.parameters())), DENSE(two.layer.parameters())]
    cosine = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=9)
    schedules = [cosine(optimizer) for optimizer in alone]
    schedule = cosine(both)
    steps(one, BATCHES, both, schedule)
    steps(two, BATCHES, *alone, *schedules)
    assert schedule.get_last_lr() == [each.get_last_lr()[0] for each in schedules]
    for mine, theirs in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_rows_that_a_batch_does_not_use_do_not_change() -> None:
    net = Net()
    both = SparseAndDense(parameter_groups(net), partial(RowWiseAdagrad, lr=0.1, weight_decay=0.5), DENSE)
    before = net.table.weight.detach().clone()
    steps(net, [[1], [1, 4], [4]], both)
    assert (net.table.weight != before).any(dim=1).tolist() == [False, True, False, False, True, False]


@pytest.mark.parametrize("sparse", [SPARSE, partial(RowWiseAdagrad, lr=0.1), partial(torch.optim.Adagrad, lr=0.1)])
def test_the_state_of_both_parts_is_restored(sparse: Any) -> None:
    def make(net: Net) -> tuple[SparseAndDense, torch.optim.lr_scheduler.ExponentialLR]:
        both = SparseAndDense(parameter_groups(net), sparse, DENSE)
        return both, torch.optim.lr_scheduler.ExponentialLR(both, 0.9)

    whole, part = Net(), Net()
    steps(whole, BATCHES, *make(whole))
    optimizer, schedule = make(part)
    steps(part, BATCHES[:5], optimizer, schedule)
    again = copy.deepcopy(part)
    resumed, resumed_schedule = make(again)
    resumed.load_state_dict(optimizer.state_dict())
    resumed_schedule.load_state_dict(schedule.state_dict())
    steps(again, BATCHES[5:], resumed, resumed_schedule)
    for mine, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)


# -- in a fit ----------------------------------------------------------------------------------------------------------


def embedding(sparse: bool = True) -> dict[str, Any]:
    return {"class_path": "dssm_lightning.models.encoders.Embedding", "init_args": {"output_dim": 8, "sparse": sparse}}


def sparse_model(optimizer: dict[str, Any], **changes: Any) -> TwoTower:
    tower = {**TOWER, "init_args": {**TOWER["init_args"], "encoders": {"candidate_id": embedding()}}}
    return small_model(candidate_tower=tower, optimizer=optimizer, **changes)


BOTH = {
    "class_path": "dssm_lightning.training.optimizers.SparseAndDense",
    "init_args": {
        "sparse": {"class_path": "dssm_lightning.training.optimizers.RowWiseAdagrad", "init_args": {"lr": 0.05}},
        "dense": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01, "weight_decay": 0.1}},
    },
}
SCHEDULE = {"class_path": "torch.optim.lr_scheduler.LinearLR", "init_args": {"total_iters": 4}}


def test_a_fit_with_both_parts_resumes_to_the_last_bit(tmp_path: Path) -> None:
    def fit(epochs: int, ckpt_path: Path | None = None) -> TwoTower:
        model, data = sparse_model(BOTH, lr_scheduler=SCHEDULE), small_data(tmp_path)
        torch.manual_seed(3)
        trainer = small_trainer(tmp_path, max_epochs=epochs, gradient_clip_val=0.05)
        trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return model

    whole = fit(3)
    fit(1)
    resumed = fit(3, tmp_path / "1.ckpt")
    for mine, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    saved = torch.load(tmp_path / "3.ckpt", weights_only=True)
    tables, rest = saved["optimizer_states"][0]["param_groups"]
    assert (tables["lr"] / 0.05, rest["lr"] / 0.01) == (pytest.approx(5 / 6), pytest.approx(5 / 6))
    assert rest["weight_decay"] == 0.1
    model = TwoTower.load_from_checkpoint(tmp_path / "3.ckpt", weights_only=True)
    assert model.hparams["optimizer"] == BOTH


def test_a_fit_changes_only_the_rows_that_its_batches_use(tmp_path: Path) -> None:
    """Neither weight decay nor moments change other rows."""
    used: list[Tensor] = []

    class Rows(Callback):
        def on_train_batch_start(self, *args: Any) -> None:
            column = args[2].candidates.features["candidate_id"]
            assert isinstance(column, Tensor)
            used.append(column)

    model, data = sparse_model(BOTH), small_data(tmp_path, batch_size=8)
    data.prepare_data()
    model.build(data.schemas)
    table = model.candidate_tower.encoders["candidate_id"].table
    assert isinstance(table, nn.Embedding)
    before = table.weight.detach().clone()
    small_trainer(tmp_path, limit_train_batches=2, callbacks=[Rows()]).fit(model, datamodule=data)
    moved = (table.weight.detach() != before).any(dim=1).nonzero().flatten()
    assert moved.tolist() == torch.cat(used).unique().tolist()
    assert len(moved) < len(before)


# -- refused before training -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            partial(torch.optim.Adam, lr=0.1),
            "table has sparse gradients, which Adam does not take",
        ),
        (
            partial(torch.optim.Adagrad, weight_decay=0.1),
            "Adagrad has no weight_decay; weight_decay is 0.1",
        ),
        (partial(torch.optim.SGD, lr=0.1, momentum=0.9), "SGD has no momentum; momentum is 0.9"),
        (partial(torch.optim.SGD, lr=0.1, weight_decay=0.2), "SGD has no weight_decay; weight_decay is 0.2"),
        (
            torch.optim.SparseAdam,
            "SparseAdam takes only sparse gradients",
        ),
        (
            partial(SparseAndDense, sparse=partial(torch.optim.Adam, lr=0.1), dense=DENSE),
            "table has sparse gradients, which Adam does not take",
        ),
        (
            partial(SparseAndDense, sparse=SPARSE, dense=torch.optim.SparseAdam),
            "SparseAdam takes only sparse gradients",
        ),
    ],
)
def test_optimizers_that_cannot_train_the_tables(make: Any, message: str) -> None:
    net = Net()
    with pytest.raises(ValueError) as error:
        check_sparse_tables(net, make(parameter_groups(net)))
    assert message in str(error.value)


def test_optimizers_that_can_train_the_tables() -> None:
    net, dense = Net(), nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2))
    for make in (LazyAdam, RowWiseAdagrad, torch.optim.Adagrad, partial(torch.optim.SGD, lr=0.1), combined):
        check_sparse_tables(net, net_optimizer := make(net if make is combined else parameter_groups(net)))
        steps(net, [[0, 1]], net_optimizer)
    check_sparse_tables(dense, torch.optim.Adam(dense.parameters(), weight_decay=0.1))
    only = nn.Embedding(3, 2, sparse=True)
    check_sparse_tables(only, torch.optim.SparseAdam(parameter_groups(only)))


def test_both_parts_need_parameters() -> None:
    for model, missing in (
        (nn.Linear(2, 2), "SparseAndDense: no table has sparse gradients"),
        (nn.Embedding(2, 2, sparse=True), "SparseAndDense: .*dense"),
    ):
        with pytest.raises(ValueError, match=missing):
            combined(model)


def test_clipping_by_value_and_nccl_are_refused_for_sparse_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = small_trainer(tmp_path, gradient_clip_val=0.1, gradient_clip_algorithm="value")
    with pytest.raises(ValueError, match=r"candidate_id\.table.*gradient_clip_algorithm"):
        trainer.fit(sparse_model(BOTH), datamodule=small_data(tmp_path))
    net = Net()
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed.dist, "get_backend", lambda _: "nccl")
    with pytest.raises(ValueError, match=r"table has sparse gradients.*NCCL.*sparse: false"):
        check_sparse_tables(net, combined(net))
    monkeypatch.setattr(distributed.dist, "get_backend", lambda _: "gloo")
    check_sparse_tables(net, combined(net))
