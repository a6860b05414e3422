"""Every example runs as a reader runs it: as a process, in an empty folder, and prints a result above chance."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.paths import ROOT

from dssm_lightning import TwoTower

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
AT_A_TIME = 2
SECONDS = 120  # ten times the time of an example on an idle core

# chance: 10 of the corpus, except where a query has several relevant candidates
FLOORS = {
    "search_log": (r"hit rate@10 of new queries, 2,030 pages: (\S+)", 0.5),  # chance .005
    "recommender": (r"recall@10 of the last item, of 300 items: (\S+)", 0.8),  # chance .033
    "pictures_and_text": (r"hit rate@10 of new keywords, 159 emoji: (\S+)", 0.3),  # chance .06 for one emoji
    "own_loss": (r"recall@10 of 300 candidates: (\S+)", 0.8),  # chance .033
    "own_encoder": (r"recall@10 of 300 candidates: (\S+)", 0.6),  # chance .033
    "own_source": (r"hit rate@10 of new queries: (\S+)", 0.3),  # chance .02
    "clicks_and_purchases": (r"recall@10 of 160 items: clicks \S+, purchases (\S+)", 0.25),  # chance .06
    "given_vectors": (r"5,314 queries: hit rate@10 (\S+), mrr", 0.3),  # chance .005 for one emoji
}


def run(path: Path, folder: Path) -> str:
    """The standard output of an example that ran in an empty folder."""
    folder.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        ["timeout", "-k", "5", str(SECONDS), sys.executable, str(path)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{path.name} ended with {done.returncode}:\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[str]]:
    """What each example prints, by its name; all of them run once, a few at a time."""
    root = tmp_path_factory.mktemp("examples")
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return {path.stem: pool.submit(run, path, root / path.stem) for path in EXAMPLES}


@pytest.mark.timeout(600)  # the first test waits for all of them
@pytest.mark.parametrize("name", sorted(FLOORS))
def test_an_example_is_better_than_chance(outputs: dict[str, Future[str]], name: str) -> None:
    pattern, floor = FLOORS[name]
    found = re.search(pattern, outputs[name].result())
    assert found is not None, outputs[name].result()[-500:]
    assert floor < float(found[1]) <= 1


def test_the_answers_of_the_search_are_linux_pages(outputs: dict[str, Future[str]]) -> None:
    answers = re.findall(r"'(linux/[^']+)'", outputs["search_log"].result())
    assert len(set(answers)) == 3
    assert "linux/df" in answers


def test_a_new_user_is_recommended_items_outside_the_history(outputs: dict[str, Future[str]]) -> None:
    line = outputs["recommender"].result().splitlines()[-1]
    history, recommended = (re.findall(r"c\d+", part) for part in line.split("]: ["))
    assert (len(history), len(set(recommended))) == (2, 3)
    assert not set(history) & set(recommended)


def test_the_vector_store_finds_the_retrievers_answers(outputs: dict[str, Future[str]]) -> None:
    output = outputs["vector_store"].result()
    assert "7,425 vectors of 128 numbers" in output
    assert "the retriever finds the same: True" in output


def test_every_example_is_checked() -> None:
    assert {path.stem for path in EXAMPLES} == {*FLOORS, "vector_store"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_explains_itself(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40
    assert re.match(r'"""[A-Z][^\n]+\.\n\n', text), "a docstring of one sentence, then more"


def test_the_table_lists_every_example() -> None:
    table = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| \[(\w+\.py)\]\(\1\)", table, re.MULTILINE)) == [path.name for path in EXAMPLES]


def test_own_classes_are_found_by_their_class_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way in of a YAML config: with the examples' folder on the path."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    encoder = {"class_path": "own_encoder.Fourier", "init_args": {"output_dim": 8}}
    init_args = {"fusion": "Concat", "encoders": {"vector": encoder}}
    tower = {"class_path": "Tower", "init_args": init_args}
    loss = {"class_path": "own_loss.SoftHinge", "init_args": {"margin": 3.0}}
    model = TwoTower(tower, tower, "Dot", loss, {"class_path": "torch.optim.Adam"})
    assert type(model.loss).__name__ == "SoftHinge"
    assert model.loss.margin == 3.0
    assert model.hparams["query_tower"] == tower
