"""What a connection does with what no well-behaved client sends, and that no answer is lost at its end."""

from __future__ import annotations

import contextlib
import inspect
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.http_wire import GET, Wire, WireServer, running, wait_until
from uvicorn.protocols.http import httptools_impl

from dssm_lightning.serving import graceful_server
from dssm_lightning.serving.connections import MOMENT_S, Connection
from dssm_lightning.serving.request_reader import MOST_HEADERS, MOST_PIPELINED, SLICE

POST = b"POST /%s HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
QUICK: dict[str, Any] = {"header_timeout": 0.3, "keep_alive": 0.3, "body_timeout": 0.5}


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def server(request: pytest.FixtureRequest) -> Iterator[WireServer]:
    """A server with the usual limits; tests leave no connection open."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    with running(loop=request.param) as made:
        yield made


@pytest.fixture
def wire(server: WireServer) -> Iterator[Wire]:
    made = server.wire()
    yield made
    made.close()


def status(wire: Wire) -> int:
    answer = wire.answer()
    assert answer is not None
    return answer.status


# -- requests ----------------------------------------------------------------------------------------------------------


def test_a_connection_answers_again_and_again(wire: Wire) -> None:
    for name in (b"a", b"b", b"c"):
        wire.send(GET % name)
        answer = wire.answer()
        assert answer is not None
        assert answer.json["path"] == f"/{name.decode()}"
        assert not answer.is_last


def test_requests_in_one_packet_are_answered_in_order(wire: Wire) -> None:
    names = ["slow", *(f"r{number}" for number in range(300))]
    wire.send(b"".join(GET % name.encode() for name in names))
    found = [wire.answer() for _ in names]
    assert [answer.json["path"] for answer in found if answer] == [f"/{name}" for name in names]
    assert wire.send(GET % b"later") is None
    assert status(wire) == 200


def test_far_more_requests_than_may_wait_are_parsed_later() -> None:
    with running() as server:
        wire, packet, longest = server.wire(), GET % b"a", 0
        wire.send(GET % b"slow")
        wait_until(lambda: server.connections == 1)
        (connection,) = server.server.server_state.connections
        assert isinstance(connection, Connection)
        data, count = memoryview(packet * 15_000), 0
        wire.socket.setblocking(False)
        end = time.monotonic() + 0.25
        while time.monotonic() < end:
            with contextlib.suppress(BlockingIOError):
                count += wire.socket.send(data[count:])
            longest = max(longest, len(connection.pipeline))
        wire.socket.setblocking(True)
        assert MOST_PIPELINED <= longest <= MOST_PIPELINED + SLICE // len(packet) + 1
        wire.send(packet[count % len(packet) :])
        wire.socket.shutdown(socket.SHUT_WR)
        assert sum(1 for _ in iter(wire.answer, None)) == 1 + count // len(packet) + 1
        wire.close()


def test_a_body_in_small_pieces(wire: Wire) -> None:
    request = POST % (b"a", 10) + b"0123456789"
    for place in range(len(request)):
        wire.send(request[place : place + 1])
    answer = wire.answer()
    assert answer is not None
    assert answer.json["size"] == 10


def test_a_large_body_in_chunks_with_a_trailer(wire: Wire) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (size, b"x" * size) for size in (1, 70_000, 300_000, 5))
    wire.send(CHUNKED + chunks + b"0\r\nAuthorization: Bearer x\r\n\r\n" + GET % b"next")
    first, second = wire.answer(), wire.answer()
    assert first is not None
    assert first.json == {"path": "/a", "size": 370_006, "headers": 2}  # the trailer is no header
    assert second is not None
    assert second.json["path"] == "/next"


@pytest.mark.parametrize("head", [b"/1.0\r\n\r\n", b"/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"], ids=["1.0", "1.1"])
def test_a_client_that_wants_one_answer(wire: Wire, head: bytes) -> None:
    wire.send(b"GET /a HTTP" + head)
    answer = wire.answer()
    assert answer is not None
    assert (answer.status, answer.is_last) == (200, True)
    assert wire.is_closed(5)


def test_a_client_that_asks_before_it_sends_the_body(wire: Wire) -> None:
    wire.send(b"POST /a HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert wire.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(b"abc")
    assert status(wire) == 200


@pytest.mark.parametrize("body", [b"", b"abc"])
def test_a_client_that_would_rather_speak_http2_is_answered_in_http1(wire: Wire, body: bytes) -> None:
    """Java's own client asks so with every request; the parser would take the body for the next request."""
    asks = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
    for _ in range(2):
        wire.send(b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), asks, body))
    wire.send(GET % b"b")
    first, second, third = wire.answer(), wire.answer(), wire.answer()
    assert first is not None
    assert first == second
    assert (first.status, first.json["size"]) == (200, len(body))
    assert third is not None
    assert third.json["path"] == "/b"


