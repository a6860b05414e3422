"""What Prometheus reads, of one process and of several."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client", reason="pip install prometheus-client")

from prometheus_client.parser import text_string_to_metric_families

from dssm_lightning.serving.telemetry import OTHER, Telemetry


def read(content: bytes) -> dict[str, float]:
    """The numbers by name and labels."""
    found = {}
    for family in text_string_to_metric_families(content.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_requests_are_counted_by_path_and_status() -> None:
    telemetry = Telemetry()
    telemetry.know_paths(["/search"])
    for status, seconds in ((200, 0.003), (200, 0.03), (422, 0.0003)):
        telemetry.begin_request()
        telemetry.end_request("POST", "/search", status, seconds)
    found = read(telemetry.exposition())
    assert found["dssm_requests_total{method=POST,path=/search,status=200}"] == 2
    assert found["dssm_requests_total{method=POST,path=/search,status=422}"] == 1
    assert found["dssm_request_seconds_count{path=/search}"] == 3
    assert found["dssm_request_seconds_sum{path=/search}"] == pytest.approx(0.0333)
    assert found["dssm_request_seconds_bucket{le=0.005,path=/search}"] == 2
    assert found["dssm_requests_in_flight{}"] == 0


def test_what_strangers_ask_for_makes_no_labels() -> None:
    telemetry = Telemetry()
    telemetry.know_paths(["/search"])
    for number in range(1000):
        telemetry.count_request(f"VERB{number}", f"/{number}", 404, 0.001)
    paths = {s.labels["path"] for s in telemetry.samples() if "path" in s.labels}
    methods = {s.labels["method"] for s in telemetry.samples() if "method" in s.labels}
    assert paths == methods == {OTHER}
    assert len(telemetry._requests) == 0, "nothing is kept of them"


def test_batches_and_the_queue() -> None:
    telemetry = Telemetry()
    telemetry.count_batch("search", 5, encode=0.001, search=0.004)
    telemetry.count_batch("search", 1, encode=0.001, search=0.002)
    telemetry.set_queue(7)
    telemetry.count_error("validation")
    telemetry.count_reload(True)
    telemetry.count_reload(False)
    found = read(telemetry.exposition())
    assert found["dssm_batch_items_sum{kind=search}"] == 6
    assert found["dssm_batch_items_bucket{kind=search,le=4.0}"] == 1
    assert found["dssm_stage_seconds_sum{kind=search,stage=search}"] == pytest.approx(0.006)
    assert found["dssm_stage_seconds_count{kind=search,stage=encode}"] == 2
    assert found["dssm_queue_items{}"] == 7
    assert found["dssm_errors_total{error_type=validation}"] == 1
    assert found["dssm_reloads_total{result=refused}"] == found["dssm_reloads_total{result=succeeded}"] == 1


def test_only_the_bundle_that_is_served_is_shown() -> None:
    telemetry = Telemetry()
    telemetry.set_bundle("shop", "aaa", "0.1.0", 30)
    telemetry.set_bundle("shop", "bbb", "0.1.0", 40)
    telemetry.set_bundle("films", "ccc", "0.1.0", 2)
    found = read(telemetry.exposition())
    shown = {name: value for name, value in found.items() if name.startswith("dssm_bundle_info")}
    assert shown == {
        "dssm_bundle_info{bundle=shop,checksum=bbb,version=0.1.0}": 1,
        "dssm_bundle_info{bundle=films,checksum=ccc,version=0.1.0}": 1,
    }
    assert found["dssm_bundle_candidates{bundle=shop}"] == 40


def test_two_servers_of_one_process_do_not_mix() -> None:
    one, other = Telemetry(), Telemetry()
    one.count_error("validation")
    assert other.value("dssm_errors_total", error_type="validation") is None


@pytest.mark.skipif(sys.platform != "linux", reason="the numbers of a process come from /proc")
def test_the_process_is_described() -> None:
    found = read(Telemetry().exposition())
    assert found["process_resident_memory_bytes{}"] > 1e6
    assert found["process_open_fds{}"] > 0


def test_every_metric_says_what_it_is() -> None:
    telemetry = Telemetry()
    telemetry.count_error("x")
    text = telemetry.exposition().decode()
    for name in (
        "dssm_requests_total",
        "dssm_errors_total",
        "dssm_queue_items",
        "dssm_batch_items",
        "dssm_bundle_info",
    ):
        assert re.search(rf"^# HELP {name} \w+", text, re.MULTILINE), name


def test_a_request_costs_microseconds() -> None:
    """With room for a slow machine."""
    telemetry = Telemetry()
    telemetry.know_paths(["/search"])
    times = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(500):
            telemetry.begin_request()
            telemetry.end_request("POST", "/search", 200, 0.001)
        times.append((time.process_time() - began) / 500)
    assert min(times) < 50e-6


WORKER = """
import sys
from dssm_lightning.serving.telemetry import Telemetry
telemetry = Telemetry()
telemetry.know_paths(["/search"])
telemetry.set_bundle("shop", "aaa", "0.1.0", 30)
telemetry.set_bundle("shop", "bbb", "0.1.0", 30)
for _ in range(int(sys.argv[1])):
    telemetry.count_request("POST", "/search", 200, 0.001)
