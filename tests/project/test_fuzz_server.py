"""scripts/fuzz_server.py: what it sends, how it reads answers, and that the server withstands some hundred requests."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from helpers.paths import ROOT, SCRIPTS

NAMES = ("answers", "framings", "mutations", "plans", "report", "tally", "wire_shapes", "odd_values", "watched_server")
GOOD = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n"
    b"X-Content-Type-Options: nosniff\r\n\r\n{}"
)


@pytest.fixture(scope="module")
def fuzzing() -> Iterator[ModuleType]:
    from importlib import import_module

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        for name in NAMES:
            import_module(f"fuzzing.{name}")
        yield sys.modules["fuzzing"]
        for name in [name for name in sys.modules if name.partition(".")[0] == "fuzzing"]:
            del sys.modules[name]


@pytest.fixture
def corpus(fuzzing: ModuleType) -> list[Any]:
    return [fuzzing.plans.post("/search", b'{"query": "red"}'), fuzzing.plans.Request("GET", "/health")]


# -- what is sent ------------------------------------------------------------------------------------------------------


def test_a_request_has_the_length_of_its_body(fuzzing: ModuleType) -> None:
    made = fuzzing.plans.post("/search", b"{}", **{"content-length": "7", "Accept": "*/*"}).as_bytes()
    head, body = made.split(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        *(b"POST /search HTTP/1.1", b"Host: localhost", b"Content-Type: application/json", b"Accept: */*"),
        b"Content-Length: 2",
    ]
    assert body == b"{}"


@pytest.mark.parametrize(
    "shape",
    ["mutated", "cut", "slow", "pipelined", "oversized", "badly_chunked", "smuggled", "strange", "dropped"],
)
def test_shapes_are_the_same_for_a_seed(fuzzing: ModuleType, corpus: list[Any], shape: str) -> None:
    draw, plans = getattr(fuzzing.wire_shapes, shape), []
    for _ in range(2):
        chance = random.Random(4)
        plans.append([draw(chance, corpus) for _ in range(30)])
    assert plans[0] == plans[1]
    assert len(set(plans[0])) > 4
    assert sum(map(len, plans[0][0].parts)) < 20_000_000


def test_chunks_are_the_body(fuzzing: ModuleType) -> None:
    assert fuzzing.framings.chunked(b"abcdefg", 3) == b"3\r\nabc\r\n3\r\ndef\r\n1\r\ng\r\n0\r\n\r\n"


def test_odd_bodies_leave_the_examples_as_they_are(fuzzing: ModuleType) -> None:
    document = {"components": {"schemas": {"SearchBody": {"properties": {"query": {}, "k": {}}}}}}
    examples = [("/search", {"query": {"words": "red"}, "k": 3})]
    bodies = fuzzing.odd_values.OddBodies(document, examples, ["price"])
    draw = random.Random(1)
    made = {bodies.draw(draw).body for _ in range(300)}
    assert len(made) > 250
    assert examples == [("/search", {"query": {"words": "red"}, "k": 3})]
    assert len(bodies.long(draw).body) > 3_000


# -- what comes back ---------------------------------------------------------------------------------------------------


def test_answers_are_taken_one_by_one(fuzzing: ModuleType) -> None:
    data = bytearray(GOOD * 2 + GOOD[:60])
    assert fuzzing.answers.take(data).body == b"{}"
    assert fuzzing.answers.take(data).status == 200
    assert fuzzing.answers.take(data) is None
    assert bytes(data) == GOOD[:60]
    head = bytearray(GOOD[:-2])
    assert fuzzing.answers.take(head, bodiless=True).body == b""
    assert len(fuzzing.answers.take_all(bytearray(GOOD[:-2] + GOOD))) == 2


@pytest.mark.parametrize(
    "data", [b"<html>", b"HTTP/1.1 999 X\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"]
)
def test_what_is_no_answer(fuzzing: ModuleType, data: bytes) -> None:
    with pytest.raises(fuzzing.answers.NoAnswerError, match="status"):
        fuzzing.answers.take(bytearray(data))
    with pytest.raises(fuzzing.answers.NoAnswerError):
        fuzzing.answers.take_all(bytearray(GOOD + data + b"x"))
    with pytest.raises(fuzzing.answers.NoAnswerError, match="cut"):
        fuzzing.answers.take_all(bytearray(GOOD + GOOD[:30]))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ((b"nosniff", b"no"), "headers"),
        ((b"{}", b"{]"), "JSON"),
        ((b"200 OK", b"404 Not Found"), "form"),
        ((b"{}", b'""'), None),
        ((b"200 OK", b"204 No Content"), None),
    ],
)
def test_answers_are_judged(fuzzing: ModuleType, change: tuple[bytes, bytes], fault: str | None) -> None:
    found = fuzzing.answers.take(bytearray(GOOD.replace(*change))).fault(bodiless=False)
    assert found is None if fault is None else fault in found


def test_every_request_must_be_answered_and_nothing_may_fail(fuzzing: ModuleType, corpus: list[Any]) -> None:
    tally, plan = fuzzing.tally.Tally(), fuzzing.plans.ask("one", corpus[0])
    good = fuzzing.answers.take(bytearray(GOOD))
    for answers in ([good], [], [good._replace(status=500)], [good._replace(status=503)], [good._replace(status=418)]):
        tally.begin(plan)
        tally.end(plan, answers, bodiless=False)
    texts = [fault.what for fault in tally.faults]
    assert [text[:12] for text in texts] == ["0 answers to", "status 500: ", "status 503: ", "an error of "]
    assert tally.total == 5
    assert tally.count([503]) == 1
    assert fuzzing.report.table(tally).split()[-9:] == ["all", *"5112", "200:1", "418:1", "500:1", "503:1"]
    assert fuzzing.report.described(tally.faults)[1].startswith("one: status 500")
    many = plan._replace(answers=3)
    tally.end(many, [good, good._replace(headers={**good.headers, "connection": "close"})], bodiless=False)
    assert len(tally.faults) == 4, "the last answer said that it is the last"


def test_marks_are_missed_by_growth_and_by_complaints(fuzzing: ModuleType, tmp_path: Path) -> None:
    class Server:
        samples: tuple[Any, ...] = ()
        complaints: tuple[str, ...] = ()

    use, server = fuzzing.watched_server.Use(100_000, 50_000, 40), Server()
    tally: Any = fuzzing.tally.Tally()

    def holds(after: Any, status: int | None = 0) -> list[bool]:
        return [mark.holds for mark in fuzzing.report.marks(server, tally, use, after, status)]

    assert all(holds(use._replace(resident=104_000)))
    assert sum(holds(use._replace(resident=106_000))) == 5
    assert sum(holds(use._replace(descriptors=41))) == 5
    assert sum(holds(use, status=-11)) == 5
    server.complaints = ("Traceback (most recent call last):",)
    assert "MISSED" in fuzzing.report.judged(fuzzing.report.marks(server, tally, use, use, 0))


# -- a run -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_some_hundred_requests(shop_bundle: Path, tmp_path: Path) -> None:
    """So short a run says nothing of memory, nor of the descriptors of the second server, which is hardly warm."""
    pytest.importorskip("schemathesis", reason="pip install schemathesis")
    words = [sys.executable, str(SCRIPTS / "fuzz_server.py"), "--bundle", str(shop_bundle), "--folder", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words += ["--num_requests", "1500", "--seed", "3"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=260, env=environment, check=False)
    missed = re.findall(r"^MISSED(?!.*(?:memory|descriptors)).*", done.stdout, re.MULTILINE)
    assert not missed, done.stdout + done.stderr
    assert "schemathesis, negative" in done.stdout or "schemathesis, coverage" in done.stdout
    assert "ok      descriptors" in done.stdout.partition("tight limits")[0], done.stdout + done.stderr
    assert json.dumps(done.returncode) in "01"
