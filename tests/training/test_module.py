"""TwoTower: built once for fitted schemas, trained to a floor by every loss, saved and loaded as plain values."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small import ADAM, SCORER, TOWER, small_data, small_model, small_trainer
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from dssm_lightning import RetrievalDataModule, Tower, TwoTower
from dssm_lightning.data.negatives import FromColumn, FromShown, Mixed, NegativeSampler, Popularity, Uniform
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.data.splits import PerQuery, RandomQueries
from dssm_lightning.evaluation.embedding_geometry import GEOMETRY
from dssm_lightning.evaluation.metric_tables import LISTS
from dssm_lightning.evaluation.metrics.slices import SLICES
from dssm_lightning.features import Categorical, HashedWords, History, Vector
from dssm_lightning.losses import BPR, GBCE, BinaryCrossEntropy, CosineEmbedding, Loss, SampledSoftmax, TripletMargin
from dssm_lightning.losses.base import Scores
from dssm_lightning.models.encoders import EmbeddingBag
from dssm_lightning.models.fusion import Concat
from dssm_lightning.models.scorers import Dot
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Features


def built(data: RetrievalDataModule, **changes: Any) -> TwoTower:
    model = small_model(**changes)
    model.build(data.schemas)
    return model


def metrics(trainer: Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


# -- building ----------------------------------------------------------------------------------------------------------


def test_building_twice_for_equal_schemas_changes_nothing(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    model = built(data)
    tower = model.query_tower
    model.build(small_data(tmp_path).schemas)
    assert model.query_tower is tower


def test_another_schema_is_refused_with_the_difference(tmp_path: Path) -> None:
    model = built(small_data(tmp_path))
    other = small_data(tmp_path, query=[HashedWords(name="text", num_buckets=200)])
    with pytest.raises(
        ValueError, match="built for another schema than the data's: query feature 'text': num_buckets 300 against 200"
    ):
        model.build(other.schemas)


def test_towers_of_different_width(tmp_path: Path) -> None:
    narrow = {**TOWER, "init_args": {**TOWER["init_args"], "output_dim": 8}}
    with pytest.raises(ValueError, match="the towers end in different widths: query 16, candidate 8"):
        built(small_data(tmp_path), candidate_tower=narrow)


@pytest.mark.parametrize(("of_query", "of_candidate"), [(False, True), (True, False), (True, True)])
def test_biases_of_both_sides_are_one_dot_product(tmp_path: Path, of_query: bool, of_candidate: bool) -> None:
    data = small_data(tmp_path)
    model = built(
        data,
        query_tower={**TOWER, "init_args": {**TOWER["init_args"], "bias": of_query}},
        candidate_tower={**TOWER, "init_args": {**TOWER["init_args"], "bias": of_candidate}},
    ).eval()
    [candidates], [queries] = data.corpus_batches(), small_data(tmp_path, predict="query").predict_dataloader()
    query, candidate = model.query_tower(queries), model.candidate_tower(candidates)  # each with its own bias alone
    expected = query[:, :16] @ candidate[:, :16].T
    if of_query:
        expected = expected + query[:, 16:]
    if of_candidate:
        expected = expected + candidate[:, 16]
    torch.testing.assert_close(model(queries, candidates), 10 * expected)
    assert (
        model.encode_query(queries).shape[1]
        == model.encode_candidate(candidates).shape[1]
        == 16 + of_query + of_candidate
    )


def test_one_tower_for_both_sides(tmp_path: Path) -> None:
    text = HashedWords(name="text", num_buckets=300)
    data = small_data(tmp_path, query=[text], candidate=[text])
    model = built(data, candidate_tower=None)
    assert model.candidate_tower is model.query_tower
    assert len(list(model.query_tower.parameters())) == len([p for p in model.parameters() if p.requires_grad])
    with pytest.raises(ValueError, match=r"candidate_tower .*query \['text'\].*candidate \['cand"):
        built(small_data(tmp_path), candidate_tower=None)


def test_chunked_encoding_refuses_batch_statistics(tmp_path: Path) -> None:
    batch = {**TOWER, "init_args": {**TOWER["init_args"], "hidden_dims": [8], "norm": "batch"}}
    with pytest.raises(ValueError, match=r"query tower: hidden.2 normalises over the batch.*encode_chunk_size"):
        built(small_data(tmp_path), query_tower=batch, encode_chunk_size=4)


def test_a_shared_table_has_one_gradient(tmp_path: Path) -> None:
    data = small_data(tmp_path, query=[History(name="history", of="candidate_id")])
    bag = {"class_path": "dssm_lightning.models.encoders.EmbeddingBag", "init_args": {"output_dim": 8}}
    table = {"class_path": "dssm_lightning.models.encoders.Embedding", "init_args": {"output_dim": 8}}
    towers = {
        f"{side}_tower": {**TOWER, "init_args": {**TOWER["init_args"], "encoders": {name: encoder}}}
        for side, name, encoder in (("query", "history", bag), ("candidate", "candidate_id", table))
    }
    model = built(data, **towers, tied_embeddings={"history": "candidate_id"})
    assert sum(p.shape == (41, 8) for p in model.parameters()) == 1


# -- one step, by hand -------------------------------------------------------------------------------------------------


class Given(Loss):
    """Each row's logit, so that what TwoTower makes of the values of a loss can be computed by hand."""

    def forward(self, scores: Scores) -> Tensor:
        return scores.positive.squeeze(1)


