"""The server as a process: what it says at its start, its signals, and what happens under load."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.bundles import copied
from helpers.http_wire import wait_until
from helpers.served import ENDS_S, Clients, served

from dssm_lightning.serving import listening
from dssm_lightning.serving.listening import admit_no_more, allow_connections, announce, listen
from dssm_lightning.serving.outputs import LINGER_S
from dssm_lightning.serving.server import serve
from dssm_lightning.serving.settings import ServingSettings, name_bundles
from dssm_lightning.utils.errors import UserError

LINUX = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="processes are looked up in /proc")
QUERY = {"query": "red shoes", "k": 3}
TIMES = [pytest.param(2, id="some times"), pytest.param(10, id="ten times", marks=pytest.mark.slow)]


# -- listening ---------------------------------------------------------------------------------------------------------


def test_a_port_in_use_names_the_next_free_one() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"--port {port} is in use.*--port \d+") as error:
            listen("127.0.0.1", port)
        free = int(str(error.value).rpartition(" ")[2])
        listen("127.0.0.1", free).close()


def test_a_port_is_taken_before_a_bundle_is_opened() -> None:
    """A second server would otherwise find out only after it has opened its bundles."""
    settings = ServingSettings(name_bundles(["no such folder"]), port=0)
    with pytest.raises(UserError, match="no such folder"):
        serve(settings)
    with listen("127.0.0.1", 0) as taken:
        settings = ServingSettings(name_bundles(["no such folder"]), port=taken.getsockname()[1])
        with pytest.raises(UserError, match="in use"):
            serve(settings)


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid", "", "a b"])
def test_a_host_that_is_not_this_machine(host: str) -> None:
    with pytest.raises(UserError, match=f"--host.*{host}"):
        listen(host, 0)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may listen anywhere")
def test_a_port_that_needs_privileges() -> None:
    with pytest.raises(UserError, match="--port is 80"):
        listen("127.0.0.1", 80)


def said_of(caplog: pytest.LogCaptureFixture, **settings: Any) -> str:
    caplog.clear()
    with caplog.at_level("INFO", "dssm_lightning"), listen("127.0.0.1", 0) as listener:
        announce(ServingSettings(name_bundles(["emoji"]), **settings), listener, ["emoji (3 candidates)"])
        return caplog.text.replace(str(listener.getsockname()[1]), "PORT")


def test_what_is_exposed_is_said(caplog: pytest.LogCaptureFixture) -> None:
    said = said_of(caplog)
    assert "emoji (3 candidates)" in said
    assert "http://127.0.0.1:PORT/" in said
    assert "http://127.0.0.1:PORT/docs" in said
    assert "only this machine" in said
    assert "WARNING:" not in said
    said = said_of(caplog, host="0.0.0.0", token="secret")
    assert "every machine" in said
    assert "not encrypted" in said
    assert "secret" not in said
    assert "WARNING:" not in said


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2"])
def test_without_a_token_an_open_address_is_a_loud_warning(caplog: pytest.LogCaptureFixture, host: str) -> None:
    said = said_of(caplog, host=host)
    assert "WARNING:" in said
    assert "DSSM_API_TOKEN" in said
    assert any(record.levelname == "WARNING" for record in caplog.records)


def test_too_few_open_files_are_a_warning(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, values: limits.append(values))
    allow_connections(1_024)
    assert limits == [(1_024 + 128 + listening._OTHER_FILES, 4096)]
    assert not caplog.records
    allow_connections(10_000)
    assert limits[-1] == (4096, 4096)
    assert "--max_connections 10000" in caplog.text


@LINUX
def test_connections_that_have_begun_are_accepted_and_no_others() -> None:
    with listen("127.0.0.1", 0) as listener, contextlib.closing(socket.socket()) as late:
        with socket.create_connection(listener.getsockname(), timeout=10):
            admit_no_more(listener)
            listener.accept()[0].close()
        late.settimeout(0.3)
        with pytest.raises(TimeoutError):
            late.connect(listener.getsockname())
        with pytest.raises(BlockingIOError):
            listener.accept()


# -- a process ---------------------------------------------------------------------------------------------------------


@LINUX
def test_a_server_from_its_start_to_its_end(shop_bundle: Path, tmp_path: Path) -> None:
    with served(tmp_path / "log", "--bundle", f"shop={shop_bundle}") as server:
        assert "serving shop (30 candidates)" in server.said
        status, answer = server.post("/search", QUERY)
        assert (status, len(answer["hits"]), answer["bundle"]) == (200, 3, "shop")
        assert server.get("/ready")[0] == 200
        assert server.post("/reload", {})[0] == 403
        assert server.end(signal.SIGINT) == 0
        assert "Traceback" not in server.said


@LINUX
def test_a_second_ctrl_c_ends_at_once(shop_bundle: Path, tmp_path: Path) -> None:
    with served(tmp_path / "log", "--bundle", str(shop_bundle)) as server:
        held = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        held.sendall(b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        held.sendall(b"Content-Length: 9\r\n\r\n")
        server.tell(signal.SIGINT)
        wait_until(lambda: not server.is_up())
        assert server.process.poll() is None  # it waits for the body
        assert server.end(signal.SIGINT) == 130
        held.close()


@LINUX
@pytest.mark.timeout(900)  # on a busy machine a start takes ten seconds
@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("keep_alive", [True, False], ids=["kept connections", "new connections"])
def test_no_request_is_lost_when_a_busy_server_ends(
    shop_bundle: Path, tmp_path: Path, times: int, keep_alive: bool
) -> None:
    for number in range(times):
        with served(tmp_path / f"log{number}", "--bundle", str(shop_bundle)) as server:
            clients = Clients(server.port, QUERY, keep_alive=keep_alive)
            clients.until(50)
            assert server.end() == 0
            clients.join()
            assert clients.failures == []
            assert len(clients.answers) == 1


@LINUX
@pytest.mark.parametrize("times", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_no_request_is_lost_when_a_busy_server_reloads(shop_bundle: Path, tmp_path: Path, times: int) -> None:
    with served(tmp_path / "log", "--bundle", str(shop_bundle)) as server:
        clients = Clients(server.port, QUERY)
        clients.until(20)
        files = 0
        for number in range(1, times + 1):
            before = server.said.count("reloaded")
            server.tell(signal.SIGHUP)
            wait_until(lambda: server.said.count("reloaded") > before, ENDS_S)  # noqa: B023  # called in this turn
            clients.until(5)
            if number == 3:
                files = len(os.listdir(f"/proc/{server.pid}/fd"))
        clients.stop()
        assert clients.failures == []
        assert len(clients.answers) == 1
        wait_until(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) <= files)
        assert server.end() == 0


@LINUX
def test_a_broken_bundle_is_not_taken(shop_bundle: Path, tmp_path: Path) -> None:
    bundle = copied(shop_bundle, tmp_path / "shop")
    with served(tmp_path / "log", "--bundle", str(bundle), token="t0ken") as server:
        token = {"Authorization": "Bearer t0ken"}
        before = server.post("/search", QUERY, **token)
        bundle.rename(tmp_path / "away")
        shutil.copytree(tmp_path / "away", bundle)
        (bundle / "query.onnx").unlink()
        server.tell(signal.SIGHUP)
        wait_until(lambda: "reload is refused" in server.said)
        assert "query.onnx" in server.said
        status, answer = server.post("/reload", {}, **token)
        assert status == 409
        assert "query.onnx" in answer["error"]
        assert server.post("/search", QUERY, **token) == before
        shutil.rmtree(bundle)
        (tmp_path / "away").rename(bundle)
        assert server.post("/reload", {}, **token)[0] == 200
        assert server.post("/reload", {})[0] == 401
        assert server.end() == 0


POST = b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
RAW = [
    *(b"", b"G", b"garbage\r\n\r\n", b"\x16\x03\x01" * 50, b"\0" * 300_000, b"GET /" + b"x" * 100_000),
    b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50,
    *(POST + b"Content-Length: 100\r\n\r\n{", CHUNKED + b"zz\r\n", CHUNKED + b"1;" + b"x" * 200_000),
]


@LINUX
@pytest.mark.parametrize("turns", [30, pytest.param(1_000, marks=pytest.mark.slow)])
def test_memory_and_descriptors_stay_flat_under_raw_bytes(shop_bundle: Path, tmp_path: Path, turns: int) -> None:
    with served(tmp_path / "log", "--bundle", str(shop_bundle)) as server:

        def abuse(times: int) -> None:
            for turn in range(times):
                for number, data in enumerate(RAW):
                    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 10) as wire:
                        wire.sendall(data)
                        if (turn + number) % 3 == 0:
                            wire.shutdown(socket.SHUT_WR)
                            wire.recv(1 << 16)
                assert server.post("/search", QUERY)[0] == 200

        def resident() -> int:
            found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8"))
            assert found is not None
            return int(found[1])

        def files() -> int:
            return len(os.listdir(f"/proc/{server.pid}/fd"))

        abuse(turns)
        before = resident()
        time.sleep(LINGER_S + 0.5)  # by then no connection waits for its client to end
        opened = files()
        abuse(turns)
        assert resident() <= 1.05 * before
        wait_until(lambda: files() <= opened, ENDS_S)
        assert "Traceback" not in server.said
        assert server.end() == 0
