"""What Prometheus reads at /metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from dept_vl.serve.engine import Answered, AnswerEngine

_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SECONDS = (
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.05, 0.06, 0.075, 0.1, 0.15, 0.2,
    0.3, 0.5, 1, 2, 5, 10, 30,
)  # fmt: skip


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "dept_vl_requests", "Finished requests, by address and status (499: the client was gone)",
            ("path", "status"), registry=registry,
        )  # fmt: skip
        self.rows = Counter("dept_vl_rows", "Rows that came to the queue", ("kind",), registry=registry)
        self.errors = Counter("dept_vl_errors", "Requests refused or failed, by status", ("status",), registry=registry)
        self.texts = Counter(
            "dept_vl_texts", "Different texts of batches that were cut, or that the tokenizer altered", ("how",),
            registry=registry,
        )  # fmt: skip
        self.batch_rows = Histogram("dept_vl_batch_rows", "Rows of a batch", registry=registry, buckets=_ROWS)
        self.batch_adapters = Histogram(
            "dept_vl_batch_adapters", "Different adapters of a batch", registry=registry, buckets=_ROWS
        )
        self.queue_seconds = Histogram(
            "dept_vl_queue_seconds", "Seconds that a row waited", registry=registry, buckets=_SECONDS
        )
        self.model_seconds = Histogram(
            "dept_vl_model_seconds", "Seconds that a batch took", registry=registry, buckets=_SECONDS
        )

    def watch(self, engine: AnswerEngine) -> None:
        """Add what the engine knows at the moment of reading."""
        waiting = Gauge("dept_vl_waiting_rows", "Rows in the queue", registry=self.registry)
        waiting.set_function(lambda: engine.waiting)
        loaded = Gauge("dept_vl_adapters", "Adapters that are loaded", registry=self.registry)
        loaded.set_function(lambda: len(engine.adapters))

    def batch(self, answered: Answered) -> None:
        """For `AnswerEngine(observe=...)`."""
        self.batch_rows.observe(len(answered.queued))
        self.batch_adapters.observe(answered.adapters)
        self.model_seconds.observe(answered.seconds)
        self.texts.labels("cut").inc(answered.cut)
        self.texts.labels("altered").inc(answered.altered)
        for seconds in answered.queued:
            self.queue_seconds.observe(seconds)

    def request(self, path: str, status: int) -> None:
        self.requests.labels(path, str(status)).inc()
        if status >= 400:
            self.errors.labels(str(status)).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)
