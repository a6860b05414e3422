"""MultiHeadDot: the mean or the maximum of several dot products, in training, evaluation and serving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import torch.nn.functional as F
from helpers.small import write_config
from torch import Tensor

from dssm_lightning.api import load_run, make_retriever
from dssm_lightning.cli.main import main
from dssm_lightning.features import Vector
from dssm_lightning.features.schema import Schema
from dssm_lightning.models.fusion import Concat
from dssm_lightning.models.scorers import Dot, MLPScorer, MultiHeadDot
from dssm_lightning.models.tower import Tower


def naive(query: Tensor, candidate: Tensor, num_heads: int) -> Tensor:
    """(Q, C, H) dot products of all heads, by a loop."""
    width = query.shape[1] // num_heads
    parts = [slice(h * width, (h + 1) * width) for h in range(num_heads)]
    return torch.stack([torch.stack([torch.stack([q[p] @ c[p] for p in parts]) for c in candidate]) for q in query])


def test_by_hand() -> None:
    query, candidate = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 3.0, 1.0, 0.0]])
    # heads of the first candidate: 1 and 4; of the second: 6 and 3
    assert MultiHeadDot(2, "mean", 10.0)(query, candidate).tolist() == [[25.0, 45.0]]
    assert MultiHeadDot(2, "max", 10.0)(query, candidate).tolist() == [[40.0, 60.0]]


@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_logits_and_gradients_by_a_loop(reduce: Any) -> None:
    scorer = MultiHeadDot(3, reduce, 2.0, learnable=True)
    inputs = [torch.randn(4, 6, requires_grad=True), torch.randn(5, 6, requires_grad=True)]
    heads = naive(*inputs, 3)
    wanted = 2 * (heads.mean(-1) if reduce == "mean" else heads.amax(-1))
    found = scorer(*inputs)
    torch.testing.assert_close(found, wanted)
    weight = torch.randn(4, 5)
    gradients = torch.autograd.grad((found * weight).sum(), [*inputs, scorer.log_logit_scale])
    torch.testing.assert_close(gradients[:2], torch.autograd.grad((wanted * weight).sum(), inputs))
    torch.testing.assert_close(gradients[2], (found * weight).sum()[None])  # d(s·x) / d(log s) = s·x
    columns = torch.tensor([[0, 3], [4, 4], [2, 1], [1, 0]])
    torch.testing.assert_close(scorer.pairs(*inputs, columns), wanted.gather(1, columns))
    assert scorer(inputs[0][:0], inputs[1]).shape == (0, 5)
    assert scorer.pairs(inputs[0][:0], inputs[1], columns[:0]).shape == (0, 2)


@pytest.mark.parametrize("scorer", [Dot(3.0), MultiHeadDot(4, "mean", 3.0), MultiHeadDot(4, "max", 3.0)])
def test_an_index_ranks_as_the_scorer_does(scorer: Dot) -> None:
    """The top-k of the heads' tables, merged by the best hit of each candidate, are the top-k of all."""
    query, corpus, k = torch.randn(6, 8), torch.randn(50, 8), 7
    best = scorer(query, corpus).topk(k)
    found: list[dict[int, float]] = [{} for _ in query]
    for vectors, table in zip(scorer.vectors(query), scorer.vectors(corpus), strict=True):
        hits = (vectors @ table.T).topk(k)
        for row, scores, columns in zip(found, hits.values.tolist(), hits.indices.tolist(), strict=True):
            for score, column in zip(scores, columns, strict=True):
                row[column] = max(score, row.get(column, score))
    for number, row in enumerate(found):
        merged = sorted(row, key=lambda column: -row[column])[:k]
        assert merged == best.indices[number].tolist()
        torch.testing.assert_close(torch.tensor([3 * row[column] for column in merged]), best.values[number])


