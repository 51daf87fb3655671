"""Figures of the running service in Prometheus' text format: requests, scores, and how the latest images look."""

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from focus_picker.dataset.version import VERSION
from focus_picker.drift.profile import UNSURE, Profile, rolling_drift
from focus_picker.drift.quantities import QUANTITIES
from focus_picker.serve.pool import Pool

disable_created_metrics()  # a time of birth for every series would double the text

PREFIX = "focus_picker"
LATENCY_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)

DRIFT_FIGURES = {
    "psi": "Population stability index of the rolling images against the reference.",
    "psi_chance": "The index that chance alone exceeds in 5 % of cases at this number of images.",
    "ks": "Kolmogorov-Smirnov distance of the rolling images from the reference.",
}
"""Field of a drift figure and what it means."""


class Rolling:
    """The latest scored images, one number each for the quantities that tell whether they still look like before.

    Single images only: the slices of a stack are out of focus on purpose, and would drown what the scan delivers.

    Parameters
    ----------
    length
        Number of images.
    """

    def __init__(self, length: int) -> None:
        self._rows: deque[dict[str, float]] = deque(maxlen=length)

    def add(self, quantities: dict[str, float]) -> None:
        """Take in one image (``drift.quantities``); an unreadable one has nothing to give."""
        if quantities:
            self._rows.append(quantities)

    def values(self) -> dict[str, np.ndarray]:
        """Return the values of each quantity, oldest first; empty arrays before the first image."""
        rows = list(self._rows)
        return {name: np.array([row[name] for row in rows]) for name in QUANTITIES}


class RollingCollector(Collector):
    """What the rolling figures are, worked out when they are asked for.

    Parameters
    ----------
    rolling
        The latest images.
    reference
        What they are compared with; None leaves the drift out.
    """

    def __init__(self, rolling: Rolling, reference: Profile | None) -> None:
        self._rolling = rolling
        self._reference = reference

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the families."""
        values = self._rolling.values()
        yield from self._drift(values)
        unsure = values.pop(UNSURE)
        yield GaugeMetricFamily(f"{PREFIX}_rolling_images", "Images the rolling figures are about.", len(unsure))
        if not len(unsure):
            return
        yield GaugeMetricFamily(
            f"{PREFIX}_rolling_unsure_share", "Share of them that are unsure.", float(unsure.mean())
        )
        median = GaugeMetricFamily(f"{PREFIX}_rolling_median", "Median of a quantity over them.", labels=["quantity"])
        for name, numbers in values.items():
            median.add_metric([name], float(np.median(numbers)))
        yield median

    def _drift(self, values: dict[str, np.ndarray]) -> Iterator[GaugeMetricFamily]:
        """Yield the distance of each quantity from the reference; none before there are enough images to tell."""
        if self._reference is None:
            return
        figures = rolling_drift(self._reference, values)
        for field, meaning in DRIFT_FIGURES.items():
            family = GaugeMetricFamily(f"{PREFIX}_drift_{field}", meaning, labels=["quantity"])
            for name, figure in figures.items():
                family.add_metric([name], float(getattr(figure, field)))
            yield family


class WorkerCollector(Collector):
    """What service and model are, and what the worker processes take.

    Parameters
    ----------
    pool
        The workers.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        """Yield the families; memory and time of processes where the system tells them."""
        model = self._pool.model
        about = {"version": VERSION, "model": model.name, "model_version": str(model.version)}
        about |= {"model_sha256": model.sha256, "calibrated": str(model.calibrated).lower()}
        yield InfoMetricFamily(f"{PREFIX}_build", "Versions of service and model.", about)
        yield CounterMetricFamily(
            f"{PREFIX}_workers_replaced", "Workers that were killed or died.", self._pool.replaced
        )
        found = [figures for pid in self._pool.pids if (figures := _process_figures(pid))]
        yield GaugeMetricFamily(f"{PREFIX}_workers", "Worker processes.", len(found))
        memory = sum(memory for memory, _ in found)
        yield GaugeMetricFamily(
            f"{PREFIX}_workers_resident_bytes", "Memory of the workers, shared parts in each.", memory
        )
        yield GaugeMetricFamily(
            f"{PREFIX}_workers_cpu_seconds", "Processor time of the workers that run.", sum(cpu for _, cpu in found)
        )


def _process_figures(pid: int) -> tuple[int, float] | None:
    """Resident bytes and processor seconds of a process, None where they cannot be read."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Telemetry:
    """Counters of one service, with a registry of its own so that two services may live in one process."""

    def __init__(self, rolling_images: int, pool: Pool, reference: Profile | None = None) -> None:
        self.paths: frozenset[str] = frozenset()
        self.registry = CollectorRegistry()
        self.rolling = Rolling(rolling_images)
        self.registry.register(RollingCollector(self.rolling, reference))
        self.registry.register(WorkerCollector(pool))
        ProcessCollector(registry=self.registry)
        self.requests = Counter(f"{PREFIX}_requests", "Requests answered.", ["path", "status"], registry=self.registry)
        self.seconds = Histogram(
            f"{PREFIX}_request_seconds", "Time to the answer's end.", ["path"], buckets=LATENCY_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.in_flight = Gauge(f"{PREFIX}_requests_in_flight", "Requests being received or worked on.",
                               registry=self.registry)  # fmt: skip
        self.images = Counter(f"{PREFIX}_images", "Single images scored.", ["status"], registry=self.registry)
        self.stacks = Counter(f"{PREFIX}_stacks", "Stacks picked.", ["status"], registry=self.registry)

    def count_image(self, status: str, quantities: dict[str, float]) -> None:
        """Count a single image and take it into the rolling figures, unless it has no quantities."""
        self.images.labels(status).inc()
        self.rolling.add(quantities)

    def count_stack(self, status: str) -> None:
        """Count one stack."""
        self.stacks.labels(status).inc()

    def exposition(self) -> bytes:
        """Return the text that ``/metrics`` answers."""
        return generate_latest(self.registry)
