"""The command ``serve``: its options, and what it refuses before it serves."""

from __future__ import annotations

import re
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from helpers.bundles import change_manifest, copied

from dssm_lightning.cli.commands.registry import field_texts
from dssm_lightning.cli.main import main
from dssm_lightning.serving import server
from dssm_lightning.serving.settings import Limits, ServingSettings
from dssm_lightning.utils.errors import UserError


@pytest.fixture
def served_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ServingSettings]:
    """Runs the command up to the point where it would serve, and returns with which settings."""
    found: list[ServingSettings] = []
    monkeypatch.setattr(server, "serve", found.append)
    monkeypatch.delenv("DSSM_API_TOKEN", raising=False)

    def run(*words: str) -> ServingSettings:
        main(["serve", *words])
        return found.pop()

    return run


def test_options_become_settings(served_with: Callable[..., ServingSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSSM_API_TOKEN", "t0ken")
    words = ["--bundle", "a/emoji", "--bundle", "other=s3://models/tldr", "--host", "0.0.0.0", "--port", "0"]
    words += [
        "--workers",
        "3",
        "--threads",
        "2",
        "--cors_origin",
        "https://a.example",
        "--cors_origin=https://b.example",
    ]
    words += [
        "--allowed_host",
        "proxy.example",
        "--access_log",
        "--verify=false",
        "--max_queue",
        "7",
        "--timeout",
        "2.5",
    ]
    found = served_with(*words)
    assert [tuple(bundle) for bundle in found.bundles] == [("emoji", "a/emoji"), ("other", "s3://models/tldr")]
    assert (found.host, found.port, found.workers, found.threads) == ("0.0.0.0", 0, 3, 2)
    assert found.cors_origins == ("https://a.example", "https://b.example")
    assert found.allowed_hosts == ("proxy.example",)
    assert (found.access_log, found.verify, found.token) == (True, False, "t0ken")
    assert found.limits == Limits(max_queue=7, timeout=2.5)
    assert "t0ken" not in repr(found)


def test_the_defaults_are_those_of_the_settings(served_with: Callable[..., ServingSettings]) -> None:
    found = served_with("--bundle", "emoji")
    assert found == ServingSettings(found.bundles)


def test_a_name_like_a_number_stays_a_name(served_with: Callable[..., ServingSettings]) -> None:
    assert served_with("--bundle", "007").bundles[0].place == "007"


def test_every_limit_is_an_option_with_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for field in fields(Limits):
        assert re.search(rf"--{field.name} {field.name.upper()} \w+.*?default: {field.default}\)", shown), field.name
    assert "queries that wait; else status 429" in shown
    assert set(field_texts(Limits)) == {field.name for field in fields(Limits)}


@pytest.mark.parametrize("field", [field.name for field in fields(Limits)])
@pytest.mark.parametrize("value", ["0", "-1"])
def test_a_limit_that_is_none_is_refused(field: str, value: str) -> None:
    with pytest.raises(UserError, match=rf"--{field} is {value}"):
        main(["serve", "--bundle", "emoji", f"--{field}={value}"])


REFUSED: dict[str, tuple[list[str], str]] = {
    "no bundle": ([], "--bundle"),
    "no such folder": (["--bundle", "nowhere"], "nowhere"),
    "two of a name": (["--bundle", "a=x", "--bundle", "a=y"], "'a'"),
    "a name that no address can carry": (["--bundle", "a b=x"], "a b=x"),
    "port": (["--bundle", "x", "--port", "70000"], "70000"),
    "workers": (["--bundle", "x", "--workers", "0"], "--workers is 0"),
    "threads": (["--bundle", "x", "--threads", "-1"], "--threads is -1"),
}


@pytest.mark.parametrize(("words", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DSSM_API_TOKEN", raising=False)
    with pytest.raises(UserError, match=message):
        main(["serve", *words, *([] if "--port" in words else ["--port", "0"])])


@pytest.mark.parametrize("token", ["", " ", "two words", "schlüssel"])
def test_a_token_that_is_none(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSSM_API_TOKEN", token)
    with pytest.raises(UserError, match="DSSM_API_TOKEN"):
        main(["serve", "--bundle", "emoji"])


def test_a_port_in_use(shop_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DSSM_API_TOKEN", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"--port {port} is in use.*--port \d+"):
            main(["serve", "--bundle", str(shop_bundle), "--port", str(port)])


def test_what_needs_a_package_names_the_line_that_installs_it(
    shop_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DSSM_API_TOKEN", raising=False)
    for module in [name for name in sys.modules if name.startswith("dssm_lightning.serving.server")]:
        monkeypatch.delitem(sys.modules, module)
    import dssm_lightning.serving as room

    monkeypatch.delattr(room, "server", raising=False)

    class Absent:
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            if name == "dssm_lightning.serving.server":
                raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")

    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(UserError, match=r"uvicorn.*pip install 'dssm-lightning\[serve\]'"):
        main(["serve", "--bundle", str(shop_bundle), "--port", "0"])


# -- bundles that cannot be served -------------------------------------------------------------------------------------


def without(name: str) -> Callable[[Path], None]:
    return lambda bundle: (bundle / name).unlink()


def of_a_newer_format(bundle: Path) -> None:
    change_manifest(bundle, lambda values: values.update(format=values["format"] + 1))


def damaged(bundle: Path) -> None:
    with (bundle / "query.onnx").open("r+b") as file:
        file.seek(20)
        file.write(b"damage")


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "no manifest": (without("manifest.json"), r"manifest\.json"),
    "no program of queries": (without("query.onnx"), r"query\.onnx"),
    "no embeddings": (without("corpus/embeddings.safetensors"), "embeddings"),
    "no rows": (without("corpus/rows.jsonl"), r"rows\.jsonl"),
    "no schema": (without("schema.json"), r"schema\.json"),
    "a newer format": (of_a_newer_format, "format"),
    "a damaged program": (damaged, r"query\.onnx"),
    "a further file": (lambda bundle: shutil.copy(bundle / "schema.json", bundle / "other.json"), r"other\.json"),
}


@pytest.mark.parametrize(("damage", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_bundle_that_cannot_be_served_says_what_it_lacks(
    shop_bundle: Path,
    tmp_path: Path,
    damage: Callable[[Path], object],
    message: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before an address is announced."""
    monkeypatch.delenv("DSSM_API_TOKEN", raising=False)
    bundle = copied(shop_bundle, tmp_path / "shop")
    damage(bundle)
    with caplog.at_level("INFO", "dssm_lightning"), pytest.raises(UserError, match=message) as error:
        main(["serve", "--bundle", str(bundle), "--port", "0"])
    assert len(str(error.value).splitlines()) == 1
    assert "http://" not in caplog.text
