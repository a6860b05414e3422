"""Bundles on the command line: written, searched, compared, and copied."""

from __future__ import annotations

import json
import logging
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dssm_lightning.cli.main import main
from dssm_lightning.evaluation.metric_names import MAIN
from dssm_lightning.retrieval.bundle.manifest import Manifest
from dssm_lightning.retrieval.bundle.writing import rewrite
from dssm_lightning.retrieval.retriever import Retriever

CHECKPOINT = "runs/texts/version_0/checkpoints/best.ckpt"


@pytest.fixture(autouse=True)
def _there(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(exported)


# -- export ------------------------------------------------------------------------------------------------------------


def test_export_says_what_it_wrote_and_how_to_search_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = tmp_path / "a bundle"
    with caplog.at_level(logging.INFO, logger="dssm_lightning"):
        assert main(["export", "--output", str(output), "--ckpt_path", CHECKPOINT, "--vectors", "int8"]) == output
    assert f"bundle: {output} (" in caplog.text
    assert "MiB); search it: python -m dssm_lightning search --bundle '" in caplog.text
    assert Retriever.load(output).corpus.indexes[0].settings["precision"] == "int8"


def test_the_query_that_export_shows_can_be_asked(
    exported_history: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(exported_history)
    with caplog.at_level(logging.INFO, logger="dssm_lightning"):
        main(["export", "--output", str(tmp_path / "bundle"), "--ckpt_path", CHECKPOINT])
    *_, shown = shlex.split(caplog.messages[-1])
    assert json.loads(shown) == {"text": "…", "history": ["…"]}
    assert main(["search", "--bundle", str(tmp_path / "bundle"), "--query", shown, "--k=2"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "runs"], "runs.*manifest.json"),
        (["--output", CHECKPOINT], "best.ckpt"),
        (["--output", "new", "--ckpt_path", "none.ckpt"], "--ckpt_path none.ckpt"),
        (["--output", "new", "--config", "none.yaml"], r"none\.yaml"),
    ],
)
def test_an_export_that_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        main(["export", *words])
    assert not Path("new").exists()


def test_an_unknown_precision_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--output", "new", "--vectors", "int4"])
    assert "int4" in capsys.readouterr().err


# -- search, similar, score --------------------------------------------------------------------------------------------


def test_a_bundle_answers_as_its_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--query", "bada moni", "--query", "tude", "--k=7", "--exclude=c3", "--filter", "group != 'group-2'"]
    words += ["--filter", "size > 1 or text = 'x'", "--json"]
    bundle, checkpoint = main(["search", "--bundle", "bundle", *words]), main(["search", *words])
    assert json.loads(capsys.readouterr().out.splitlines()[0])["query"] == "bada moni"
    for ours, theirs in zip(bundle, checkpoint, strict=True):
        assert [hit[::2] for hit in ours] == [hit[::2] for hit in theirs]
        assert [hit.score for hit in ours] == pytest.approx([hit.score for hit in theirs], abs=1e-4)
        assert "c3" not in {hit.id for hit in ours}
    assert len(bundle) == 2


def test_diverse_answers_are_the_retrievers() -> None:
    retriever = Retriever.load("bundle")
    plain = main(["search", "--bundle=bundle", "--query=tude fira", "--k=5"])
    for words, diversity in (([], 0.0), (["--diversity=0"], 0.0), (["--diversity=0.7"], 0.7), (["--diversity=1"], 1.0)):
        [hits] = main(["search", "--bundle=bundle", "--query=tude fira", "--k=5", *words])
        assert hits == retriever.search("tude fira", 5, diversity=diversity)
        assert ([hits] == plain) == (diversity == 0)


def test_hybrid_reads_the_bundles_index_of_words() -> None:
    retriever = Retriever.load("bundle")
    for words, weight in (([], True), (["--hybrid_weight=3"], 3.0)):
        [hits] = main(["search", "--bundle=bundle", "--query=tude fira", "--hybrid", "--k=5", *words])
        assert hits == retriever.search("tude fira", 5, hybrid=weight)


def test_ten_or_all_that_are_left() -> None:
    assert len(main(["search", "--bundle", "bundle", "--query", "x"])[0]) == 10
    others = [f"--exclude=c{number}" for number in range(57)]
    assert len(main(["search", "--bundle", "bundle", "--query", "x", *others])[0]) == 3
    assert len(main(["similar", "--bundle", "bundle", "--id", "c58", *others])) == 2