class GivenWithLabels(Given):
    uses_labels = True


class Seen(Callback):
    """Keeps what was logged and trained on."""

    def __init__(self) -> None:
        self.batches: list[Any] = []
        self.losses: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.batches.append(batch)
        self.losses.append(float(outputs["loss"]))


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("loss", [Given, GivenWithLabels])
def test_the_loss_is_the_weighted_mean_of_the_rows_that_count(tmp_path: Path, weights: bool, loss: type[Loss]) -> None:
    source = Synthetic(num_queries=60, num_candidates=40, labels=True, weights=weights)
    data, seen = small_data(tmp_path, source=source), Seen()
    still = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.0}}
    model = small_model(loss=loss, optimizer=still)
    small_trainer(tmp_path, callbacks=[seen], limit_train_batches=3, limit_val_batches=0).fit(model, datamodule=data)
    for batch, found in zip(seen.batches, seen.losses, strict=True):
        with torch.no_grad():
            logits = model(batch.query, batch.candidates.features).gather(1, batch.target[:, None]).squeeze(1)
        assert batch.label is not None
        assert bool((batch.label == 0).any()) is loss.uses_labels
        assert (batch.weight is not None) is weights
        weight = torch.ones(len(logits)) if batch.weight is None else batch.weight
        assert found == pytest.approx(float((logits * weight).sum() / weight.sum()), rel=1e-5)


@pytest.mark.parametrize(
    "chunks", [{"encode_chunk_size": 5}, {"score_chunk_size": 7}, {"encode_chunk_size": 3, "score_chunk_size": 4}]
)
def test_chunks_change_no_gradient(tmp_path: Path, chunks: dict[str, int]) -> None:
    data = small_data(tmp_path)
    batch = next(iter(data.train_dataloader()))
    gradients = []
    for changes in ({}, chunks):
        torch.manual_seed(1)
        model = built(data, **changes)
        model.per_query_loss(batch, torch.full((len(batch.row),), 1 / len(batch.row))).total.backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    assert len(gradients[0]) == len(gradients[1]) > 4
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_what_a_query_is_known_to_like_gets_no_gradient_as_a_negative(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    model = built(data)
    batch = next(iter(data.train_dataloader()))
    one = data.assembler.batch(batch.row, data.train_dataloader().place)
    scores: list[Scores] = []
    model.loss.register_forward_hook(lambda module, args, output: scores.append(args[0]))
    model.per_query_loss(one)
    [seen] = scores
    assert seen.num_candidates == 40
    assert one.known is not None
    for place, (start, end) in enumerate(zip(one.known.offsets[:-1], one.known.offsets[1:], strict=True)):
        liked = torch.isin(one.candidates.id, one.known.values[start:end])
        liked[one.target[place]] = False
        assert not seen.valid[place][liked].any()
        assert seen.valid[place][~liked].all()


# -- learning ----------------------------------------------------------------------------------------------------------

WORLD = {"num_queries": 200, "num_candidates": 100}
PLAIN_DOT = {"class_path": "dssm_lightning.models.scorers.Dot"}
LEARNERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "softmax": ({"loss": SampledSoftmax}, {}),
    "softmax, count": ({"loss": partial(SampledSoftmax, repeats="count")}, {}),
    "softmax, log_q": ({"loss": partial(SampledSoftmax, repeats="count_log_q")}, {"negatives": Popularity(20)}),
    "softmax, inclusion": ({"loss": partial(SampledSoftmax, repeats="inclusion")}, {"negatives": Uniform(20)}),
    "softmax, symmetric": ({"loss": partial(SampledSoftmax, symmetric=True)}, {}),
    "softmax, four of its own": ({"loss": SampledSoftmax}, {"negatives": FromColumn("negatives")}),
    "softmax, mixed": ({"loss": SampledSoftmax}, {"negatives": Mixed([Uniform(10), Popularity(10)])}),
    "triplet": ({"loss": TripletMargin, "scorer": PLAIN_DOT}, {"negatives": Uniform(5, per_row=True)}),
    "triplet, hardest": ({"loss": partial(TripletMargin, negatives="hardest"), "scorer": PLAIN_DOT}, {}),
    "triplet, semi-hard": ({"loss": partial(TripletMargin, negatives="semi_hard"), "scorer": PLAIN_DOT}, {}),
    "bpr": ({"loss": BPR}, {"negatives": Uniform(5, per_row=True)}),
    "bpr, shown": ({"loss": BPR}, {"negatives": FromShown(3), "labels": True}),
    "cross-entropy, labels": ({"loss": BinaryCrossEntropy}, {"labels": True}),
    "cross-entropy, drawn": ({"loss": BinaryCrossEntropy}, {"negatives": Uniform(5, per_row=True)}),
    "gbce, drawn": ({"loss": GBCE}, {"negatives": Uniform(5, per_row=True)}),
    "cosine": ({"loss": CosineEmbedding, "scorer": PLAIN_DOT}, {"negatives": Uniform(5, per_row=True)}),
}


