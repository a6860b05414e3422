"""Training at several widths: against a loop over widths, in chunks, with a memory, own negatives, both directions."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.small import TOWER, small_data, small_model, small_trainer
from torch import Tensor

from dssm_lightning.data.batch import Batch, Candidates
from dssm_lightning.data.negatives import Uniform
from dssm_lightning.features import Categorical, HashedWords
from dssm_lightning.losses import BPR, BinaryCrossEntropy, Loss, Matryoshka, SampledSoftmax, SigLIP
from dssm_lightning.models.embedding_layout import EmbeddingLayout, Layouts
from dssm_lightning.models.scorers import Dot
from dssm_lightning.training.candidate_pool import Pool
from dssm_lightning.training.chunked_loss import RowLosses
from dssm_lightning.training.cross_batch_memory import Memory
from dssm_lightning.training.objective import per_query_loss
from dssm_lightning.utils.ragged import Ragged

B, C, W, D = 6, 8, 4, 6  # two numbers after those of the layers
SIDE = EmbeddingLayout(W, heads=1, parts=1, normalize=True)
LOSSES = [
    partial(SampledSoftmax, "inclusion"),
    partial(SampledSoftmax, "count", symmetric=True),
    BPR,
    SigLIP,
    BinaryCrossEntropy,
]


def made_up(own_negatives: bool) -> tuple[Batch, Tensor, Tensor]:
    """Rows with known positives, of which one has no valid negative; embeddings with two numbers after the layers'."""
    generator = torch.Generator().manual_seed(0)
    target = torch.tensor([0, 2, 5, 1, 2, 7])
    known = Ragged(torch.tensor([3, *range(0, 2 * C, 2)]), torch.tensor([0, 1, 1, 1, 1, 1 + C, 1 + C]))
    negatives = torch.randint(-1, C, (B, 3), generator=generator) if own_negatives else None
    log_q, count = torch.linspace(-3, -0.1, C), torch.bincount(target, minlength=C).float()
    candidates = Candidates({}, torch.arange(C) * 2, count, log_q)
    batch = Batch({}, candidates, target, negatives, known, None, torch.linspace(0.1, 2, B), target, C)
    query, candidate = (torch.randn(n, D, generator=generator) for n in (B, C))
    sides = [torch.cat([F.normalize(each[:, :W]), each[:, W:]], 1) for each in (query, candidate)]
    return batch, sides[0].requires_grad_(), sides[1].requires_grad_()


def losses_of(
    loss: Loss,
    own_negatives: bool = False,
    *,
    cut: int | None = None,
    chunk_size: int | None = None,
    memory: Memory | None = None,
) -> tuple[RowLosses, list[Tensor]]:
    """The losses with their gradients; ``cut``: of embeddings that are cut beforehand."""
    batch, query, candidate = made_up(own_negatives)
    scorer = Dot(3.0, learnable=True)
    used = [query, candidate]
    if cut is not None:
        used = [torch.cat([F.normalize(each[:, :cut]), each[:, W:]], 1) for each in used]
    pool = Pool(used[1], *batch.candidates[1:])
    found = per_query_loss(
        batch,
        used[0],
        pool,
        scorer,
        loss,
        gather=False,
        chunk_size=chunk_size,
        memory=memory,
        weight=batch.weight,
        layouts=Layouts(SIDE, SIDE) if loss.dims else None,
    )
    learnt = [query, candidate, *scorer.parameters(), *loss.parameters()]
    return found, list(torch.autograd.grad(found.total, learnt))


@pytest.mark.parametrize("own_negatives", [False, True])
@pytest.mark.parametrize("make", LOSSES)
def test_it_is_the_sum_over_cut_embeddings(make: Any, own_negatives: bool) -> None:
    found, gradients = losses_of(Matryoshka(make, [1, 3, 4], [2.0, 1.0, 0.5]), own_negatives)
    parts = [losses_of(make(), own_negatives, cut=width) for width in (1, 3, None)]
    weighted = list(zip((2.0, 1.0, 0.5), parts, strict=True))
    torch.testing.assert_close(found.value, sum(w * losses.value for w, (losses, _) in weighted))
    for number, gradient in enumerate(gradients):
        expected = sum(w * part[number] for w, (_, part) in weighted)
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.compared, parts[0][0].compared)
    assert own_negatives or make().symmetric or found.compared.tolist() == [True] * 4 + [False, True]


@pytest.mark.parametrize("own_negatives", [False, True])
@pytest.mark.parametrize("make", LOSSES)
def test_chunks_change_nothing(make: Any, own_negatives: bool) -> None:
    whole, expected = losses_of(Matryoshka(make, [2, 4]), own_negatives)
    for chunk_size in (1, 4):
        chunked, found = losses_of(Matryoshka(make, [2, 4]), own_negatives, chunk_size=chunk_size)
        torch.testing.assert_close(chunked.value, whole.value.detach())
        for mine, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", LOSSES)