def test_the_mean_keeps_no_matrix_for_each_head() -> None:
    """Autograd keeps tensors of the embeddings' size for the mean, and one number for each pair for the maximum."""
    for reduce, largest in (("mean", 40 * 8), ("max", 40 * 40)):
        sizes: list[int] = []

        def keep(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            MultiHeadDot(4, reduce)(torch.randn(40, 8, requires_grad=True), torch.randn(40, 8, requires_grad=True))  # type: ignore[arg-type]  # a literal each
        assert max(sizes) == largest


def test_a_tower_normalises_each_head() -> None:
    schema = Schema((Vector(name="x", length=6),))
    features = {"x": torch.randn(5, 6)}
    tower = Tower(schema, Concat, output_dim=9, num_heads=3)
    embedding = tower(features)
    tower.normalize = False
    raw = tower(features)
    torch.testing.assert_close(embedding, torch.cat([F.normalize(part, dim=-1) for part in raw.split(3, -1)], -1))
    assert tower({"x": torch.randn(0, 6)}).shape == (0, 9)
    with pytest.raises(ValueError, match=r"num_heads is 4.* 9"):
        Tower(schema, Concat, output_dim=9, num_heads=4)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="num_heads is 0"):
        MultiHeadDot(0)
    with pytest.raises(ValueError, match=r"reduce is 'sum'.*mean, max"):
        MultiHeadDot(2, "sum")  # type: ignore[arg-type]  # YAML may hold it
    with pytest.raises(ValueError, match=r"num_heads is 3.* 16"):
        MultiHeadDot(3).check_widths(16, 16)
    with pytest.raises(ValueError, match=r"num_heads is 2.* 5"):
        MultiHeadDot(2)(torch.ones(1, 5), torch.ones(1, 5))


def tower(num_heads: int) -> dict[str, Any]:
    return {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": 16, "num_heads": num_heads}}


def config(path: Path, scorer: dict[str, Any], num_heads: int) -> str:
    model = {"query_tower": tower(num_heads), "candidate_tower": tower(num_heads), "scorer": scorer}
    return str(write_config(path, model=model, trainer={"max_epochs": 1}))


def test_from_fit_to_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    scorer = {"class_path": "MultiHeadDot", "init_args": {"num_heads": 2, "reduce": "max", "logit_scale": 10}}
    main(["fit", "--config", config(tmp_path / "heads.yaml", scorer, 2)])
    main(["test"])
    main(["predict", "--embeddings.output", "corpus.parquet"])
    main(["predict", "--embeddings.output", "queries.parquet", "--data.predict", "query"])
    corpus, queries = pl.read_parquet("corpus.parquet"), pl.read_parquet("queries.parquet")
    assert corpus.columns == ["id", "vector", "head"]
    assert corpus["head"].to_list() == [0] * 60 + [1] * 60
    model, data = load_run(tmp_path / "runs/heads/version_0/checkpoints/best.ckpt")
    text = data.data.queries["text"][3]
    hits = make_retriever(model, data).search({"text": text}, k=5)
    own = queries.filter(pl.col("id") == data.data.queries.to_series(0)[3])["vector"].to_torch()  # (2, 8)
    products = (corpus["vector"].to_torch().reshape(2, 60, 8) * own[:, None]).sum(-1).amax(0)
    best = products.topk(5)
    assert [hit.id for hit in hits] == data.candidates.to_series(0).gather(best.indices.numpy()).to_list()
    assert [hit.score for hit in hits] == pytest.approx((10 * best.values).tolist(), rel=1e-4)
    summary = main(["summary", "--ckpt_path", "best"])
    assert summary.scorer.kind.startswith("MultiHeadDot")
    assert (summary.query.heads, summary.candidate.heads) == (2, 2)
    assert "length 1, each of 2 heads" in capsys.readouterr().out


def test_predict_refuses_embeddings_that_an_index_cannot_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scorer = {"class_path": "MLPScorer", "init_args": {"query_dim": 16, "candidate_dim": 16}}
    main(["fit", "--config", config(tmp_path / "mlp.yaml", scorer, 1)])
    with pytest.raises(ValueError, match="predict: MLPScorer"):
        main(["predict"])
    assert not Path("embeddings.parquet").exists()
    [hits] = main(["search", "--query", json.dumps({"text": "a"}), "--k", "3"])
    assert len(hits) == 3
    with pytest.raises(ValueError, match="MLPScorer: MLPScorer"):
        MLPScorer(2, 2).vectors(torch.ones(1, 2))
