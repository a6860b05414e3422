"""Parquet folders of other programs, on this machine and in an object store."""

from __future__ import annotations

import io
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from dssm_lightning.data.sources import Files
from dssm_lightning.utils import memory_mapped

PARTS = {
    "year=2023/part-00000-7f.c000.snappy.parquet": [1, 2, 3],
    "year=2024/part-00000-7f.c000.snappy.parquet": [4, 5],
    "year=2024/part-00001-7f.c000.snappy.parquet": [6],
}
EXPECTED = pl.DataFrame(
    {
        "query_id": [1, 2, 3, 4, 5, 6],
        "candidate_id": ["c1", "c2", "c3", "c4", "c5", "c6"],
        "year": [2023] * 3 + [2024] * 3,
    }
)


def part(ids: list[int]) -> pl.DataFrame:
    return pl.DataFrame({"query_id": ids, "candidate_id": [f"c{number}" for number in ids]})


@pytest.fixture
def spark(tmp_path: Path) -> Path:
    """Make a folder as Spark writes it, with its markers, checksums and the files of a killed job."""
    folder = tmp_path / "events [a].parquet"
    for name, ids in PARTS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part(ids).write_parquet(path, compression="snappy")
        path.with_name(f".{path.name}.crc").write_bytes(b"crc")
    (folder / "_SUCCESS").touch()
    (folder / "._SUCCESS.crc").write_bytes(b"crc")
    (folder / "_temporary").mkdir()
    (folder / "_temporary" / "part-00009.parquet").write_bytes(b"half")
    return folder


@pytest.mark.parametrize("large", [False, True])
def test_a_folder_of_spark(spark: Path, monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    monkeypatch.setattr(memory_mapped, "LARGE_FILE", 0 if large else 1 << 26)
    source = Files(str(spark))
    assert_frame_equal(source.tables().interactions, EXPECTED)
    before = source.fingerprint()
    (spark / "_SUCCESS").write_text("again")
    assert source.fingerprint() == before
    part([7]).write_parquet(spark / "year=2023" / "part-00002.parquet")
    assert source.fingerprint() != before


def test_a_folder_with_markers_only(tmp_path: Path) -> None:
    (tmp_path / "_temporary").mkdir()
    (tmp_path / "_temporary" / "part.parquet").touch()
    with pytest.raises(FileNotFoundError, match=r"interactions: .*no \.parquet"):
        Files(str(tmp_path)).tables()


def test_a_url_of_a_file(spark: Path) -> None:
    [path] = (spark / "year=2023").glob("*.parquet")
    assert_frame_equal(Files(path.as_uri()).tables().interactions, EXPECTED[:3, :2])


class Store(BaseHTTPRequestHandler):
    """The part of S3 that reading needs: lists, sizes and ranges of objects, for signed requests."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path, _, query = self.path.partition("?")
        objects = {f"/bucket/events/{name}".replace("=", "%3D"): content(ids) for name, ids in PARTS.items()}
        body = listing() if "list-type" in query else objects.get(path, b"")
        status, size = (200 if body else 404) if "Authorization" in self.headers else 403, len(body)
        requested = self.headers.get("Range")
        if requested and status == 200:
            first, _, last = requested.removeprefix("bytes=").partition("-")
            start = int(first) if first else max(0, size - int(last))
            stop = min(int(last), size - 1) if first and last else size - 1
            status, body = 206, body[start : stop + 1]
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop}/{size}")
        for name, value in (("Content-Length", len(body)), ("ETag", '"e"'), ("Last-Modified", DATE)):
            self.send_header(name, str(value))
        self.end_headers()
        if with_body and status < 400:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


DATE = "Mon, 01 Jan 2024 00:00:00 GMT"


def content(ids: list[int]) -> bytes:
    file = io.BytesIO()
    part(ids).write_parquet(file)
    return file.getvalue()


def listing() -> bytes:
    entry = (
        "<Contents><Key>events/{}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>e</ETag>"
        "<Size>{}</Size></Contents>"
    )
    entries = "".join(entry.format(name, len(content(ids))) for name, ids in PARTS.items())
    return f"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()


@pytest.fixture
def _store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield
        server.shutdown()


@pytest.mark.usefixtures("_store")
def test_an_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    one = Files("s3://bucket/events/year=2023/part-00000-7f.c000.snappy.parquet").tables().interactions
    assert_frame_equal(one.select("query_id", "candidate_id"), EXPECTED[:3, :2])
    assert_frame_equal(Files("s3://bucket/events/").tables().interactions, EXPECTED)


@pytest.mark.usefixtures("_store")
def test_an_object_store_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")  # no credentials, and no search for credentials
    with pytest.raises(ValueError, match=r"(?s)s3://bucket/x\.parquet .*Parquet: .*AWS_ACCESS_KEY_ID"):
        Files("s3://bucket/x.parquet").tables()


def test_a_url_without_a_format() -> None:
    with pytest.raises(ValueError, match=r"interactions: .*s3://bucket/events .*URL .*/"):
        Files("s3://bucket/events").tables()