VARIANTS = {"softmax", "softmax, count", "softmax, mixed", "triplet, semi-hard", "bpr", "cross-entropy, drawn"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in VARIANTS else ()) for name in LEARNERS]
)
def test_every_loss_learns(tmp_path: Path, name: str) -> None:
    model_changes, data_changes = LEARNERS[name]
    source = Synthetic(**WORLD, labels=data_changes.pop("labels", False))  # type: ignore[arg-type]  # plain numbers
    text = HashedWords(name="text", num_buckets=500)
    data = small_data(
        tmp_path,
        source=source,
        query=[text],
        candidate=[text],
        split=RandomQueries(test=0.2, validation=0.1),
        batch_size=64,
        **data_changes,
    )
    trainer = small_trainer(tmp_path, max_epochs=12, limit_val_batches=0)
    model = small_model(**model_changes)
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    found = metrics(trainer)
    assert found["test/query_auroc"] > 0.95  # queries that were never trained on
    assert found["test/recall@10"] > 0.7
    assert ("test/auroc" in found) is data.labelled
    assert found.get("test/auroc", 1) > 0.95


def test_an_untrained_model_is_no_better_than_chance(tmp_path: Path) -> None:
    data = small_data(
        tmp_path,
        source=Synthetic(num_queries=1500, num_candidates=1000, labels=True),
        query=[Categorical(name="group"), Vector(name="vector")],
        candidate=[Vector(name="vector"), Categorical(name="candidate_id")],
        split=PerQuery(test=0.3, validation=0),
    )
    trainer = small_trainer(tmp_path)
    torch.manual_seed(3)
    trainer.test(small_model(), datamodule=data, verbose=False)
    found = metrics(trainer)
    assert found["test/query_auroc"] == pytest.approx(0.5, abs=0.02)
    assert found["test/auroc"] == pytest.approx(0.5, abs=0.03)
    assert found["test/hit_rate@10"] < 0.05


def test_metrics_are_logged_under_their_names(tmp_path: Path) -> None:
    data = small_data(tmp_path, source=Synthetic(num_queries=60, num_candidates=40, labels=True))
    trainer = small_trainer(tmp_path)
    model = small_model(ks=[1, 40])
    trainer.fit(model, datamodule=data)
    both = [f"{kind}@{k}" for kind in ("hit_rate", "recall", "precision", "ndcg", "map") for k in (1, 40)]
    names = [*both, "mrr", "query_auroc"]
    expected = {f"{kept}{name}" for kept in ("", "seen_kept/") for name in names} | {"auroc"}
    train = {"train/loss", "train/rows_without_negatives", "train/negatives", "train/masked_positives"}
    train.add("train/logit_scale")
    assert set(metrics(trainer)) == train | {f"val/{name}" for name in (*expected, *GEOMETRY)}
    trainer.test(model, datamodule=data, verbose=False)
    detailed = {name for name in metrics(trainer) if name.split("/")[1].startswith((*SLICES, *LISTS))}
    assert {"test/tail/mrr", "test/coverage@40"} <= detailed
    assert set(metrics(trainer)) - detailed == {f"test/{name}" for name in expected}
    assert metrics(trainer)["test/recall@40"] == 1.0  # the whole corpus