# -- what is no HTTP ---------------------------------------------------------------------------------------------------

NO_HTTP = {
    "words": b"hello, are you there?\r\n\r\n",
    "tls": bytes.fromhex("160301020001000101fc0303"),
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "zeros": b"\0" * 100,
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": CHUNKED.replace(b"Host: test", b"Host: a\r\nContent-Length: 1") + b"0\r\n\r\n",
    "negative length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "no chunk": CHUNKED + b"nothing\r\n",
    "zero in a header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "no path": b"GET http://test HTTP/1.1\r\nHost: a\r\n\r\n",
    "port in the path": b"GET http://a:99999/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "connect": b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "version": b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("data", NO_HTTP.values(), ids=NO_HTTP.keys())
def test_what_is_no_http_is_answered_by_json_and_ends_the_connection(wire: Wire, data: bytes) -> None:
    wire.send(data)
    answer = wire.answer()
    assert answer is not None
    assert (answer.status, answer.is_last, answer.json["error_type"]) == (400, True, "malformed")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(answer.json["error"]) < 200
    assert wire.is_closed(5)


def test_garbage_after_a_request_waits_for_its_answer(wire: Wire) -> None:
    """Written at once, it would look like the answer to the request."""
    wire.send(GET % b"slow" + GET % b"a" + b"garbage\r\n\r\n")
    found = [wire.answer() for _ in range(3)]
    assert [answer.status for answer in found if answer] == [200, 200, 400]
    assert wire.answer() is None


def test_a_bad_chunk_is_the_answer_to_its_own_request(wire: Wire) -> None:
    wire.send(GET % b"slow" + CHUNKED + b"zz\r\n")
    assert [status(wire), status(wire)] == [200, 400]
    assert wire.answer() is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1_000_000,
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /" + b"x" * 1_000_000,
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * MOST_HEADERS + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 100_000,
    ],
    ids=["header", "endless header", "address", "endless address", "many", "endlessly many"],
)
def test_headers_that_are_too_large(wire: Wire, data: bytes) -> None:
    wire.send(data)
    answer = wire.answer()
    assert answer is not None
    assert (answer.status, answer.is_last, answer.json["error_type"]) == (431, True, "headers_too_large")
    assert "65,536" in answer.json["error"]


def test_headers_at_the_limit(wire: Wire) -> None:
    wire.send(b"GET /a HTTP/1.1\r\nHost: test\r\nX: " + b"x" * 65_000 + b"\r\n\r\n" + GET % b"b")
    assert [status(wire), status(wire)] == [200, 200]


@pytest.mark.parametrize("framing", [b"1;" + b"x" * 300_000, b"0\r\nX: " + b"x" * 300_000], ids=["chunk", "trailer"])
def test_what_stands_between_the_chunks_has_a_limit(wire: Wire, framing: bytes) -> None:
    wire.send(CHUNKED + framing)
    answer = wire.answer()
    assert answer is not None
    assert (answer.status, answer.is_last) == (400, True)
    assert "trailers" in answer.json["error"]


# -- time --------------------------------------------------------------------------------------------------------------


def test_headers_that_are_too_slow() -> None:
    with running(**QUICK) as server:
        wire, began = server.wire(), time.monotonic()
        wire.send(GET % b"a" + b"GET /b HTTP/1.1\r\nX: ")
        assert status(wire) == 200
        for _ in range(8):  # a byte now and then does not help
            time.sleep(0.1)
            wire.send(b"T")
            if server.refused:
                break
        answer = wire.answer()
        assert answer is not None
        assert (answer.status, answer.json["error_type"], answer.is_last) == (408, "slow_headers", True)
        assert "0.3" in answer.json["error"]
        assert time.monotonic() - began < 5
        assert server.refused == [408]
        wire.close()