telemetry.set_queue(2)
sys.stdout.buffer.write(telemetry.exposition())
"""


def test_each_worker_answers_for_all(tmp_path: Path) -> None:
    found = {}
    for count in ("3", "4"):
        line = ["timeout", "-k", "5", "60", sys.executable, "-c", WORKER, count]
        environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        done = subprocess.run(line, env=environment, capture_output=True, check=True, timeout=90)
        found = read(done.stdout)
    assert found["dssm_requests_total{method=POST,path=/search,status=200}"] == 7
    assert found["dssm_request_seconds_count{path=/search}"] == 7
    assert found["dssm_bundle_info{bundle=shop,checksum=bbb,version=0.1.0}"] == 1
    assert found["dssm_bundle_info{bundle=shop,checksum=aaa,version=0.1.0}"] == 0
    workers = [name for name in found if name.startswith("dssm_worker_memory_bytes{pid=")]
    assert len(workers) == 2, "until mark_process_dead is called for a worker that ended"
    assert all(found[name] > 1e6 for name in workers)


def test_the_address_has_the_right_type(shop_bundle: Path) -> None:
    pytest.importorskip("fastapi", reason="pip install fastapi")
    pytest.importorskip("httpx", reason="pip install httpx")
    from starlette.testclient import TestClient

    from dssm_lightning.serving.app import build_app
    from dssm_lightning.serving.serving import Serving
    from dssm_lightning.serving.settings import ServingSettings, name_bundles

    serving = Serving(ServingSettings(name_bundles([f"shop={shop_bundle}"])))
    with TestClient(build_app(serving)) as client:
        client.post("/search", json={"query": "list files", "k": 2})
        client.post("/search", json={"query": "list files", "kk": 2})
        client.get("/no-such-page")
        client.delete("/search")
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "charset=utf-8" in answer.headers["content-type"]
    found = read(answer.content)
    assert found["dssm_requests_total{method=POST,path=/search,status=200}"] == 1
    assert found["dssm_requests_total{method=GET,path=other,status=404}"] == 1
    assert found["dssm_errors_total{error_type=validation}"] == 1
    assert found["dssm_errors_total{error_type=not_found}"] == 1
    assert found["dssm_errors_total{error_type=method_not_allowed}"] == 1
    assert found["dssm_batch_items_count{kind=search}"] >= 1
    (checksum,) = [bundle.checksum for bundle in serving.bundles.values()]
    assert any(name.startswith("dssm_bundle_info") and checksum in name for name in found)