SETTINGS = ("query_tower", "candidate_tower", "scorer", "loss", "optimizer")


class Reversed(TwoTower):
    """Scores in its own way: the worst candidates first."""

    def score(self, query: Features, corpus: Tensor) -> Tensor:
        return -super().score(query, corpus)


def test_a_model_that_scores_in_its_own_way_is_measured_by_it(tmp_path: Path) -> None:
    data, trainer, plain = small_data(tmp_path), small_trainer(tmp_path), small_model()
    trainer.validate(plain, datamodule=data, verbose=False)
    usual = metrics(trainer)
    own = Reversed(**{name: plain.hparams[name] for name in SETTINGS})
    own.build(data.schemas)
    own.load_state_dict(plain.state_dict())
    trainer.validate(own, datamodule=data, verbose=False)
    assert metrics(trainer)["val/query_auroc"] == pytest.approx(1 - usual["val/query_auroc"], abs=1e-6)
    for name in GEOMETRY:
        assert metrics(trainer)[f"val/{name}"] == pytest.approx(usual[f"val/{name}"], abs=1e-6)


def test_a_cut_beyond_the_corpus(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="k = 41 is larger than the corpus, which has 40 candidates"):
        small_trainer(tmp_path).fit(small_model(ks=[41]), datamodule=small_data(tmp_path))


def test_the_logged_metrics_are_those_of_the_scores(tmp_path: Path) -> None:
    """Recall at 5 and the mean reciprocal rank by a loop over queries, from the module's own scores."""
    data = small_data(tmp_path)
    model, trainer = small_model(), small_trainer(tmp_path)
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    model.eval()
    [batch], [corpus] = data.test_dataloader(), data.corpus_batches()
    with torch.no_grad():
        scores = model(batch.query, corpus)
    recall, reciprocal = [], []
    for place in range(len(batch.query_row)):
        seen = batch.seen.values[batch.seen.offsets[place] : batch.seen.offsets[place + 1]]
        relevant = set(
            batch.relevant.values[batch.relevant.offsets[place] : batch.relevant.offsets[place + 1]].tolist()
        )
        order = [c for c in scores[place].argsort(descending=True).tolist() if c not in set(seen.tolist())]
        recall.append(len(relevant & set(order[:5])) / len(relevant))
        reciprocal.append(1 / (1 + min(order.index(c) for c in relevant)))
    assert metrics(trainer)["test/recall@5"] == pytest.approx(sum(recall) / len(recall), abs=1e-6)
    assert metrics(trainer)["test/mrr"] == pytest.approx(sum(reciprocal) / len(reciprocal), abs=1e-6)


# -- saving and loading ------------------------------------------------------------------------------------------------

EXTRA = {
    "score_chunk_size": 16,
    "lr_scheduler": {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1, "gamma": 0.5}},
}
CALLABLES: dict[str, Any] = {
    "query_tower": partial(Tower, fusion=Concat, output_dim=16),
    "candidate_tower": partial(
        Tower, fusion=Concat, output_dim=16, encoders={"text": partial(EmbeddingBag, output_dim=12)}
    ),
    "scorer": partial(Dot, logit_scale=10.0),
    "loss": SampledSoftmax,
    "optimizer": partial(torch.optim.Adam, lr=0.02),
}


def fitted(tmp_path: Path, **changes: Any) -> tuple[TwoTower, RetrievalDataModule, Path]:
    data, model = small_data(tmp_path), small_model(**changes)
    trainer = small_trainer(tmp_path, max_epochs=2)
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    return model, data, tmp_path / "model.ckpt"


def embeddings(model: TwoTower, data: RetrievalDataModule) -> list[Tensor]:
    model.eval()
    [corpus] = data.corpus_batches()
    with torch.no_grad():
        return [model.encode_candidate(corpus), model.encode_query(data.assembler.query_features(torch.arange(60)))]


def is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    return (
        all(map(is_plain, value))
        if isinstance(value, list | tuple)
        else value is None or isinstance(value, bool | int | float | str)
    )


