"""Real server processes, and clients that keep them busy."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from helpers.http_wire import wait_until
from helpers.paths import ROOT

STARTS_S, ENDS_S = 60.0, 30.0
JSON = {"Content-Type": "application/json"}


class Served:
    """A running command ``serve``."""

    def __init__(self, log: Path, *options: str, token: str | None = None) -> None:
        self.log = log
        words = [sys.executable, "-m", "dssm_lightning", "serve", "--port", "0", *options]
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | ({"DSSM_API_TOKEN": token} if token is not None else {})
        with log.open("wb") as file:
            line = ["timeout", "-k", "5", "170", *words]
            self.process = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=file, stderr=file)
        wait_until(lambda: "the page: " in self.said or self.process.poll() is not None, STARTS_S)
        assert self.process.poll() is None, self.said
        found = re.search(r"the page: http://[\d.]+:(\d+)/", self.said)
        assert found is not None
        self.port = int(found[1])
        if "--workers" in options:
            wait_until(lambda: " workers\n" in self.said, STARTS_S)
        wait_until(self.is_up, STARTS_S)
        self.pid = children(self.process.pid)[0]

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def workers(self) -> list[int]:
        """The processes that answer, if there are several."""
        return [each for each in children(self.pid) if b"spawn_main" in command_line(each)]

    def is_up(self) -> bool:
        try:
            return self.get("/health")[0] == 200
        except OSError:
            return False

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        return self._ask("GET", path, None, headers)

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        return self._ask("POST", path, json.dumps(body), JSON | headers)

    def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ENDS_S)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read()
        return response.status, json.loads(data) if data.startswith((b"{", b"[")) else data.decode()

    def tell(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal to the command, and return its status."""
        self.tell(number)
        return self.process.wait(ENDS_S)

    def close(self) -> None:
        if self.process.poll() is None:
            for each in [*self.workers, self.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            self.process.wait(ENDS_S)


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == process:
                found.append(int(path.parent.name))
    return sorted(found)


def command_line(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


class Clients:
    """Clients that ask without a pause, each on its connection, until there is no server, or until `stop` is called."""

    def __init__(self, port: int, body: Any, count: int = 6, keep_alive: bool = True) -> None:
        self.answered, self.failures, self.answers = 0, [], set[bytes]()
        self.port, self.body, self.keep_alive = port, json.dumps(body), keep_alive
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._ends.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ENDS_S)
            try:
                connection.connect()
            except ConnectionRefusedError:
                return
            with contextlib.closing(connection):
                self._use(connection)

    def _use(self, connection: http.client.HTTPConnection) -> None:
        while connection.sock is not None and not self._ends.is_set():
            try:
                headers = JSON if self.keep_alive else JSON | {"Connection": "close"}
                connection.request("POST", "/search", self.body, headers)
                response = connection.getresponse()
                self.answers.add(response.read())
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                return
            if response.status != 200:
                self.failures.append(str(response.status))
            self.answered += 1

    def until(self, answered: int) -> None:
        """Wait until some more requests were answered."""
        goal = self.answered + answered
        wait_until(lambda: self.answered >= goal or bool(self.failures), ENDS_S)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(ENDS_S)
            assert not thread.is_alive()

    def stop(self) -> None:
        self._ends.set()
        self.join()


@contextlib.contextmanager
def served(log: Path, *options: str, token: str | None = None) -> Iterator[Served]:
    """A server for the time of a block."""
    made = Served(log, *options, token=token)
    try:
        yield made
    finally:
        made.close()


def seconds_of(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began
