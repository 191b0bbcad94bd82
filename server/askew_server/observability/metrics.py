"""The metrics of a running server, for Prometheus.

Labels hold only known names: galleries and encoders that exist, route templates, problem kinds, key ids. No text from a
request becomes a label, so clients cannot increase the number of series.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from askew_server.observability.series import Series

Stage = Literal["describe", "decode", "queue", "search", "finish"]

MEDIA_TYPE = CONTENT_TYPE_LATEST
NO_NAME = "(none)"
"""The label where there is no known name. No gallery, encoder or route can have this name."""

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_REJECTIONS = {"space-mismatch": "mismatch", "space-missing": "missing"}
_STAGE_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SCORES = tuple(round(0.05 * step, 2) for step in range(20))
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


@dataclass(frozen=True)
class GalleryNumbers:
    """The numbers of one gallery at the moment when the metrics are read.

    `waiting`: requests. `written`, `deleted`: items since the gallery was opened. `rebuilds`: of its index, by outcome
    (ok, failed). `tail`, `removed`: vectors added and removed since the index was built. `bytes_memory`,
    `bytes_mapped`: of the index. `gpu_ready`: whether a GPU answers, None where none is wanted; `gpu_lost`: how many of its
    processes were lost while they served. `expected_match_scores`: by encoder, the median score of matches at its admission.
    """

    name: str
    waiting: int = 0
    written: int = 0
    deleted: int = 0
    rebuilds: Mapping[str, int] = field(default_factory=dict)
    vectors: int = 0
    tail: int = 0
    removed: int = 0
    generation: int = 0
    bytes_memory: int = 0
    bytes_mapped: int = 0
    gpu_ready: bool | None = None
    gpu_lost: int = 0
    snapshots: int = 0
    expected_match_scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ServerNumbers:
    """The numbers of the server at the moment when the metrics are read.

    `quarantined`: galleries that are damaged and do not serve. `waiting_photos`: photos to be described. `jobs`: their
    number by (kind, state). `progress`: of each running job, by (kind, gallery), in [0, 1]. `role`, `epoch`: see
    contract/health.py. `staleness`: seconds, of a replica that was complete once. `behind`: changes that it lacks,
    by (gallery,). `certificate_expires`: seconds since 1970, where the server speaks TLS itself.
    """

    ready: bool
    galleries: list[GalleryNumbers] = field(default_factory=list)
    quarantined: int = 0
    waiting_photos: int = 0
    jobs: dict[tuple[str, ...], float] = field(default_factory=dict)
    progress: dict[tuple[str, ...], float] = field(default_factory=dict)
    role: str = "primary"
    epoch: int = 1
    staleness: float | None = None
    certificate_expires: float | None = None
    behind: dict[tuple[str, ...], float] = field(default_factory=dict)


class Metrics:
    """The metrics of one app, in a separate registry. May be used from any thread."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        self._gauges = _Gauges()
        self.registry.register(self._gauges)
        self._searches = self._counter("searches", "Search requests, by outcome.", "gallery", "outcome")
        self._stages = self._histogram(
            "search_duration_seconds", "Time that searches spent in each stage.", _STAGE_SECONDS, "gallery", "stage"
        )
        self._batch_sizes = self._histogram(
            "search_batch_size", "Query vectors in one search of the index.", _BATCH_SIZES, "gallery"
        )
        self._top_scores = self._histogram(
            "top1_score", "Score of the best hit of unfiltered queries, by the encoder of the query.", _SCORES,
            "gallery", "encoder",
        )  # fmt: skip
        self._rejections = self._counter(
            "space_rejections", "Vectors that were refused because of their space.", "gallery", "reason"
        )
        self._rate_limited = self._counter(
            "rate_limited", "Requests that were refused because of the rate of their key.", "key"
        )
        self._requests = self._counter("http_requests", "Requests answered.", "method", "route", "status")
        self._request_seconds = self._histogram(
            "http_request_duration_seconds", "Time from a request's first byte to its answer's last.", _REQUEST_SECONDS,
            "method", "route",
        )  # fmt: skip
        self._running = Gauge(
            "askew_http_requests_in_progress", "Requests that are being answered.", registry=self.registry
        )
        build = Gauge(
            "askew_build_info", "Versions of Askew and Python; always 1.", ("version", "python"), registry=self.registry
        )
        build.labels(version, platform.python_version()).set(1)

    def request_began(self) -> None:
        """Count a request that begins."""
        self._running.inc()

    def request_ended(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered. `route`: its template, NO_NAME if no route matched."""
        self._running.dec()
        method = method if method in _METHODS else NO_NAME
        self._requests.of(method, route, str(status)).inc()
        self._request_seconds.of(method, route).observe(seconds)

    def search_ended(self, gallery: str, outcome: str, stages: Iterable[tuple[Stage, float]]) -> None:
        """Count a search that was answered. `outcome`: ok or the problem's slug. `stages`: the seconds spent in each."""
        self._searches.of(gallery, outcome).inc()
        for stage, seconds in stages:
            self._stages.of(gallery, stage).observe(seconds)

    def refused(self, gallery: str, problem: str, key: str | None) -> None:
        """Count a problem, if it is about a space or a rate. `key`: the id of an existing key."""
        if problem in _REJECTIONS:
            self._rejections.of(gallery, _REJECTIONS[problem]).inc()
        if problem == "rate-limited" and key is not None:
            self._rate_limited.of(key).inc()

    def batch_searched(self, gallery: str, queries: int) -> None:
        """Count one search of the index. `queries`: its query vectors."""
        self._batch_sizes.of(gallery).observe(queries)

    def top_score(self, gallery: str, encoder: str | None, score: float) -> None:
        """Count the score of the best hit of an unfiltered query. `encoder`: one that the gallery admitted, or None."""
        self._top_scores.of(gallery, encoder or NO_NAME).observe(score)

    def render(self, now: ServerNumbers) -> bytes:
        """All metrics in Prometheus's text format. `now`: the current numbers. Series of deleted galleries are dropped."""
        known = {gallery.name for gallery in now.galleries} | {NO_NAME}
        for metric in (self._searches, self._stages, self._batch_sizes, self._top_scores, self._rejections):
            metric.forget_other_galleries(known)
        self._gauges.numbers = now
        return generate_latest(_WithoutCreated(self.registry))

    def _counter(self, name: str, text: str, *labels: str) -> Series[Counter]:
        return Series(Counter(f"askew_{name}", text, labels, registry=self.registry))

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Series[Histogram]:
        return Series(Histogram(f"askew_{name}", text, labels, registry=self.registry, buckets=buckets))


class _Gauges:
    """Numbers that the parts of the server count themselves, read when the metrics are read."""

    def __init__(self) -> None:
        self.numbers = ServerNumbers(ready=False)

    def collect(self) -> Iterator[Metric]:
        """The metrics made from the numbers."""
        now = self.numbers
        yield _gauge("ready", "1 if the galleries are open and searches are answered, else 0.", {(): float(now.ready)})
        yield _gauge(
            "galleries", "Galleries by state: ok, or quarantined because they are damaged.", _by_state(now), "state"
        )
        written, deleted = _by_gallery(now, "written"), _by_gallery(now, "deleted")
        yield _counter("items_written", "Items inserted or replaced.", written, "gallery")
        yield _counter("items_deleted", "Items deleted.", deleted, "gallery")
        rebuilds: dict[tuple[str, ...], float] = {
            (each.name, outcome): count for each in now.galleries for outcome, count in each.rebuilds.items()
        }
        yield _counter("index_rebuilds", "Rebuilds of an index, by outcome.", rebuilds, "gallery", "outcome")
        yield _gauge("describe_queue_depth", "Photos that wait to be described.", {(): now.waiting_photos})
        yield _of_galleries(now, "queue_depth", "Requests that wait for a gallery.", "waiting")
        yield _of_galleries(now, "index_vectors", "Vectors in the index.", "vectors")
        yield _of_galleries(now, "index_tail_vectors", "Vectors added since the index was built.", "tail")
        yield _of_galleries(
            now, "index_removed_vectors", "Removed vectors that still take space in the index.", "removed"
        )
        yield _of_galleries(now, "index_generation", "How often the index was rebuilt.", "generation")
        on_gpu = [each for each in now.galleries if each.gpu_ready is not None]
        ready: dict[tuple[str, ...], float] = {(each.name,): float(bool(each.gpu_ready)) for each in on_gpu}
        yield _gauge(
            "gpu_ready", "1 if the GPU answers for the gallery, 0 if the CPU does in its place.", ready, "gallery"
        )
        lost: dict[tuple[str, ...], float] = {(each.name,): each.gpu_lost for each in on_gpu}
        yield _counter("gpu_processes_lost", "Processes of the GPU that were lost while they served.", lost, "gallery")
        yield _of_galleries(now, "snapshots", "Snapshots of a gallery.", "snapshots")
        expected: dict[tuple[str, ...], float] = {
            (each.name, encoder): score
            for each in now.galleries
            for encoder, score in each.expected_match_scores.items()
        }
        text = "Median score of matches when the encoder was admitted; compare it with askew_top1_score."
        yield _gauge("expected_match_score", text, expected, "gallery", "encoder")
        sizes: dict[tuple[str, ...], float] = {}
        for each in now.galleries:
            sizes |= {(each.name, "memory"): each.bytes_memory, (each.name, "mapped"): each.bytes_mapped}
        yield _gauge("index_bytes", "Bytes of the index, in memory and in mapped files.", sizes, "gallery", "where")
        yield _gauge("jobs", "Jobs that the server remembers, by kind and state.", now.jobs, "kind", "state")
        text = "Progress of running jobs, from 0 to 1."
        yield _gauge("job_progress_ratio", text, now.progress, "kind", "gallery")
        yield _gauge("epoch", "How many primaries there have been, this server or another one.", {(): now.epoch})
        yield _gauge("role", "1 for what this server is: primary, replica or superseded.", {(now.role,): 1.0}, "role")
        text = "Seconds since a replica had everything that its primary had."
        staleness: dict[tuple[str, ...], float] = {} if now.staleness is None else {(): now.staleness}
        yield _gauge("replica_staleness_seconds", text, staleness)
        yield _gauge("replica_behind", "Changes of the primary that a replica lacks.", now.behind, "gallery")
        text = "When the server's certificate expires, in seconds since 1970."
        expires: dict[tuple[str, ...], float] = {} if now.certificate_expires is None else {(): now.certificate_expires}
        yield _gauge("tls_certificate_expiry_seconds", text, expires)
        yield _gauge("memory_bytes", "Resident memory: anonymous, and pages of mapped files.", _memory(), "kind")


class _WithoutCreated:
    """A registry without the samples that say when each series was created: they double the number of series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """All metrics without these samples."""
        for family in self._registry.collect():
            family.samples = [each for each in family.samples if not each.name.endswith("_created")]
            yield family


def _of_galleries(now: ServerNumbers, name: str, text: str, member: str) -> Metric:
    return _gauge(name, text, _by_gallery(now, member), "gallery")


def _by_gallery(now: ServerNumbers, member: str) -> dict[tuple[str, ...], float]:
    return {(each.name,): getattr(each, member) for each in now.galleries}


def _by_state(now: ServerNumbers) -> dict[tuple[str, ...], float]:
    return {("ok",): len(now.galleries), ("quarantined",): now.quarantined}


def _gauge(name: str, text: str, values: dict[tuple[str, ...], float], *labels: str) -> Metric:
    family = GaugeMetricFamily(f"askew_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(name: str, text: str, values: Mapping[tuple[str, ...], float], *labels: str) -> Metric:
    family = CounterMetricFamily(f"askew_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _memory() -> dict[tuple[str, ...], float]:
    """Resident bytes by kind. Empty where the system does not report them (it does on Linux)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    kinds = {"anonymous": "RssAnon", "file": "RssFile"}
    return {(kind,): 1024.0 * int(fields[name].split()[0]) for kind, name in kinds.items() if name in fields}
