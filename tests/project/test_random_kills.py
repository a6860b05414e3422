"""scripts/random_kills.py: commands that are killed at random moments end as undisturbed ones do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from helpers.paths import SCRIPTS


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        import random_kills

        yield random_kills
        del sys.modules["random_kills"]


def test_a_digest_sees_every_bit_and_no_order_of_keys(script: ModuleType) -> None:
    tensor = torch.ones(3)
    one, same = {"a": [tensor, 1.5], "b": None}, {"b": None, "a": [tensor.clone(), 1.5]}
    other = {"b": None, "a": [torch.nextafter(tensor, tensor + 1), 1.5]}
    assert script.digest(one) == script.digest(same) != script.digest(other)
    assert script.digest(tensor) != script.digest(tensor.double())


def test_the_table_counts_what_was_done(script: ModuleType, tmp_path: Path) -> None:
    def kill(signal: str, ended: bool = True) -> dict[str, Any]:
        return {"signal": signal, "ended": ended}

    done = [
        {"kind": "fit", "number": 0, "kills": [kill("SIGKILL"), kill("SIGINT")], "differing": []},
        {"kind": "mine", "number": 0, "kills": [kill("SIGTERM", ended=False)], "differing": ["out.parquet"]},
    ]
    rows = [line.split() for line in script.table(done).splitlines()]
    assert rows[0] == ["kind", "trials", "kills", "KILL", "TERM", "INT", "differing", "hung"]
    assert rows[1] == ["fit", "1", "2", "1", "0", "1", "0", "0"]
    assert rows[-1] == ["all", "2", "3", "1", "1", "1", "1", "1"]
    (tmp_path / "trials-7.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in done) + '{"kind": "fi')
    assert script.run(tmp_path, kills=3, seed=7, kinds=["fit", "mine"]) == done  # continued: there are enough


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of a session in /proc")
def test_six_kills_change_nothing(script: ModuleType, tmp_path: Path) -> None:
    done = script.run(tmp_path, kills=6, seed=3, kinds=["fit", "mine", "prepare"])
    assert sum(len(each["kills"]) for each in done) >= 6
    assert [each["differing"] for each in done] == [[] for _ in done]
    assert all(kill["ended"] for each in done for kill in each["kills"])
