"""The documents tell the truth: what they say to run runs, what they link to is there, what they name exists.

A comment before a fenced block says what it is: ``<!-- file: NAME -->`` (save it under this name), ``<!-- run -->``
(commands, one a line) or ``<!-- excerpt: PATH -->`` (part of a file of the repository).
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple

import pytest
import yaml
from helpers.paths import PACKAGE, ROOT

from dssm_lightning.api import load_data, load_untrained, make_retriever
from dssm_lightning.cli.commands import registry
from dssm_lightning.cli.main import main
from dssm_lightning.cli.trainer_verbs import ABOUT
from dssm_lightning.export import RunFacts, export_bundle
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.utils.renamed import renew_path

DOCS = ROOT / "docs"
BUNDLES = DOCS / "how-to" / "bundles.md"
README, FIRST, SHOP = ROOT / "README.md", DOCS / "tutorials" / "first-model.md", DOCS / "tutorials" / "own-tables.md"
DOCUMENTS = [README, *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r"<!-- (file|run|excerpt)(?:: (.+?))? -->\n```\w+\n(.*?)```\n", re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FAMILIES = ["features", "models.encoders", "models.fusion", "models.scorers", "losses", "training.optimizers"]
FAMILIES += [
    "training.teachers",
    "data.sources",
    "data.splits",
    "data.negatives",
    "data.negatives.frequency",
    "models.tower",
]
OF_LIBRARIES = {"Trainer", "Adam", "AdamW", "LeakyReLU", "Counter", "DataLoader", "Dataset", "IndexFlatIP"}
OF_LIBRARIES |= {"RandomResizedCrop", "DistributedModelParallel", "EmbeddingBagCollection", "RowwiseParallel"}
OF_LIBRARIES |= {"ModelCheckpoint", "EarlyStopping", "LearningRateFinder", "BatchSizeFinder", "ReduceLROnPlateau"}
OF_LIBRARIES |= {"StochasticWeightAveraging", "StaticEmbedding", "MultipleNegativesRankingLoss"}
NOT_IN_CONFIGS = {"Feature", "Encoder", "Fusion", "Scorer", "Loss", "Source", "Split", "NegativeSampler"}  # bases
NOT_IN_CONFIGS |= {"Scores", "Taught", "SamplerTables", "Teacher"}
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


class Block(NamedTuple):
    """A marked block of a document."""

    kind: str
    name: str
    text: str


def blocks(document: Path, kind: str | None = None) -> list[Block]:
    found = [Block(*match) for match in BLOCK.findall(document.read_text(encoding="utf-8"))]
    return [block for block in found if kind in (None, block.kind)]


def save_files(document: Path, folder: Path) -> None:
    for block in blocks(document, "file"):
        (folder / block.name).write_text(block.text, encoding="utf-8")


def command(line: str) -> list[str]:
    """The arguments of a line ``python -m dssm_lightning …``, kept short and quiet."""
    python, flag, module, *arguments = shlex.split(line)
    assert (python, flag, module) == ("python", "-m", "dssm_lightning"), line
    if arguments[0] == "fit":
        arguments += ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", *QUIET]
    return arguments


def run_commands(document: Path) -> list[Any]:
    return [main(command(line)) for block in blocks(document, "run") for line in block.text.splitlines()]


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # restored afterwards: seed_everything sets it
    monkeypatch.delitem(sys.modules, "my_losses", raising=False)


# -- what the reader runs ----------------------------------------------------------------------------------------------


def test_the_first_models_commands(tmp_path: Path) -> None:
    save_files(FIRST, tmp_path)
    _, score, own_loss = run_commands(FIRST)
    assert list(score) == ["query", "positive_doc", "negative_docs"]
    assert score["query"]["value"] == "кот"
    assert [doc["value"] for doc in score["negative_docs"]] == ["сторожевая собака", "морская рыба"]
    assert type(own_loss.model.loss).__name__ == "SoftHinge"
    assert own_loss.model.loss.margin == 0.5


def test_the_own_loss_has_its_test(tmp_path: Path) -> None:
    save_files(FIRST, tmp_path)
    import_module("test_my_losses").test_soft_hinge_by_hand()
    del sys.modules["test_my_losses"]


@pytest.mark.filterwarnings("ignore:Total length of `ShardedBatches`", "ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches", "ignore:.*litlogger")
def test_the_readmes_python(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = [block.text for block in blocks(README, "file") if block.name == "example.py"]
    short = example.replace("max_epochs=3", "max_epochs=1, limit_train_batches=2, logger=False")
    short = short.replace("limit_train_batches", "enable_checkpointing=False, limit_train_batches")
    assert short != example
    exec(compile(short, "example.py", "exec"), {})
    hits = [line for line in capsys.readouterr().out.splitlines() if re.match(r"\w+/\S+ -?\d+\.\d ", line)]
    assert len(hits) == 3


def test_the_shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_files(SHOP, tmp_path)
    _, test, baselines, answers = run_commands(SHOP)
    assert 0 < test.trainer.callback_metrics["test/mrr"] <= 1
    assert any(name.startswith("EASE") for name in baselines)
    assert len(answers[0]) == 3
    assert set(answers[0][0].display) == {"title"}


def test_the_template_runs_on_the_shops_tables(tmp_path: Path) -> None:
    save_files(SHOP, tmp_path)
    fit = main(["fit", "--config", str(ROOT / "configs" / "files.yaml"), "--trainer.max_epochs=1", *QUIET])
    assert fit.datamodule.num_candidates == 12


# -- what the documents say --------------------------------------------------------------------------------------------


def excerpts(part: Any, whole: Any) -> bool:
    """Whether every value of ``part`` stands at its place in ``whole``; lists may be shortened, not reordered."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and excerpts(part[key], whole[key]) for key in part)
    if isinstance(part, list):
        rest = iter(whole)
        return all(any(excerpts(item, other) for other in rest) for item in part)
    return bool(part == whole)


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")
def test_the_page_of_bundles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file runs on a bundle of the emoji config, whose weights are not trained."""
    data, model = load_data([ROOT / "configs" / "emoji.yaml"]), load_untrained([ROOT / "configs" / "emoji.yaml"])
    model.build(data.data.schemas)
    retriever = make_retriever(model.eval(), data)
    export_bundle(model, data, retriever, tmp_path / "bundle", RunFacts("", {}, {}, {}, {}))
    names = []
    for _, name, text in blocks(BUNDLES, "file"):
        exec(
            compile(text.replace('QdrantClient("http://localhost:6333")', 'QdrantClient(":memory:")'), name, "exec"), {}
        )
        names.append(name)
    assert names == ["answers.py", "readings.py", "refresh.py", "to_faiss.py", "to_qdrant.py"]
    printed = capsys.readouterr().out
    assert all(hit.id in printed for hit in retriever.search("grinning cat", k=3))
    tonight = Retriever.load(tmp_path / "tonight")
    assert len(tonight) == len(retriever)  # one came, one went
    assert "new-1" in [hit.id for hit in tonight.search("orange cat", k=5)]


def test_excerpts_are_what_the_files_say() -> None:
    found = blocks(README, "excerpt")
    assert found
    for block in found:
        whole = yaml.safe_load((ROOT / block.name).read_text(encoding="utf-8"))
        assert excerpts(yaml.safe_load(block.text), whole), f"README: the excerpt of {block.name} says otherwise"


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as code hosts make them."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in LINK.findall(text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{document.name}: {link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{document.name}: {link}: no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_configs_and_scripts_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    verbs = re.findall(r"python -m dssm_lightning ([\w-]+)", text)
    assert set(verbs) <= {*ABOUT, *registry.COMMANDS, "COMMAND"}
    for path in re.findall(r"\b(?:configs|scripts|tests)/[\w/-]+\.(?:yaml|sh|py)\b", text):
        assert (ROOT / path).is_file(), f"{document.name}: {path} is not there"


def test_the_figures_are_what_their_script_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    script = import_module("draw_dssm")
    assert (DOCS / "images" / "dssm-network.svg").read_text(encoding="utf-8") == script.draw_network()
    assert (DOCS / "images" / "dssm-gamma.svg").read_text(encoding="utf-8") == script.draw_gamma()


def named_classes(document: Path) -> set[str]:
    """The names in a document's prose and tables that look like classes."""
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    return set(re.findall(r"`([A-Z][a-z]+\w*|BPR)`", text))