def test_a_memory_keeps_whole_embeddings_and_is_cut(make: Any) -> None:
    earlier = F.normalize(torch.randn(3, D, generator=torch.Generator().manual_seed(4)))

    def remembering(width: int | None) -> Memory:
        kept = earlier if width is None else torch.cat([F.normalize(earlier[:, :width]), earlier[:, W:]], 1)
        memory = Memory(20, kept.shape[1])
        memory.hold(Pool(kept, torch.tensor([1, 5, 9]), torch.ones(3), torch.full((3,), -2.0)))
        memory.commit()
        return memory

    memory = remembering(None)
    found, gradients = losses_of(Matryoshka(make, [2, 4]), memory=memory)
    parts = [losses_of(make(), cut=width, memory=remembering(width)) for width in (2, None)]
    torch.testing.assert_close(found.value, parts[0][0].value + parts[1][0].value)
    for number, gradient in enumerate(gradients):
        torch.testing.assert_close(gradient, parts[0][1][number] + parts[1][1][number], rtol=1e-4, atol=1e-5)
    memory.commit()
    assert memory.ids.tolist() == [1, 5, 9, *range(0, 2 * C, 2)]
    torch.testing.assert_close(memory.embedding[:3], earlier)


def loss_of(dims: list[int], **options: Any) -> dict[str, Any]:
    return {"class_path": "Matryoshka", "init_args": {"loss": "SampledSoftmax", "dims": dims, **options}}


def trained(folder: Path, data: dict[str, Any] | None = None, **settings: Any) -> dict[str, Tensor]:
    """The weights after an epoch."""
    torch.manual_seed(5)
    module = small_data(folder, **(data or {}))
    model = small_model(**settings)
    small_trainer(folder, limit_val_batches=0).fit(model, module)
    return model.state_dict()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"score_chunk_size": 5},
        {"memory_size": 50},
        {"data": {"negatives": Uniform(3, per_row=True)}},
    ],
    ids=["alone", "in chunks", "with a memory", "own negatives"],
)
def test_the_whole_width_alone_trains_to_the_same_bits(tmp_path: Path, settings: dict[str, Any]) -> None:
    plain = trained(tmp_path, **settings)
    found = trained(tmp_path, loss=loss_of([16]), **settings)
    assert plain.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in plain.items())
    narrow = trained(tmp_path, loss=loss_of([4, 16]), **settings)
    assert not all(torch.equal(narrow[name], value) for name, value in plain.items())


def test_a_checkpoint_holds_the_setting(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    model = small_model(loss=loss_of([4, 16], weights=[2.0, 1.0]))
    trainer = small_trainer(tmp_path, limit_train_batches=1, limit_val_batches=0)
    trainer.fit(model, data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = type(model).load_from_checkpoint(tmp_path / "a.ckpt")
    assert isinstance(loaded.loss, Matryoshka)
    assert (loaded.loss.dims, loaded.loss.weights) == ((4, 16), [2.0, 1.0])


def with_scorer(name: str, **options: Any) -> dict[str, Any]:
    return {"scorer": {"class_path": name, "init_args": options}}


HEADS = {**TOWER, "init_args": {**TOWER["init_args"], "num_heads": 4}}


@pytest.mark.parametrize(
    ("dims", "settings", "message"),
    [
        ([4, 8], {}, "last width of dims is 8, and embeddings are 16"),
        ([4, 17], {}, "width of dims is 17; the embedding is 16"),
        ([4, 16], with_scorer("MLPScorer", query_dim=16, candidate_dim=16), "width of dims is 4, but MLPScorer"),
        ([6, 16], {"query_tower": HEADS, "candidate_tower": HEADS}, "width of dims is 6, which cuts heads.* 4"),
        ([6, 16], with_scorer("MultiHeadDot", num_heads=4), "width of dims is 6, which cuts heads.* 4"),
    ],
)
def test_refused_before_training(tmp_path: Path, dims: list[int], settings: dict[str, Any], message: str) -> None:
    model = small_model(loss=loss_of(dims), **settings)
    with pytest.raises(ValueError, match=message):
        small_trainer(tmp_path).fit(model, small_data(tmp_path))


def test_a_width_within_a_bypass_feature_is_refused(tmp_path: Path) -> None:
    both = [Categorical(name="candidate_id"), HashedWords(name="text", num_buckets=300)]
    data = small_data(tmp_path, query=[Categorical(name="query_id"), both[1]], candidate=both)
    encoder = {"class_path": "EmbeddingBag", "init_args": {"output_dim": 5}}
    tower = {**TOWER, "init_args": {**TOWER["init_args"], "bypass": ["text"], "encoders": {"text": encoder}}}
    model = small_model(loss=loss_of([4, 18]), query_tower=tower, candidate_tower=tower)
    with pytest.raises(ValueError, match=r"width of dims is 18; the layers make 16 .*bypass.*\(text\)"):
        small_trainer(tmp_path).fit(model, data)


def test_heads_train_and_a_sum_with_other_losses(tmp_path: Path) -> None:
    loss = {"class_path": "WeightedSum", "init_args": {"losses": [loss_of([4, 16]), "BPR"]}}
    scorer = {"class_path": "MultiHeadDot", "init_args": {"num_heads": 4, "reduce": "max", "logit_scale": 5}}
    before = trained(tmp_path, loss="BPR", query_tower=HEADS, candidate_tower=HEADS, scorer=scorer)
    after = trained(tmp_path, loss=loss, query_tower=HEADS, candidate_tower=HEADS, scorer=scorer)
    assert not all(torch.equal(after[name], value) for name, value in before.items())