def test_a_connection_on_which_nothing_comes_is_closed_without_an_answer() -> None:
    """A browser that opened it in advance would take an error for the answer to its first request."""
    with running(**QUICK) as server:
        fresh, used = server.wire(), server.wire()
        used.send(GET % b"a")
        assert status(used) == 200
        assert fresh.is_closed(5)
        assert used.is_closed(5)
        assert server.refused == []


def test_a_request_that_arrives_as_its_connection_is_closed_for_being_idle_is_answered() -> None:
    with running(keep_alive=100) as server:
        wire = server.wire()
        wire.send(GET % b"a")
        assert status(wire) == 200
        (connection,) = server.server.server_state.connections
        assert isinstance(connection, Connection)
        loop = connection.loop

        def late() -> None:
            wire.send(GET % b"late")
            connection.timeout_keep_alive_handler()

        loop.call_soon_threadsafe(late)
        answer = wire.answer()
        assert answer is not None
        assert answer.json["path"] == "/late"
        wire.close()


def test_a_client_that_does_not_read_its_answer_is_left() -> None:
    with running(**QUICK) as server:
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", server.port))
        stuck.sendall(GET % b"large" + GET % b"large")
        wait_until(lambda: server.connections == 1)
        wait_until(lambda: not server.connections and not server.tasks, 10)
        stuck.close()


def test_a_client_that_reads_slowly_gets_all() -> None:
    with running(body_timeout=0.5) as server:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        slow.settimeout(10)
        slow.connect(("127.0.0.1", server.port))
        slow.sendall(b"GET /large HTTP/1.0\r\n\r\n")
        size, began = 0, time.monotonic()
        while data := slow.recv(1 << 20):
            size += len(data)
            if time.monotonic() - began < 1.5:
                time.sleep(0.02)
        assert size > 20_000_000
        slow.close()


# -- ends --------------------------------------------------------------------------------------------------------------


def test_a_client_that_has_sent_all_still_gets_its_answers(server: WireServer, wire: Wire) -> None:
    wire.send(GET % b"slow" + GET % b"a" + b"GET /cut")
    wire.socket.shutdown(socket.SHUT_WR)
    first, second = wire.answer(), wire.answer()
    assert first is not None
    assert second is not None
    assert [first.json["path"], second.json["path"]] == ["/slow", "/a"]
    assert wire.is_closed(5)


def test_a_cut_body_leaves_nothing_behind(server: WireServer, wire: Wire) -> None:
    wire.send(GET % b"slow" + POST % (b"a", 100) + b"x" * 50)
    wire.socket.shutdown(socket.SHUT_WR)
    assert status(wire) == 200
    assert wire.is_closed(5)
    other = server.wire()
    other.send(POST % (b"a", 100) + b"x" * 50)
    wait_until(lambda: server.tasks == 1)
    other.close()
    wait_until(lambda: server.tasks == 0)


def test_an_answer_before_the_end_of_the_body_is_read_and_is_the_last_one(wire: Wire) -> None:
    """Closed at once, the connection would be reset by the bytes that nobody reads, and the answer lost."""
    wire.send(POST % (b"early", 8_000_000) + b"x" * 100_000)
    wire.send(b"x" * 3_000_000)
    answer = wire.answer()
    assert answer is not None
    assert (answer.status, answer.is_last) == (413, True)
    wire.socket.shutdown(socket.SHUT_WR)
    assert wire.is_closed(5)


def test_too_many_connections() -> None:
    with running(max_connections=4) as server:
        held = [server.wire() for _ in range(4)]
        for wire in held:
            wire.send(GET % b"a")
            assert status(wire) == 200
        surplus, probe = server.wire(), server.wire()
        surplus.send(GET % b"a")
        answer = surplus.answer()
        assert answer is not None
        assert (answer.status, answer.is_last, answer.headers["retry-after"]) == (503, True, "1")
        assert "at most 4" in answer.json["error"]
        assert surplus.is_closed(5)
        probe.send(GET % b"health")  # a busy server is not a dead one
        answer = probe.answer()
        assert answer is not None
        assert (answer.status, answer.is_last) == (200, True)
        far = [server.wire() for _ in range(40)]
        assert any(wire.is_closed(0.05) or True for wire in far)
        last = server.wire()
        refused = last.answer()
        assert refused is not None
        assert refused.status == 503
        assert server.connections <= 4 + 16 + 2
        for wire in [*held, *far, surplus, probe, last]:
            wire.close()
        wait_until(lambda: server.connections == 0)
        again = server.wire()
        again.send(GET % b"a")
        assert status(again) == 200
        again.close()


