"""Several worker processes: they share memory and a socket, and are started, reloaded and ended together."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.bundles import copied
from helpers.http_wire import wait_until
from helpers.paths import ROOT
from helpers.served import ENDS_S, Clients, Served, command_line, served

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="processes are looked up in /proc")
QUERY = {"query": "red shoes", "k": 3}
TOKEN = {"Authorization": "Bearer t0ken"}


@pytest.fixture(scope="module")
def server(shop_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two workers; tests leave them as they are."""
    log = tmp_path_factory.mktemp("workers") / "log"
    with served(log, "--bundle", f"shop={shop_bundle}", "--workers", "2", token="t0ken") as made:
        yield made
        assert made.end() == 0
        assert "Traceback" not in made.said


def is_alive(process: int) -> bool:
    return command_line(process) != b""


def mapped(process: int, file: str) -> dict[str, int]:
    """Kilobytes of a mapped file in a process, by kind."""
    found: dict[str, int] = {}
    ours = False
    for line in Path(f"/proc/{process}/smaps").read_text(encoding="utf-8").splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            ours = line.endswith(file)
        elif ours and line.endswith(" kB"):
            name, _, value = line.partition(":")
            found[name] = found.get(name, 0) + int(value.split()[0])
    return found


def test_both_answer_and_are_announced_once(server: Served) -> None:
    assert server.said.count("serving shop (30 candidates)") == 1
    assert "2 workers" in server.said
    assert len(server.workers) == 2
    clients = Clients(server.port, QUERY, keep_alive=False)  # without the token
    clients.until(1)
    clients.stop()
    assert set(clients.failures) == {"401"}
    assert server.post("/search", QUERY, **TOKEN)[0] == 200


def test_the_embeddings_are_in_memory_once(server: Served) -> None:
    for _ in range(20):
        assert server.post("/search", QUERY, **TOKEN)[0] == 200
    for process in server.workers:
        sizes = mapped(process, "corpus/embeddings.safetensors")
        if not sizes:
            pytest.skip("no smaps of another process")
        assert sizes["Rss"] > 0
        assert sizes["Private_Dirty"] == sizes["Anonymous"] == 0
        assert sizes["Pss"] <= sizes["Rss"] // 2 + 1
    rollup = Path(f"/proc/{server.workers[0]}/smaps_rollup")
    if rollup.is_file():
        assert "Pss:" in rollup.read_text(encoding="utf-8")


def reloads(server: Served) -> int:
    return server.said.count("reloaded")


def test_a_hangup_reloads_both(server: Served) -> None:
    before = reloads(server)
    server.tell(signal.SIGHUP)
    wait_until(lambda: reloads(server) == before + 2, ENDS_S)


def test_a_reload_by_http_reaches_both(server: Served) -> None:
    before = reloads(server)
    assert server.post("/reload", {}, **TOKEN)[0] == 200
    wait_until(lambda: reloads(server) == before + 2, ENDS_S)
    time.sleep(0.3)
    assert reloads(server) == before + 2  # no further reload


def test_metrics_are_those_of_both(server: Served) -> None:
    asked = 20
    for _ in range(asked):
        server.post("/search", QUERY, **TOKEN)
    text = server.get("/metrics", **TOKEN)[1]
    found = re.search(r'dssm_requests_total{method="POST",path="/search",status="200"} (\S+)', text)
    assert found is not None
    assert float(found[1]) >= asked
    assert len(set(re.findall(r'dssm_worker_memory_bytes{pid="(\d+)"}', text))) == 2


def test_a_worker_that_dies_is_started_again(server: Served) -> None:
    victim, other = server.workers
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: f"(process {victim}) ended by SIGKILL" in server.said)
    assert "again in 1 s" in server.said
    assert server.post("/search", QUERY, **TOKEN)[0] == 200  # by the other one
    wait_until(lambda: len(server.workers) == 2, ENDS_S)
    (fresh,) = set(server.workers) - {other}
    os.kill(fresh, signal.SIGTERM)  # a worker by itself ends gracefully, and is replaced later than before
    wait_until(lambda: f"(process {fresh}) ended by" in server.said, ENDS_S)
    wait_until(lambda: len(server.workers) == 2 and fresh not in server.workers, ENDS_S)
    assert "again in 2 s" in server.said
    text = server.get("/metrics", **TOKEN)[1]
    assert f'pid="{victim}"' not in text.partition("dssm_worker_memory_bytes")[2].partition("# HELP")[0]


@pytest.mark.timeout(900)  # on a busy machine a start takes ten seconds
@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_no_request_is_lost_when_busy_workers_end(shop_bundle: Path, tmp_path: Path, times: int) -> None:
    for number in range(times):
        log = tmp_path / f"log{number}"
        with served(log, "--bundle", str(shop_bundle), "--workers", "2") as server:
            kept, fresh = Clients(server.port, QUERY, 4), Clients(server.port, QUERY, 4, keep_alive=False)
            kept.until(30)
            fresh.until(30)
            server.tell(signal.SIGHUP)
            fresh.until(10)
            workers = server.workers
            assert server.end() == 0
            for clients in (kept, fresh):
                clients.join()
                assert clients.failures == []
            assert kept.answers == fresh.answers
            assert not any(map(is_alive, workers))


def test_workers_end_with_the_process_that_started_them(shop_bundle: Path, tmp_path: Path) -> None:
    with served(tmp_path / "log", "--bundle", str(shop_bundle), "--workers", "2") as server:
        workers = server.workers
        assert len(workers) == 2
        server.end(signal.SIGKILL)
        try:
            wait_until(lambda: not any(map(is_alive, workers)), ENDS_S)
        finally:
            for each in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)


def test_workers_that_cannot_start_are_given_up(shop_bundle: Path, tmp_path: Path) -> None:
    bundle = copied(shop_bundle, tmp_path / "shop")
    (bundle / "query.onnx").unlink()
    words = ["serve", "--bundle", str(bundle), "--workers", "3", "--port", "0"]
    line = ["timeout", "-k", "5", "100", sys.executable, "-m", "dssm_lightning", *words]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 1
    assert done.stderr.count("query.onnx") == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert "the page" not in done.stderr
