"""Answers over HTTP as ``bench.py`` times them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.request import Request, urlopen

from benchmarks.bundles import export_untrained
from benchmarks.report import Row, Section

MANY, FEW = 64, 8
"""Connections."""


class Load(NamedTuple):
    """What a load found."""

    per_second: float
    """Requests in a second of the server's processor time."""
    slowest: float
    """Milliseconds within which 99 of 100 requests were answered."""


def serving(config: str = "configs/emoji.yaml", num_requests: int = 6000, repeats: int = 5) -> Section:
    """`serve` with a bundle of `configs/emoji.yaml`, with weights that are not trained, which costs the same.

    Each request asks for ten answers to another text over a connection that is kept. The other side is a handler in
    the same server, behind the same checks, that reads the request and returns one answer of the same size: its rate
    is the limit of the HTTP part. The processor time is that of the server; the load comes from another process.
    """
    with tempfile.TemporaryDirectory() as folder:
        _, queries, _ = export_untrained(config, Path(folder, "bundle"), 256)
        bodies = [json.dumps({"query": query, "k": 10}).encode() for query in queries]
        with _server(Path(folder, "bundle"), bodies[0]) as (port, process):
            sides = [_requests("/search", port, bodies), _requests("/constant", port, bodies)]
            many = [[_load(port, process, side, MANY, num_requests) for side in sides] for _ in range(repeats + 1)][1:]
            few = [[_load(port, process, side, FEW, num_requests // 4) for side in sides] for _ in range(repeats)]
    rates = [[turn[side].per_second for turn in many] for side in range(2)]
    slowest = [[turn[side].slowest for turn in few] for side in range(2)]
    rows = [
        Row(
            f"`/search` at {MANY} connections, a constant answer",
            "requests/s of CPU",
            *rates,
            limit="the constant answer: 1",
        ),
        Row(f"99 of 100 answers at {FEW} connections come within", "ms", *slowest, limit="the constant answer: 1"),
    ]
    own = 1e3 / median(rates[0])
    return Section("Answers over HTTP", rows, [f"A search takes {own:.2f} ms of processor time over all processes."])


@contextmanager
def _server(bundle: Path, body: bytes) -> Iterator[tuple[int, int]]:
    """Yield the port and the id of a server whose constant answer is as long as that to ``body``."""
    answer = bundle.with_name("answer.json")
    answer.write_bytes(b"{}")
    for _ in range(2):  # the first one tells what an answer looks like
        words = [sys.executable, str(Path(__file__).with_name("served_process.py")), str(bundle), str(answer)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            first = answer.read_bytes() == b"{}"
            if not first:
                yield port, process.pid
                return
            answer.write_bytes(_answer(port, body))
        finally:
            process.terminate()
            process.wait(60)


def _answer(port: int, body: bytes) -> bytes:
    request = Request(f"http://127.0.0.1:{port}/search", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as response:
        content: bytes = response.read()
    assert len(json.loads(content)["hits"]) == 10
    return content


def _requests(path: str, port: int, bodies: Sequence[bytes]) -> list[bytes]:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: "
    return [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]


def _load(port: int, process: int, requests: Sequence[bytes], connections: int, count: int) -> Load:
    before = _processor_seconds(process)
    seconds = sorted(asyncio.run(_send_all(port, requests, connections, count)))
    return Load(count / (_processor_seconds(process) - before), 1e3 * seconds[int(0.99 * len(seconds))])


async def _send_all(port: int, requests: Sequence[bytes], connections: int, count: int) -> list[float]:
    numbers, seconds = iter(range(count)), []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            start = time.perf_counter()
            writer.write(requests[number % len(requests)])
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200"), head
            await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
            seconds.append(time.perf_counter() - start)
        writer.close()
        await writer.wait_closed()

    async with asyncio.timeout(300):
        await asyncio.gather(*(client() for _ in range(connections)))
    return seconds


def _processor_seconds(process: int) -> float:
    """Return the processor time of a process; Linux tells it."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
