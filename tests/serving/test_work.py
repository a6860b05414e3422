"""What takes long never runs on the event loop, and what is small does; a request costs little."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.retrievers import WORDS
from helpers.serving import Server, served

from dssm_lightning.serving import batching, work
from dssm_lightning.serving.decoding import FEW_CHARACTERS, FEW_ENTRIES

KINDS = (work.SearchWork, work.EncodeWork, work.SimilarWork, work.ScoreWork, work.CandidatesWork)


@pytest.fixture(scope="module")
def server(shop_bundle: Path) -> Iterator[Server]:
    with served(shop_bundle) as found:
        yield found


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads in which work was done."""
    found: list[threading.Thread] = []
    run_jobs = batching.run_jobs

    def watched(jobs: Any) -> Any:
        found.append(threading.current_thread())
        return run_jobs(jobs)

    monkeypatch.setattr(batching, "run_jobs", watched)
    monkeypatch.setattr(batching, "ON_THE_LOOP", 10.0)  # whatever it takes
    return found


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/search", {"query": "copy"}),
        ("/search", {"query": "copy", "exclude": ["i1"]}),
        ("/encode", {"query": "copy"}),
        ("/encode", {"candidate": ["copy"]}),
    ],
    ids=str,
)
def test_small_work_runs_on_the_loop(server: Server, threads: list[threading.Thread], path: str, body: Any) -> None:
    for _ in range(3):
        assert server.post(path, body).status == 200
    assert threads[-1] is threading.main_thread()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/search", {"query": "copy", "filter": "price > 1"}),
        ("/search", {"query": "copy", "hybrid": 1}),
        ("/search", {"query": "copy", "explain": True}),
        ("/search", {"query": ["copy", "file"]}),
        ("/search", {"query": "copy " * FEW_CHARACTERS}),
        ("/search", {"query": {"words": "copy " * FEW_CHARACTERS}}),
        ("/search", {"query": {"words": ["copy"] * (FEW_ENTRIES + 1)}}),
        ("/search", {"query": {"words": {"a": 1}}}),
        ("/search", {"query": {"x" * (FEW_CHARACTERS + 1): 1}}),
        ("/similar", {"id": "i1"}),
        ("/score", {"query": "copy", "candidates": "file"}),
        ("/encode", {"candidate": ["copy", "file"]}),
        ("/candidates", {"text": "copy"}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_other_work_runs_in_the_thread(server: Server, threads: list[threading.Thread], path: str, body: Any) -> None:
    for _ in range(3):
        assert server.post(path, body).status in (200, 422)
    assert threading.main_thread() not in threads
    assert threads


def test_works_are_equal_by_their_options(server: Server) -> None:
    bundle = server.serving.bundle()
    one, same, other = (work.SearchWork(bundle, k) for k in (3, 3, 4))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert {kind.kind for kind in KINDS} == {"search", "encode", "similar", "score", "candidates"}


@pytest.mark.slow
def test_a_search_among_64_takes_little_processor_time(server: Server) -> None:
    bodies = [{"query": f"{WORDS[n % 15]} {WORDS[(7 * n + 3) % 15]}", "k": 10} for n in range(64)]
    for _ in range(5):
        server.post_all("/search", bodies)
    began = time.process_time()
    for _ in range(20):
        server.post_all("/search", bodies)
    assert (time.process_time() - began) / (20 * 64) < 0.0007
