"""The page about serving tells the truth: its requests are sent to a server, and the answers look as it says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.paths import ROOT
from helpers.served import Served, served

from dssm_lightning.api import load_data, load_untrained, make_retriever
from dssm_lightning.export import RunFacts, export_bundle

PAGE = ROOT / "docs" / "how-to" / "serving.md"
PAIR = re.compile(r"<!-- run -->\n```bash\n(.*?)```\n\n<!-- answer -->\n```json\n(.*?)```", re.DOTALL)
EXAMPLES = PAIR.findall(PAGE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A bundle of the emoji config, whose weights are not trained."""
    folder, config = tmp_path_factory.mktemp("docs"), [ROOT / "configs" / "emoji.yaml"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        data, model = load_data(config), load_untrained(config)
        model.build(data.data.schemas)
        retriever = make_retriever(model.eval(), data)
        export_bundle(model, data, retriever, folder / "emoji", RunFacts("", {}, {}, {}, {}))
    with served(folder / "log", "--bundle", str(folder / "emoji")) as made:
        yield made


def all_json(text: str) -> list[Any]:
    """The JSON values that stand one after another in a text."""
    found, place, decoder = [], 0, json.JSONDecoder()
    while place < len(text.rstrip()):
        value, place = decoder.raw_decode(text, place)
        found.append(value)
        place += len(text[place:]) - len(text[place:].lstrip())
    return found


def shape(value: Any) -> Any:
    """The fields and kinds of a value; of a list, those of its first entry."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return float if isinstance(value, float) else type(value)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6
    addresses = set(re.findall(r":8000(/[\w/]+)", " ".join(commands for commands, _ in EXAMPLES)))
    wanted = {
        "/search",
        "/similar",
        "/score",
        "/encode",
        "/candidates",
        "/embed",
        "/v1/embeddings",
        "/health",
        "/ready",
    }
    assert addresses == wanted


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="processes are looked up in /proc")
@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="the examples need curl")
@pytest.mark.parametrize(("commands", "answers"), EXAMPLES, ids=lambda text: text.partition(":8000/")[2].split(" ")[0])
def test_an_example_is_answered_as_it_says(server: Served, commands: str, answers: str) -> None:
    script = commands.replace(":8000/", f":{server.port}/").replace(
        "curl -s", "curl -sS --fail-with-body --max-time 20"
    )
    line = ["timeout", "-k", "5", "60", "bash", "-ec", script]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=70)
    assert done.returncode == 0, done.stdout + done.stderr
    found, said = all_json(done.stdout), all_json(answers)
    assert [shape(each) for each in found] == [shape(each) for each in said]