def test_the_history_of_a_query_is_left_out(exported_history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(exported_history)
    query = json.dumps({"text": "bada", "history": ["c1", "c2", "c5"]})
    [hits] = main(["search", "--bundle=bundle", "--query", query, "--k=57", "--exclude_history"])
    [others] = main(["search", "--bundle=bundle", "--query", query, "--k=60"])
    assert hits == [hit for hit in others if hit.id not in ("c1", "c2", "c5")]


def test_similar_candidates(capsys: pytest.CaptureFixture[str]) -> None:
    hits = main(["similar", "--bundle", "bundle", "--id", "c7", "--k", "4", "--filter", "group != 'group-1'"])
    shown = capsys.readouterr().out
    assert hits == Retriever.load("bundle").similar("c7", 4, filter="group != 'group-1'")
    assert "similar to c7" in shown
    assert all(hit.id in shown for hit in hits)
    of_checkpoint = main(["similar", "--id", "c7", "--k", "4", "--filter", "group != 'group-1'", "--json"])
    assert [hit.id for hit in of_checkpoint] == [hit.id for hit in hits]
    printed = json.loads(capsys.readouterr().out)
    assert (printed["id"], [hit["id"] for hit in printed["hits"]]) == ("c7", [hit.id for hit in hits])


def test_a_bundle_scores_as_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "given.json"
    path.write_text(json.dumps({"query": "a", "positive_doc": "b", "negative_docs": ["c", "d"]}), encoding="utf-8")
    ours, theirs = main(["score", f"--input={path}", "--bundle=bundle"]), main(["score", f"--input={path}"])
    assert list(ours) == list(theirs)
    pairs = zip(
        [ours["positive_doc"], *ours["negative_docs"]], [theirs["positive_doc"], *theirs["negative_docs"]], strict=True
    )
    for one, other in pairs:
        assert one["similarity"] == pytest.approx(other["similarity"], abs=1e-5)
        assert one["vector"] == pytest.approx(other["vector"], abs=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "--query=x", "--bundle=bundle", "--ckpt_path=best"], "--bundle bundle.*--ckpt_path best"),
        (["similar", "--id=c1", "--bundle=bundle", "--config=texts.yaml"], "--bundle bundle.*--config texts.yaml"),
        (["score", "--input=in.json", "--bundle=b", "--ckpt_path=last"], "--input in.json|--bundle b.*last"),
        (["search", "--query=x", "--bundle=bundle", "--k=0"], "k is 0.*60 candidates"),
        (["search", "--query=x", "--bundle=bundle", "--k=61"], "k is 61.*60 candidates"),
        (["search", "--query=x", "--bundle=bundle", "--k=60", "--exclude=c1"], "k is 60.*60 .*1 of them excluded.*59"),
        (["search", "--query=x", "--bundle=bundle", "--exclude=c99"], "candidate_id = 'c99'"),
        (["search", "--query=x", "--bundle=bundle", "--filter=grp = 1"], "'grp'.*did you mean 'group'"),
        (["search", "--query=x", "--bundle=bundle", "--filter=size > 'a'"], "'size'.*'a'"),
        (["search", "--query=x", "--bundle=bundle", "--filter="], "filter"),
        (["search", "--query=x", "--bundle=bundle", "--filter=size > 1) or (size < 9"], r"character 9.*\)"),
        (["search", "--query=x", "--filter=size >"], "filter"),
        (["search", "--query=x", "--bundle=bundle", "--picture=p.png"], "--picture p.png.*--bundle bundle"),
        (["search", "--query=x", "--bundle=bundle", "--exclude_history"], "exclude_history.*'candidate_id'"),
        (["search", "--query=x", "--bundle=bundle", "--hybrid_weight=2"], "--hybrid_weight 2.*--hybrid"),
        (["search", "--query=x", "--bundle=bundle", "--diversity=1.5"], r"diversity is 1\.5.*\[0, 1\]"),
        (["search", "--query=x", "--bundle=none", "--diversity=-0.1"], r"diversity is -0\.1.*\[0, 1\]"),
        (["search", "--query=x", "--bundle=none"], "'none'.*no such folder"),
        (["search", "--query=x", "--bundle=runs"], r"runs.*manifest\.json"),
        (["search", "--query=x", "--bundle=s4://none"], "s4://none"),
        (["search", "--bundle=bundle"], "--query.*--queries"),
        (["similar", "--id=c99", "--bundle=bundle"], "candidate_id = 'c99'"),
        (["similar", "--id=c1", "--bundle=bundle", "--k=60"], "k is 60.*choose a k from 1 to 59"),
        (["similar", "--id=c1", "--bundle=bundle", "--k=0"], "k is 0"),
        (["similar", "--id=null", "--bundle=bundle"], "candidate_id = 'null'"),
    ],
)
def test_what_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        main(words)


