"""The cross-batch memory: the columns that it adds, their counts and log_q, and no gradient."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small import small_data, small_model, small_trainer
from torch import Tensor

from dssm_lightning.data.batch import Batch, Candidates
from dssm_lightning.data.negatives import Mixed, Popularity, Uniform
from dssm_lightning.losses import SampledSoftmax
from dssm_lightning.losses.masks import valid_columns
from dssm_lightning.models.scorers import Dot
from dssm_lightning.training.candidate_pool import Pool
from dssm_lightning.training.cross_batch_memory import Memory
from dssm_lightning.training.objective import per_query_loss
from dssm_lightning.utils.ragged import Ragged


def pool_of(ids: list[int], value: float = 0.0, log_q: float = 0.0) -> Pool:
    """Candidates whose embedding is (id, value)."""
    embedding = torch.tensor([[float(candidate), value] for candidate in ids])
    return Pool(embedding, torch.tensor(ids), torch.ones(len(ids)), torch.full((len(ids),), log_q))


def remember(memory: Memory, pool: Pool) -> None:
    memory.hold(pool)
    memory.commit()


def test_columns_by_hand() -> None:
    memory = Memory(7, 2)
    assert memory.extend(pool_of([2, 5])).id.tolist() == [2, 5]  # an empty memory adds no column
    remember(memory, pool_of([1, 4, 6], value=1))
    remember(memory, pool_of([4, 8], value=2))
    joined = memory.extend(pool_of([2, 6], value=3))
    assert joined.id.tolist() == [1, 2, 4, 6, 8]
    assert joined.embedding[:, 0].tolist() == [1, 2, 4, 6, 8]
    assert joined.embedding[:, 1].tolist() == [1, 3, 2, 3, 2]  # the batch's own, and the newest of the memory
    assert joined.count.tolist() == [0, 1, 0, 1, 0]
    assert joined.log_q.exp().tolist() == pytest.approx([3.0] * 5)  # this batch and two before it
    remember(memory, pool_of([0, 3, 9], value=4))  # overwrites a place of the first batch
    joined = memory.extend(pool_of([2]))
    assert joined.id.tolist() == [0, 2, 3, 4, 8, 9]  # the first batch is gone completely
    assert joined.log_q.exp().tolist() == pytest.approx([3.0] * 6)


def test_columns_by_a_loop() -> None:
    memory, kept, generator = Memory(20, 2), [], torch.Generator().manual_seed(0)
    for step in range(40):
        size = int(torch.randint(1, 9, (1,), generator=generator))
        ids = torch.randperm(15, generator=generator)[:size].sort().values.tolist()
        now = pool_of(ids, float(step), log_q=-float(step))
        joined = memory.extend(now)
        newest = dict.fromkeys(ids, step)
        whole, room = 0, 20
        for number, batch in reversed(kept):
            room -= len(batch)
            if room < 0:
                break
            whole += 1
            newest = {**dict.fromkeys(batch, number), **newest}
        assert joined.id.tolist() == sorted(newest)
        assert joined.embedding[:, 1].tolist() == [newest[candidate] for candidate in sorted(newest)]
        expected = [-newest[candidate] + math.log(1 + whole) for candidate in sorted(newest)]
        assert joined.log_q.tolist() == pytest.approx(expected)
        remember(memory, now)
        kept.append((step, ids))


def test_an_interrupted_batch_is_not_kept() -> None:
    memory = Memory(8, 2)
    memory.hold(pool_of([1, 2]))
    assert memory.extend(pool_of([5])).id.tolist() == [5]
    other = Memory(8, 2)
    other.load_state_dict(memory.state_dict())
    other.commit()
    assert other.extend(pool_of([5])).id.tolist() == [5]


def test_columns_are_negatives_except_known_positives_and_have_no_gradient() -> None:
    ids, known = torch.tensor([2, 5]), Ragged(torch.tensor([7]), torch.tensor([0, 1, 1]))
    candidates = Candidates({}, ids, torch.ones(2), torch.zeros(2))
    batch = Batch({}, candidates, torch.tensor([0, 1]), None, known, None, None, torch.arange(2))
    memory, query = Memory(4, 3), torch.randn(2, 3)
    old = torch.randn(2, 3, requires_grad=True)
    remember(memory, Pool(old * 1, torch.tensor([3, 7]), torch.ones(2), torch.zeros(2)))
    now = torch.randn(2, 3, requires_grad=True)
    pool = Pool(now * 1, *candidates[1:])
    losses = per_query_loss(
        batch, query, pool, Dot(), SampledSoftmax(), gather=False, chunk_size=None, memory=memory
    ).value
    every = torch.stack([now[0], old[0], now[1], old[1]])  # 2 3 5 7
    valid = valid_columns(torch.tensor([0, 2]), None, known, torch.tensor([2, 3, 5, 7]))
    assert valid.tolist() == [[True, True, True, False], [True] * 4]
    logits = (query @ every.T).masked_fill(~valid, -math.inf)
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2]), reduction="none")
    torch.testing.assert_close(losses, expected)
    losses.sum().backward()
    assert old.grad is None
    assert now.grad is not None


def test_log_q_is_the_frequency_in_batch_and_memory() -> None:
    """1 − exp(−exp(log_q)) against the fraction of steps in which a column is present."""
    p = torch.tensor([0.3, 0.3, 0.2, 0.1, 0.06, 0.03, 0.01])
    generator = torch.Generator().manual_seed(0)
    memory, present, included = Memory(14, 1), torch.zeros(7), torch.zeros(7)
    steps = 3000
    for _ in range(steps):
        ids = torch.multinomial(p, 4, True, generator=generator).unique()
        pool = Pool(torch.zeros(len(ids), 1), ids, torch.ones(len(ids)), (4 * p[ids]).log())
        joined = memory.extend(pool)
        present[joined.id] += 1
        window = 1 + int(memory.newest - memory.lost)
        included += 1 - (1 - p) ** (4 * window)
        remember(memory, pool)
    torch.testing.assert_close(present / steps, included / steps, atol=0.04, rtol=0)


@pytest.mark.parametrize("memory_size", [64, 400])
def test_a_model_with_a_memory_learns(tmp_path: Path, memory_size: int) -> None:
    data = small_data(tmp_path, batch_size=16)
    loss = {"class_path": "dssm_lightning.losses.SampledSoftmax", "init_args": {"repeats": "inclusion"}}
    model, trainer = small_model(memory_size=memory_size, loss=loss), small_trainer(tmp_path, max_epochs=8)
    seen: list[Tensor] = []
    model.loss.register_forward_hook(lambda module, args, output: seen.append(args[0].valid))
    trainer.fit(model, datamodule=data)
    assert seen[0].shape[1] <= 16 < seen[-1].shape[1] <= 40
    trainer.test(model, datamodule=data, verbose=False)
    assert trainer.callback_metrics["test/query_auroc"] > 0.9


@pytest.mark.parametrize(
    ("negatives", "model", "message"),
    [
        (Uniform(2, per_row=True), {}, "memory_size: Uniform"),
        (None, {"cross_device_negatives": False}, "memory_size.*cross_device_negatives"),
        (None, {"memory_size": 0}, "memory_size is 0; it must be at least 1"),
        (
            Mixed([Uniform(10), Popularity(10)]),
            {"memory_size": 9},
            r"memory_size is 9.*\d+ candidates",
        ),
    ],
)
def test_a_useless_memory_is_refused(tmp_path: Path, negatives: Any, model: dict[str, Any], message: str) -> None:
    made = small_model(**{"memory_size": 100} | model)
    with pytest.raises(ValueError, match=message):
        small_trainer(tmp_path).fit(made, datamodule=small_data(tmp_path, negatives=negatives))
