"""A server as a process, with its memory, its descriptors and its log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
STARTS_S, ENDS_S = 120.0, 60.0
SETTLES_S = 4.0, 60.0
"""Seconds after which connections that clients have left are closed, and at most, since what they asked is computed."""


class Use(NamedTuple):
    """What a process uses."""

    resident: int
    """KiB."""
    anonymous: int
    """KiB of it that are no mapped files."""
    descriptors: int


class WatchedServer:
    """A running command ``serve`` on a free port of this machine.

    Args:
        bundles: to serve.
        log: file for what it says.
        options: of the command.
        token: that clients must send.
    """

    def __init__(
        self, bundles: Sequence[Path], log: Path, options: Sequence[str] = (), token: str | None = None
    ) -> None:
        self._log = log
        words = [sys.executable, "-m", "dssm_lightning", "serve", "--port", "0", *options]
        for bundle in bundles:
            words += ["--bundle", str(bundle)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        if token is not None:
            environment["DSSM_API_TOKEN"] = token
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                words, cwd=ROOT, env=environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL
            )
        self.samples: list[Use] = []
        self._ends = threading.Event()
        try:
            self.port = self._announced_port()
        except BaseException:
            self.kill()
            raise
        threading.Thread(target=self._watch, daemon=True).start()

    def _announced_port(self) -> int:
        end = time.monotonic() + STARTS_S
        while time.monotonic() < end and self.process.poll() is None:
            found = re.search(r"the page: http://[\d.]+:(\d+)/", self.said)
            if found is not None:
                return int(found[1])
            time.sleep(0.05)
        raise RuntimeError(f"the server does not start: {self.said[-2_000:]}")

    @property
    def said(self) -> str:
        """All that the server has logged."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def complaints(self) -> list[str]:
        """Lines of the log that speak of an error of the server itself."""
        words = ("Traceback", "Error:", "Exception", "never retrieved", "never awaited", "failed", "Fatal")
        return [line for line in self.said.splitlines() if any(word in line for word in words)]

    def use(self) -> Use:
        """Return what the process uses now."""
        place = Path("/proc", str(self.process.pid))
        status = (place / "status").read_text(encoding="ascii", errors="replace")
        found = {name: int(value) for name, value in re.findall(r"^(VmRSS|RssAnon):\s+(\d+) kB", status, re.MULTILINE)}
        return Use(found["VmRSS"], found["RssAnon"], len(os.listdir(place / "fd")))

    def settled(self, descriptors: int | None = None) -> Use:
        """Return what the process uses once it has answered, and forgotten, the clients that have left.

        Args:
            descriptors: the most that are allowed; None: the number after some seconds without a change.
        """
        end, before, now = time.monotonic() + SETTLES_S[1], -1, self.use()
        while time.monotonic() < end and (now.descriptors != before or now.descriptors > (descriptors or before)):
            time.sleep(SETTLES_S[0])
            before, now = now.descriptors, self.use()
        return now

    def _watch(self) -> None:
        while not self._ends.wait(0.5):
            try:
                self.samples.append(self.use())
            except (OSError, KeyError):  # it has ended
                return

    def stop(self) -> int | None:
        """Tell the server to end, and return its status; None: it did not."""
        self._ends.set()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def __enter__(self) -> WatchedServer:
        """Return the server."""
        return self

    def __exit__(self, *error: object) -> None:
        """End the server."""
        self.kill()

    def kill(self) -> None:
        """End the server, whatever it does."""
        self._ends.set()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