# -- push, pull --------------------------------------------------------------------------------------------------------


def test_a_bundle_is_pushed_and_pulled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = f"file://{tmp_path}/store/emoji"
    with caplog.at_level(logging.INFO, logger="dssm_lightning"):
        main(["push", "--bundle", "bundle", "--url", url])
        main(["pull", "--url", url, "--output", str(tmp_path / "pulled")])
    assert f"the bundle bundle: {url}" in caplog.text
    expected = main(["search", "--bundle=bundle", "--query=x", "--k=3"])
    assert main(["search", "--bundle", str(tmp_path / "pulled"), "--query=x", "--k=3"]) == expected
    assert main(["search", "--bundle", url, "--query=x", "--k=3"]) == expected
    assert main(["inspect", "--bundle", url])["corpus"]["count"] == 60


def test_a_copy_that_is_refused(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree("bundle", damaged)
    (damaged / "scorer.onnx").write_bytes(b"?")
    with pytest.raises(ValueError, match=r"scorer\.onnx.*1 bytes"):
        main(["push", "--bundle", str(damaged), "--url", f"file://{tmp_path}/store"])
    with pytest.raises(ValueError, match=r"none: there is no manifest\.json"):
        main(["pull", "--url", f"file://{tmp_path}/none", "--output", str(tmp_path / "new")])
    with pytest.raises(ValueError, match="runs"):
        main(["pull", "--url", f"file://{Path('bundle').absolute()}", "--output", "runs"])
    assert not (tmp_path / "new").exists()


# -- inspect -----------------------------------------------------------------------------------------------------------


def test_inspect_shows_what_is_in_a_bundle(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = main(["inspect", "--bundle", "bundle"])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    named = (
        "texts/version_0",
        "best.ckpt",
        "finished",
        "Dot",
        "60 candidates",
        "candidate_id",
        "HashedTrigrams",
        "BM25",
    )
    for text in (*named, "exact precision=float32", "verified", "query.onnx", "dssm-lightning 0.", "not tested"):
        assert text in shown, text
    main(["inspect", "--bundle", "bundle", "--json"])
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found))
    assert found["features"]["query"] == [{"name": "text", "kind": "HashedTrigrams", "column": "text"}]
    assert found["corpus"]["width"] == 16
    assert found["index"]["engine"] == "exact"
    assert found["files"]["query.onnx"] == Path("bundle/query.onnx").stat().st_size


def test_inspect_shows_quality_beside_baselines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    values = {f"test/{name}": number / 16 for number, name in enumerate(MAIN)}
    baselines = {"Popularity()": {"mrr": 0.1234}, "AttributePopularity(attribute='a_long_name')": {"mrr": 0.5}}

    def change(folder: Path, manifest: Manifest) -> Manifest:
        metrics = {"metrics": values, "intervals": {"test/mrr": [0.1, 0.2]}, "baselines": baselines}
        (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
        return replace(manifest, source={**manifest.source, "status": "The run was interrupted after 3 epochs"})

    rewrite(Path("bundle"), tmp_path / "tested", change, ("metrics.json",))
    found = main(["inspect", "--bundle", str(tmp_path / "tested")])
    assert found["metrics"] == values
    assert found["intervals"] == {"test/mrr": [0.1, 0.2]}
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    [model] = [line for line in lines if line.startswith(" this model")]
    assert model.split()[2:] == [f"{number / 16:.4f}" for number in range(len(MAIN))]
    assert re.search(r"Popularity +0\.1234", shown)
    assert "AttributePopularity" in shown
    assert "The run was interrupted after 3 epochs" in shown


def test_inspect_names_what_is_damaged(tmp_path: Path) -> None:
    shutil.copytree("bundle", tmp_path / "changed")
    schema = tmp_path / "changed" / "schema.json"
    schema.write_text(schema.read_text(encoding="utf-8").replace("text", "tixt", 1), encoding="utf-8")
    with pytest.raises(ValueError, match=r"schema\.json.*checksum"):
        main(["inspect", "--bundle", str(tmp_path / "changed")])
    with pytest.raises(ValueError, match=r"none.*no such folder"):
        main(["inspect", "--bundle", "none"])