@pytest.fixture(scope="module")
def classes() -> set[str]:
    """The names of all classes of the package, without importing it."""
    sources = (path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    return {name for source in sources for name in re.findall(r"^class (\w+)", source, re.MULTILINE)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_classes_that_are_named_exist(document: Path, classes: set[str]) -> None:
    assert named_classes(document) <= classes | OF_LIBRARIES


def test_the_page_of_parts_names_every_part() -> None:
    text = (DOCS / "reference" / "parts.md").read_text(encoding="utf-8")
    for family in FAMILIES:
        module = import_module(f"dssm_lightning.{family}")
        for name, part in vars(module).items():
            if isinstance(part, type) and name in getattr(module, "__all__", []) and name not in NOT_IN_CONFIGS:
                assert f"`{name}`" in text, f"parts.md lacks {family}.{name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_paths_exist(document: Path) -> None:
    for path in set(re.findall(r"\bdssm_lightning(?:\.\w+)+", document.read_text(encoding="utf-8"))):
        resolve_name(renew_path(path))  # a path of an earlier release must lead to one of today


# -- the site ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as a site, built once with warnings as errors."""
    if find_spec("mkdocstrings") is None and "CI" not in os.environ:
        pytest.skip("the site is not built: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    line = ["timeout", "-k", "5", "120", sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run([*line, "--site-dir", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_no_page_needs_the_network(site: Path) -> None:
    """Links to read on are fine; scripts, styles, fonts and pictures come with the site."""
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    loaded = re.compile(
        r"<(?:script|img|source|iframe)\b[^>]*\bsrc=[\"']?(?:https?:)?//|<link\b[^>]*\bhref=[\"']?(?:https?:)?//"
    )
    for page in pages:
        assert not loaded.search(page.read_text(encoding="utf-8")), page
    for style in site.rglob("*.css"):
        assert not re.search(r"@import|url\([\"']?https?://", style.read_text(encoding="utf-8")), style


def test_the_reference_has_every_public_class_and_no_role_of_sphinx(site: Path) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (site / "reference").rglob("*.html"))
    for family in FAMILIES:
        module = import_module(f"dssm_lightning.{family}")
        for name in (each for each in getattr(module, "__all__", []) if isinstance(getattr(module, each), type)):
            assert f'.{name}"' in text, f"{family}.{name} is on no page"
    assert not re.search(r":(?:class|func|meth|mod|attr|data|math):", text)
    assert ".. math::" not in text
