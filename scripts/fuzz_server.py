"""Send a server requests that no client would send, and look at what it says, its memory, its descriptors and its log.

    python scripts/fuzz_server.py                                   # 100,000 requests, some minutes
    python scripts/fuzz_server.py --num_requests 2000 --seed 7 --bundle runs/emoji/version_0/bundle

It starts ``serve`` with a bundle (by default two, of untrained models), and sends it:

- requests that schemathesis makes from ``/openapi.json``: of its coverage phase, allowed ones, and others. It makes
  about a hundred a second, so they are a tenth of all, each sent once. The others are made from them:
- bodies with changed bytes, examples of the document with odd values, odd addresses and headers, on connections that
  are kept: each gets exactly one answer;
- bytes on connections of their own: changed anywhere, cut anywhere, slow, pipelined, oversized, badly chunked, of
  ambiguous length, of other protocols, and connections that are dropped.

A tenth of the requests come first as a warm-up, and are not counted. Then a second server with tight limits and a
token gets a twentieth more, reloads among them: 503 (too many connections) and 504 (time) are expected there, and
nowhere else.

The end is a table, and status 1 if a mark is missed: no 5xx, no request without an answer, nothing but HTTP, no error
in the log, an end with status 0, memory at most 5 % above that after the warm-up (VmRSS; without mapped files where
bundles are opened anew), no more descriptors. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fuzzing.clients import Clients
from fuzzing.mix import Mix, make_corpus
from fuzzing.odd_values import examples
from fuzzing.plans import Plan
from fuzzing.report import Mark, described, judged, marks, table
from fuzzing.tally import Tally
from fuzzing.watched_server import WatchedServer

NAMING = ("/search", "/similar", "/candidates", "/encode", "/score")
"""Addresses whose bodies name a bundle."""
TOKEN, FEW_CLIENTS, MANY_CLIENTS = "fuzz", 6, 24
SHORT = ("--header_timeout=3", "--body_timeout=4", "--keep_alive=8")
TIGHT = (
    *("--header_timeout=0.5", "--body_timeout=0.5", "--keep_alive=2", "--timeout=0.02", "--max_connections=20"),
    *("--max_queue=40", "--max_body=20000", "--max_header_bytes=4096", "--max_batch=16"),
)


def run(bundles: Sequence[Path], num_requests: int, seed: int, folder: Path) -> list[Mark]:
    """Fuzz a server, and one with tight limits; print what was found, and return what must hold.

    Args:
        bundles: to serve.
        num_requests: after the warm-up.
        seed: of all draws.
        folder: for the logs.
    """
    with WatchedServer(bundles, folder / "server.log", SHORT) as server:
        document, info = (_read(server.port, path) for path in ("/openapi.json", "/info"))
        bodies = examples(document)
        for bundle, facts in list(zip(bundles, info["bundles"], strict=True))[1:]:
            bodies += _bodies_of(bundle, facts["name"], folder)
        began = time.monotonic()
        corpus = make_corpus(document, num_requests // 10, seed)
        print(f"schemathesis made {len(corpus):,} requests in {time.monotonic() - began:.0f} s", flush=True)
        mix = Mix(document, info, bodies, corpus)
        asyncio.run(Clients(server.port, Tally()).run(mix.warming_plans(num_requests // 10, seed + 1)))
        began, before, tally = time.monotonic(), server.settled(), Tally()
        asyncio.run(Clients(server.port, tally).run(mix.all_plans(num_requests, seed + 2)))
        after = server.settled(before.descriptors)
        found = marks(server, tally, before, after, server.stop())
        print(f"{tally.total:,} requests in {time.monotonic() - began:.0f} s, after the warm-up")
        _show(server, tally, found)
    mix = Mix(document, info, bodies, corpus, {"Authorization": f"Bearer {TOKEN}"}, reloads=0.01)
    return found + _tight(bundles, mix, num_requests // 20, seed, folder)


def _bodies_of(bundle: Path, name: str, folder: Path) -> list[tuple[str, Any]]:
    """Return examples for a bundle that is not the first one of its server."""
    with WatchedServer([bundle], folder / "examples.log") as server:
        found = examples(_read(server.port, "/openapi.json"))
    return [(path, body | {"bundle": name}) for path, body in found if path in NAMING]


def _tight(bundles: Sequence[Path], mix: Mix, num_requests: int, seed: int, folder: Path) -> list[Mark]:
    """Fuzz a server whose limits are reached all the time."""
    with WatchedServer(bundles, folder / "tight.log", TIGHT, TOKEN) as server:

        def fuzz(plans: Iterable[Plan], clients: int) -> Tally:
            tally = Tally(expected=(503, 504), may_close=True)
            asyncio.run(Clients(server.port, tally, clients).run(plans))
            return tally

        fuzz(mix.warming_plans(num_requests, seed + 3), FEW_CLIENTS)
        before = server.settled()
        tally = fuzz(mix.plans(num_requests, seed + 4), MANY_CLIENTS)
        after = server.settled(before.descriptors)
        found = marks(server, tally, before, after, server.stop(), reloads=True)
        many, late = tally.count([503]), tally.count([504])
        print(f"\n{tally.total:,} requests to a server with tight limits: 503 {many:,} times, 504 {late:,} times")
        print(f"{tally.unanswered:,} requests found their connection closed, one too many")
        _show(server, tally, found)
    return found


def _show(server: WatchedServer, tally: Tally, found: list[Mark]) -> None:
    print(f"\n{table(tally)}\n\n{judged(found)}", flush=True)
    for line in [*described(tally.faults), *server.complaints[:20]]:
        print(f"  {line}")


def _read(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return json.load(answer)


def main() -> int:
    """Run the command; return 1 if a mark is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, action="append", help="may be repeated; by default two are made")
    parser.add_argument("--num_requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for the logs; by default they are removed")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # not without ending what was started
    with tempfile.TemporaryDirectory(prefix="dssm-fuzz-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bundles = options.bundle
        if not bundles:
            from fuzzing.bundles import make_bundles

            bundles = make_bundles(Path(temporary))
        found = run([bundle.resolve() for bundle in bundles], options.num_requests, options.seed, folder)
    return int(not all(mark.holds for mark in found))


if __name__ == "__main__":
    sys.exit(main())
