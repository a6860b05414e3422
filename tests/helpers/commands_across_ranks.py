"""Runs command lines (a JSON list of lists) one after the other in two ranks, which share one start of Python."""

from __future__ import annotations

import json
import os
import socket
import sys

from helpers.ranks import fork

from dssm_lightning.cli.main import main


def work(rank: int, world_size: int, lines: list[list[str]], ports: list[str]) -> None:
    """One rank: as if a launcher had started it for each line, at a port of its own, because a test ends the group."""
    for line, port in zip(lines, ports, strict=True):
        os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_PORT": port}
        main([*line, "--trainer.strategy=ddp", f"--trainer.devices={world_size}", "--trainer.accelerator=cpu"])


def free_ports(count: int) -> list[str]:
    """Return ports on which nothing listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


if __name__ == "__main__":
    commands = json.loads(sys.argv[1])
    fork(work, 2, commands, free_ports(len(commands)))
