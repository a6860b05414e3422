"""Runs and judgements in TREC's format: ir_measures (pytrec_eval) computes our metrics from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ir_measures
import polars as pl
import pytest
import torch
from helpers.small import small_data, small_model, small_trainer
from ir_measures import AP, RR, P, R, nDCG
from torch import Tensor

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import PerQuery
from dssm_lightning.evaluation.trec_files import TrecFiles, encoded
from dssm_lightning.features import HashedWords
from dssm_lightning.utils.ragged import Features, Ragged


def world(tmp_path: Path, **changes: Any) -> RetrievalDataModule:
    """60 queries with ids of several words; 40 candidates, 14 of them shown to each query; grades of liked ones."""
    generator = torch.Generator().manual_seed(5)
    shown = torch.stack([torch.randperm(40, generator=generator)[:14] for _ in range(60)])
    liked = torch.rand(shown.shape, generator=generator) < 0.6
    interactions = pl.DataFrame(
        {
            "query": [f"what is {row} ?" for row in range(60) for _ in range(14)],
            "page": [f"a/{column}" for column in shown.flatten().tolist()],
            "liked": liked.flatten().int().numpy(),
            "grade": (liked * torch.randint(1, 4, shown.shape, generator=generator)).flatten().numpy(),
        }
    )
    pages = pl.DataFrame(
        {"page": [f"a/{column}" for column in range(40)], "text": [f"w{c % 20} x{c}" for c in range(40)]}
    )
    source = Frames(interactions, None, pages, "query", "page", label="liked", grade="grade")
    return small_data(
        tmp_path,
        source=source,
        query=[HashedWords(name="query", num_buckets=300)],
        candidate=[HashedWords(name="text", num_buckets=300)],
        split=PerQuery(test=0.4, validation=0.0),
        **changes,
    )


def run_test(
    tmp_path: Path, data: RetrievalDataModule, model: TwoTower, depth: int = 40
) -> tuple[Path, dict[str, float]]:
    folder = tmp_path / "trec"
    trainer = small_trainer(tmp_path, callbacks=[TrecFiles(str(folder), depth)])
    [found] = trainer.test(model, datamodule=data, verbose=False)
    return folder, dict(found)


def read_run(folder: Path) -> pl.DataFrame:
    columns = ["topic", "Q0", "candidate", "rank", "score", "tag"]
    return pl.read_csv(folder / "run.trec", separator=" ", has_header=False, new_columns=columns)


@pytest.mark.parametrize("evaluate", ["query", "event"])
def test_ir_measures_agrees_on_graded_relevance(tmp_path: Path, evaluate: str) -> None:
    data = world(tmp_path, evaluate=evaluate)
    folder, ours = run_test(tmp_path, data, small_model())
    qrels = list(ir_measures.read_trec_qrels(str(folder / "qrels.trec")))
    assert evaluate == "event" or {qrel.relevance for qrel in qrels} == {0, 1, 2, 3}
    names = {"ndcg": nDCG, "recall": R, "precision": P, "map": AP}
    wanted = {measure @ k: f"test/{name}@{k}" for name, measure in names.items() for k in (1, 5, 10)} | {RR: "test/mrr"}
    theirs = ir_measures.calc_aggregate(wanted, qrels, ir_measures.read_trec_run(str(folder / "run.trec")))
    assert {ours[name]: pytest.approx(theirs[measure], abs=1e-6) for measure, name in wanted.items()} == {
        ours[name]: ours[name] for name in wanted.values()
    }


def test_a_run_leaves_out_seen_candidates_and_ends_at_the_depth(tmp_path: Path) -> None:
    data = world(tmp_path)
    folder, _ = run_test(tmp_path, data, small_model(), depth=7)
    run = read_run(folder)
    topics = run["topic"].unique(maintain_order=True).to_list()
    ranked = data.evaluation_batches(2).make(torch.arange(60)).query_row
    assert topics == [f"what%20is%20{row}%20?" for row in ranked.tolist()]
    liked = data.assembler.likes.candidates
    for topic, lines in run.group_by("topic"):
        row = int(str(topic[0]).split("%20")[2])
        seen = liked.values[liked.offsets[row] : liked.offsets[row + 1]]
        assert lines["rank"].to_list() == list(range(1, 8))
        assert not {f"a/{candidate}" for candidate in seen.tolist()} & set(lines["candidate"])
        assert lines["score"].is_sorted(descending=True)


def test_the_same_run_twice(tmp_path: Path) -> None:
    data, model = world(tmp_path), small_model()
    first, _ = run_test(tmp_path / "1", data, model)
    second, _ = run_test(tmp_path / "2", data, model)
    for name in ("run.trec", "qrels.trec"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


class FixedScores(TwoTower):
    """Fixed scores: neighbours in single precision, and ties."""

    def score(self, query: Features, corpus: Tensor) -> Tensor:
        row = torch.tensor([1.0, 1.0, 0.1, 16777216.0]).repeat(10)
        row[2::8] = torch.nextafter(torch.tensor(0.1), torch.tensor(1.0))
        return row.expand(len(query["query"].offsets) - 1, -1)  # type: ignore[union-attr]  # it is Ragged


def test_ties_stay_ties_and_neighbours_stay_apart(tmp_path: Path) -> None:
    plain = small_model()
    model = FixedScores(
        **{name: plain.hparams[name] for name in ("query_tower", "candidate_tower", "scorer", "loss", "optimizer")}
    )
    folder, _ = run_test(tmp_path, world(tmp_path), model)
    found = read_run(folder)["score"].cast(pl.Float32).unique().sort()
    assert (
        found.to_list()
        == model.score({"query": Ragged(torch.zeros(0), torch.zeros(2))}, torch.zeros(0)).unique().tolist()
    )


def test_only_white_space_percent_and_bar_are_encoded_in_ids() -> None:
    assert encoded(pl.Series(["a b", "tab\there", "50%", "x|y", "näïve/猫", "n\u00a0b"])).to_list() == [
        "a%20b",
        "tab%09here",
        "50%25",
        "x%7Cy",
        "näïve/猫",
        "n%C2%A0b",
    ]
    assert encoded(pl.Series([7])).to_list() == ["7"]


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.trec").touch()
    with pytest.raises(ValueError, match=r"--trec .* is not empty"):
        TrecFiles(str(tmp_path))
    with pytest.raises(ValueError, match=r"--trec .*run\.trec .* is not empty"):
        TrecFiles(str(tmp_path / "run.trec"))


def test_a_run_without_depth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--trec_depth is 0"):
        TrecFiles(str(tmp_path), 0)
