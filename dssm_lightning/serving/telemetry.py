"""What Prometheus reads of a server at ``GET /metrics``.

Every label has few values: a path is one of the application's own, whatever a client asks for. Each :class:`Telemetry`
has a registry of its own, so that several servers live in one process. With ``PROMETHEUS_MULTIPROC_DIR`` in the
environment when prometheus-client is imported, the numbers of all workers are kept in that folder, and each worker
answers for all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

CONTENT_TYPE = CONTENT_TYPE_LATEST
OTHER = "other"
"""The label of a path or a method that the application does not have."""
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST"})
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SHORT_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_REFRESH = 5.0  # seconds between two looks of a worker at its own memory


class Telemetry:
    """The metrics of one server.

    Counting a request costs a few microseconds: the children of the metrics are kept by their labels.

    Example:
        >>> telemetry = Telemetry()
        >>> telemetry.know_paths(["/search"])
        >>> telemetry.count_request("POST", "/search", 200, 0.002)
        >>> telemetry.count_request("POST", "/wp-login.php", 404, 0.001)
        >>> telemetry.value("dssm_requests_total", method="POST", path="other", status="404")
        1.0
    """

    def __init__(self) -> None:
        self._folder = os.environ.get(FOLDER)
        self.registry = CollectorRegistry()
        self._paths: frozenset[str] = frozenset()
        self._requests: dict[tuple[str, str, int], tuple[Any, Any]] = {}
        self._errors: dict[str, Any] = {}
        self._stages: dict[tuple[str, str], Any] = {}
        self._bundles: dict[str, tuple[str, str, str]] = {}
        self._refreshed = 0.0
        self._make_metrics()
        self._make_gauges()

    def _make_metrics(self) -> None:
        own: dict[str, Any] = {"registry": self.registry}
        self._count = Counter("dssm_requests", "Requests that were answered.", ("method", "path", "status"), **own)
        self._seconds = Histogram(
            *("dssm_request_seconds", "Seconds from the headers of a request to the end of its answer.", ("path",)),
            **own,
            buckets=_SECONDS,
        )
        self._failed = Counter("dssm_errors", "Errors that were answered, by their error_type.", ("error_type",), **own)
        self._batch = Histogram(
            *("dssm_batch_items", "Queries that were answered together.", ("kind",)), **own, buckets=_SIZES
        )
        self._stage = Histogram(
            *("dssm_stage_seconds", "Seconds of one batch, by what was done.", ("kind", "stage")),
            **own,
            buckets=_SHORT_SECONDS,
        )
        self._reloads = Counter("dssm_reloads", "Reloads of the bundles.", ("result",), **own)

    def _make_gauges(self) -> None:
        live: dict[str, Any] = {"registry": self.registry, "multiprocess_mode": "livesum"}
        each: dict[str, Any] = {"registry": self.registry, "multiprocess_mode": "liveall"}
        best: dict[str, Any] = {"registry": self.registry, "multiprocess_mode": "livemax"}
        self._in_flight = Gauge("dssm_requests_in_flight", "Requests that are being answered.", **live)
        self._queue = Gauge("dssm_queue_items", "Queries that wait for a batch.", **live)
        names = ("bundle", "checksum", "version")
        self._bundle = Gauge("dssm_bundle_info", "1 for each bundle that is served.", names, **best)
        self._size = Gauge("dssm_bundle_candidates", "Candidates of a bundle.", ("bundle",), **best)
        if self._folder is None:
            ProcessCollector(registry=self.registry)
            return
        self._process = ProcessCollector(registry=None)
        self._own = {
            "process_resident_memory_bytes": Gauge("dssm_worker_memory_bytes", "Resident memory of a worker.", **each),
            "process_cpu_seconds_total": Gauge("dssm_worker_cpu_seconds", "Processor time of a worker.", **each),
            "process_open_fds": Gauge("dssm_worker_open_fds", "Open files and sockets of a worker.", **each),
        }

    # -- requests ------------------------------------------------------------------------------------------------------

    def know_paths(self, paths: Collection[str]) -> None:
        """Set the paths that may be labels: those of the application's routes."""
        self._paths = frozenset(paths)

    def begin_request(self) -> None:
        """Count a request that has arrived."""
        self._in_flight.inc()

    def end_request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request that :meth:`begin_request` counted. Arguments as for :meth:`count_request`."""
        self._in_flight.dec()
        self.count_request(method, path, status, seconds)

    def count_request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count an answered request.

        Args:
            method: of HTTP.
            path: as the route declares it, such as ``/pictures/{bundle}/{row}``; an unknown one counts as "other".
            status: of the answer; 499 if the client left before it.
            seconds: from the headers to the end of the answer.
        """
        key = (method, path, status)
        found = self._requests.get(key)
        if found is None:
            known = path if path in self._paths else OTHER
            verb = method if method in METHODS else OTHER
            found = self._count.labels(verb, known, str(status)), self._seconds.labels(known)
            if known == path and verb == method:  # what strangers ask for is not kept
                self._requests[key] = found
        found[0].inc()
        found[1].observe(seconds)
        if self._folder is not None:
            self._look_at_process()

    def count_error(self, error_type: str) -> None:
        """Count an error that was answered, by the ``error_type`` of its body."""
        found = self._errors.get(error_type)
        if found is None:
            found = self._errors[error_type] = self._failed.labels(error_type)
        found.inc()

    # -- batches and bundles -------------------------------------------------------------------------------------------

    def set_queue(self, items: int) -> None:
        """Set how many queries wait for a batch."""
        self._queue.set(items)

    def count_batch(self, kind: str, items: int, **seconds: float) -> None:
        """Count a batch that was run.

        Args:
            kind: "search", "encode", "similar", "score", …; the caller's own words, never a client's.
            items: how many queries were answered together.
            seconds: by what was done, such as ``encode=…, search=…``, or ``run=…`` for all of it.
        """
        child = self._stages.get((kind, ""))
        if child is None:
            child = self._stages[kind, ""] = self._batch.labels(kind)
        child.observe(items)
        for stage, value in seconds.items():
            child = self._stages.get((kind, stage))
            if child is None:
                child = self._stages[kind, stage] = self._stage.labels(kind, stage)
            child.observe(value)

    def set_bundle(self, name: str, checksum: str, version: str, candidates: int) -> None:
        """Say which bundle is served under a name; what the name stood for before is no longer shown as served."""
        before, now = self._bundles.get(name), (name, checksum, version)
        if before is not None and before != now:
            if self._folder is None:
                self._bundle.remove(*before)
            else:
                self._bundle.labels(*before).set(0)  # files of several processes cannot lose a label
        self._bundles[name] = now
        self._bundle.labels(*now).set(1)
        self._size.labels(name).set(candidates)

    def count_reload(self, succeeded: bool) -> None:
        """Count a reload."""
        self._reloads.labels("succeeded" if succeeded else "refused").inc()

    # -- what is read --------------------------------------------------------------------------------------------------

    def exposition(self) -> bytes:
        """Return the text that Prometheus reads; of all workers if there are several."""
        if self._folder is None:
            return generate_latest(self.registry)
        from prometheus_client.multiprocess import MultiProcessCollector

        self._refreshed = 0.0
        self._look_at_process()
        registry = CollectorRegistry()
        collector: Any = MultiProcessCollector  # has no types
        collector(registry, self._folder)
        return generate_latest(registry)

    def samples(self) -> list[Sample]:
        """Return every number of this process."""
        return [sample for metric in self.registry.collect() for sample in metric.samples]

    def value(self, name: str, **labels: str) -> float | None:
        """Return one number of this process; None if nothing was counted."""
        return self.registry.get_sample_value(name, labels)

    def _look_at_process(self) -> None:
        """Set this worker's memory, processor time and open files, at most once in some seconds."""
        now = time.monotonic()
        if now - self._refreshed < _REFRESH:
            return
        self._refreshed = now
        for metric in self._process.collect():
            for sample in metric.samples:
                if sample.name in self._own:
                    self._own[sample.name].set(sample.value)