@pytest.mark.parametrize("latest", ["admit_no_more", "_accept_waiting"])  # before which connections arrive
def test_the_end_of_the_server_loses_nothing(monkeypatch: pytest.MonkeyPatch, latest: str) -> None:
    """A request that is being answered, one that arrives on an idle connection, and connections not accepted yet."""
    with running() as server:
        busy, idle = server.wire(), server.wire()
        unaccepted: list[Wire] = []
        step = getattr(graceful_server, latest)

        def connect_before(*args: Any) -> Any:
            for _ in range(20):
                unaccepted.append(server.wire())
                unaccepted[-1].send(GET % b"c")
            return step(*args)

        monkeypatch.setattr(graceful_server, "admit_no_more", lambda listener: None)  # as on systems without filters
        monkeypatch.setattr(graceful_server, latest, connect_before)
        idle.send(GET % b"a")
        assert status(idle) == 200
        busy.send(GET % b"slow" + GET % b"b")
        wait_until(lambda: any(each.pipeline for each in server.server.server_state.connections))
        server.server.soon(server.server.stop)
        wait_until(lambda: len(unaccepted) == 20)
        time.sleep(0.1)
        idle.send(GET % b"late")
        answers = [busy.answer(), busy.answer(), idle.answer(), *(wire.answer() for wire in unaccepted)]
        assert [answer.status for answer in answers if answer] == [200] * 23
        assert [answer.is_last for answer in answers if answer] == [False, True] + [True] * 21
        with pytest.raises(ConnectionRefusedError):
            server.wire()


def test_idle_connections_end_with_the_server() -> None:
    with running() as server:
        wires = [server.wire() for _ in range(3)]
        wires[0].send(GET % b"a")
        assert status(wires[0]) == 200
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < MOMENT_S + 3
        assert all(wire.is_closed(1) for wire in wires)


# -- leaks -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc")
def test_descriptors_and_tasks_do_not_grow() -> None:
    cases = [b"", b"G", GET % b"a", GET % b"slow", POST % (b"a", 100) + b"x", POST % (b"early", 100), *NO_HTTP.values()]

    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    with running() as server:
        before = 0
        for turn in range(15):
            wires = []
            for data in cases:
                wires.append(server.wire())
                wires[-1].send(data)
            for number, wire in enumerate(wires):
                if number % 3 == turn % 3:
                    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
                wire.close()
            wait_until(lambda: server.connections == 0 and server.tasks == 0)
            before = before or count()
        assert count() <= before + 2


# -- what is relied on -------------------------------------------------------------------------------------------------


def test_uvicorn_has_what_is_relied_on() -> None:
    """The parts of its protocol that :class:`Connection` overrides or uses, which are no public interface."""
    protocol, cycle = httptools_impl.HttpToolsProtocol, httptools_impl.RequestResponseCycle
    ours = {"connection_made", "connection_lost", "data_received", "eof_received", "on_message_begin", "on_header"}
    ours |= {"on_headers_complete", "on_body", "on_message_complete", "on_response_complete", "shutdown"}
    ours |= {"timeout_keep_alive_handler", "pause_writing", "resume_writing", "_unset_keepalive_if_required"}
    assert all(callable(getattr(protocol, name, None)) for name in ours)
    code = inspect.getsource(protocol)
    for used in ("self.pipeline.appendleft((self.cycle, app))", "self.timeout_keep_alive_task = self.loop.call_later"):
        assert used in code
    assert "ws_protocol_class is None" in inspect.getsource(protocol._should_upgrade_to_ws)
    code = inspect.getsource(cycle.send)
    assert "if not self.keep_alive and not has_connection_close:" in code  # announces what keep_alive = False does
    assert "if not self.keep_alive:\n                    self.transport.close()" in code
    names = {"transport", "keep_alive", "disconnected", "message_event", "response_started", "response_complete"}
    assert all(f"self.{name} = " in inspect.getsource(cycle.__init__) for name in names)