def test_plain_values_load_without_data_and_without_arguments(tmp_path: Path) -> None:
    model, data, path = fitted(tmp_path, **EXTRA)
    content = torch.load(path, weights_only=True)
    assert is_plain(content["hyper_parameters"])
    assert content["hyper_parameters"]["query_tower"] == TOWER
    assert isinstance(content["schemas"], str)
    again = TwoTower.load_from_checkpoint(path, weights_only=True)
    assert again.schemas == data.schemas
    assert again.score_chunk_size == 16
    for a, b in zip(embeddings(model, data), embeddings(again, data), strict=True):
        assert torch.equal(a, b)
    assert again.hparams.optimizer == ADAM
    assert again.hparams.scorer == SCORER


def test_callables_are_not_saved_and_must_be_given_again(tmp_path: Path) -> None:
    model, data, path = fitted(tmp_path, **CALLABLES)
    content = torch.load(path, weights_only=True)
    assert not set(CALLABLES) & set(content["hyper_parameters"])
    with pytest.raises(UserError, match="query_tower"):
        TwoTower.load_from_checkpoint(path, weights_only=True)
    again = TwoTower.load_from_checkpoint(path, weights_only=True, **CALLABLES)
    for a, b in zip(embeddings(model, data), embeddings(again, data), strict=True):
        assert torch.equal(a, b)


def test_loading_is_on_any_device_and_strict(tmp_path: Path) -> None:
    _, _, path = fitted(tmp_path)
    wide = {**TOWER, "init_args": {**TOWER["init_args"], "output_dim": 20}}
    with pytest.raises(UserError, match=r"output\.1\.weight is \(20, .*\(16, "):
        TwoTower.load_from_checkpoint(path, weights_only=True, query_tower=wide, candidate_tower=wide)


def test_a_model_measures_data_with_its_own_schema(tmp_path: Path) -> None:
    """Trained on one world, tested on another: the second is encoded with what the first taught."""
    model, data, _ = fitted(tmp_path)
    other = small_data(tmp_path, source=Synthetic(num_queries=30, num_candidates=50, seed=8))
    trainer = small_trainer(tmp_path)
    trainer.test(model, datamodule=other, verbose=False)
    assert other.schemas == data.schemas
    assert other.num_candidates == 50


def test_fitting_on_after_a_fit_keeps_the_towers(tmp_path: Path) -> None:
    model, _, _ = fitted(tmp_path)
    tower = model.query_tower
    small_trainer(tmp_path).fit(model, datamodule=small_data(tmp_path))
    assert model.query_tower is tower


def test_the_optimizer_has_no_parameter_that_does_not_train(tmp_path: Path) -> None:
    model = built(small_data(tmp_path))
    optimizer = model.configure_optimizers()
    given = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert given == {id(p) for p in model.parameters() if p.requires_grad}
    assert id(model.scorer.log_logit_scale) not in given  # type: ignore[arg-type]  # fixed
    assert optimizer.defaults["eps"] == 1e-8  # Adam's own


def test_the_schedule_is_stepped_each_epoch(tmp_path: Path) -> None:
    data, model = small_data(tmp_path), small_model(**EXTRA)
    trainer = small_trainer(tmp_path, max_epochs=3)
    trainer.fit(model, datamodule=data)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.02 * 0.5**3)


def test_dropout_of_a_batch_is_a_function_of_its_number(tmp_path: Path) -> None:
    dropped = {**TOWER, "init_args": {**TOWER["init_args"], "dropout": 0.5}}
    drawn: list[list[Tensor]] = []

    class Draw(Callback):
        def on_before_zero_grad(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
            drawn[-1].append(torch.rand(2))

    for seed in (1, 2):
        torch.manual_seed(seed)  # what was drawn before does not matter
        drawn.append([])
        trainer = small_trainer(tmp_path, callbacks=[Draw()], limit_val_batches=0)
        trainer.fit(small_model(query_tower=dropped), datamodule=small_data(tmp_path))
    assert len(drawn[0]) > 3
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
    assert not torch.equal(drawn[0][0], drawn[0][1])


def test_samplers_are_swappable_without_registration(tmp_path: Path) -> None:
    class Last(NegativeSampler):
        def sample(self, counter: Any, rows: Tensor) -> Tensor:
            return torch.tensor([39])

    data = small_data(tmp_path, negatives=Last(1))
    small_trainer(tmp_path, limit_train_batches=1, limit_val_batches=0).fit(small_model(), datamodule=data)
    assert all(39 in batch.candidates.id for batch in data.train_dataloader())
