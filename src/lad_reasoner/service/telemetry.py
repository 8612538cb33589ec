"""What Prometheus is told: requests, inspections, the queue.

telemetry = Telemetry()
telemetry.inspections.labels("bottle", "good").inc()
telemetry.text()                                 # what /metrics answers
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Telemetry:
    """The counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("lad_requests", "Requests", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "lad_request_seconds", "Seconds of a request", ["route"], buckets=SECONDS, registry=registry
        )
        self.refused = Counter("lad_refused", "Requests that were refused unread", ["why"], registry=registry)
        self.inspections = Counter("lad_inspections", "Inspected parts", ["station", "outcome"], registry=registry)
        self.batches = Histogram("lad_batch_size", "Pictures of a batch", buckets=SIZES, registry=registry)
        self.judging = Histogram("lad_batch_seconds", "Seconds of a batch", buckets=SECONDS, registry=registry)
        self.waiting = Gauge("lad_queue_waiting", "Pictures that wait for the judge", registry=registry)

    def observe_batch(self, size: int, seconds: float) -> None:
        """What a BatchQueue calls."""
        self.batches.observe(size)
        self.judging.observe(seconds)

    def watch_queue(self, length: Callable[[], float]) -> None:
        """Ask this function how many pictures wait."""
        self.waiting.set_function(length)

    def text(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self.registry)
