"""Load on the service over loopback, beside scoring in one process: `python benchmarks/serve.py`.

About a minute. Starts ``cli.py serve``, sends 2,000 single images 16 at a time, then smaller rounds for latency, and
writes results/serve.md. Throughput is compared per second of processor time that the service itself uses, since the
clients that send the load work on the same cores.
"""

import http.client
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import httpx
import numpy as np
import typer
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from focus_picker.dataset.files import write_text  # noqa: E402
from focus_picker.dataset.images import read_image  # noqa: E402
from focus_picker.dataset.memory import MemoryFile  # noqa: E402
from focus_picker.dataset.stacks import find_stacks  # noqa: E402
from focus_picker.models import DEFAULT_MODEL  # noqa: E402
from focus_picker.stack_inference.loading import load_model  # noqa: E402
from focus_picker.stack_inference.pick import pick_focus  # noqa: E402

EXAMPLE = ROOT / "serve" / "page" / "example"
SIDE_PX = 200
BATCH = 64
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """One kind of load: what is sent, how often, how many at a time, and how many images a request holds."""

    name: str
    path: str
    files: Sequence[tuple[str, bytes]]
    requests: int
    at_once: int
    raw: bool = False
    unit: str = "image"

    @property
    def images(self) -> int:
        """Images (or stacks) of one request."""
        return len(self.files) if self.unit == "image" else 1

    def body(self) -> tuple[bytes, dict[str, str]]:
        """Body and headers, made once, so that the clients cost little."""
        if self.raw:
            return self.files[0][1], {"Content-Type": "image/jpeg"}
        request = httpx.Request("POST", "http://x", files=[("files", file) for file in self.files])
        return request.read(), {"Content-Type": request.headers["content-type"]}


@dataclass(frozen=True)
class Outcome:
    """What a load met.

    Latencies in milliseconds, requests a second, processor milliseconds of the service for an image or stack, and those
    of the same without HTTP, measured just before and after, since the machine's speed drifts.
    """

    load: Load
    latency_ms: np.ndarray
    per_second: float
    cpu_ms: float
    alone_ms: float
    errors: int


def main(
    output: Annotated[Path, typer.Option(help="Markdown file to write.")] = ROOT / "results" / "serve.md",
    requests: Annotated[int, typer.Option(help="Requests of the main load.")] = 2000,
) -> None:
    """Measure and write the table."""
    image = sample_image()
    slices = [(path.name, path.read_bytes()) for path in sorted(EXAMPLE.glob("*.jpg"))]
    loads = [
        Load("/score, 16 at a time", "/score", [image], requests, 16),
        Load("/score, 4 at a time", "/score", [image], requests // 2, 4),
        Load("/score, 4 at a time, body is the image", "/score", [image], requests // 2, 4, raw=True),
        Load("/score, one at a time", "/score", [image], requests // 4, 1),
        Load(f"/score-batch of {BATCH}, 2 at a time", "/score-batch", [image] * BATCH, requests // 20, 2),
        Load("/pick-focus of 11 slices, one at a time", "/pick-focus", slices, requests // 10, 1, unit="stack"),
        Load("/pick-focus of 11 slices, 2 at a time", "/pick-focus", slices, requests // 10, 2, unit="stack"),
    ]
    alone: dict[str, Callable[[], float]] = {"image": lambda: score_alone(image), "stack": pick_alone}
    with service() as (address, process, started_s):
        idle_mb = memory_mb(process.pid, "VmRSS")
        outcomes = [measure(load, address, process.pid, alone[load.unit]) for load in loads]
        peak_mb = memory_mb(process.pid, "VmHWM")
    text = report(outcomes, started_s, idle_mb, peak_mb)
    write_text(output, text)
    print(text)


def sample_image() -> tuple[str, bytes]:
    """Make a 200 x 200 JPEG of the example's sharpest slice."""
    picture = cv2.resize(read_image(EXAMPLE / "3.jpg"), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=90)
    return "cell.jpg", buffer.getvalue()


def score_alone(image: tuple[str, bytes], times: int = 500) -> float:
    """Processor milliseconds to decode and score one image in this process, without HTTP."""
    model, file = load_model(DEFAULT_MODEL), MemoryFile(*image)
    for _ in range(20):
        model.judge([read_image(file)])
    started = time.process_time()
    for _ in range(times):
        model.judge([read_image(file)])
    return 1000 * (time.process_time() - started) / times


def pick_alone(times: int = 50) -> float:
    """Processor milliseconds to pick the example stack in this process, without HTTP."""
    model, stack = load_model(DEFAULT_MODEL), find_stacks(EXAMPLE)[0]
    for _ in range(5):
        pick_focus(stack, model=model)
    started = time.process_time()
    for _ in range(times):
        pick_focus(stack, model=model)
    return 1000 * (time.process_time() - started) / times


@contextmanager
def service() -> Iterator[tuple[str, subprocess.Popen[str], float]]:
    """Run the service; yield its address, its process, and the seconds until /health answered."""
    started = time.perf_counter()
    command = [sys.executable, "cli.py", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[0]
            assert httpx.get(f"{address}/health").json()["model_loaded"]
            yield address.removeprefix("http://"), process, time.perf_counter() - started
        finally:
            process.terminate()


def measure(load: Load, address: str, pid: int, alone: Callable[[], float]) -> Outcome:
    """Send one load and collect what came back."""
    body, headers = load.body()
    latencies: list[float] = []
    errors: list[int] = []

    def send(count: int) -> None:
        connection = http.client.HTTPConnection(address, timeout=60)
        for _ in range(count):
            began = time.perf_counter()
            connection.request("POST", load.path, body, headers)
            answer = connection.getresponse()
            answer.read()
            latencies.append(1000 * (time.perf_counter() - began))
            if answer.status != 200:
                errors.append(answer.status)

    send(10)  # warm
    latencies.clear()
    before = alone()
    threads = [threading.Thread(target=send, args=(load.requests // load.at_once,)) for _ in range(load.at_once)]
    began, used = time.perf_counter(), cpu_seconds(pid)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, used = time.perf_counter() - began, cpu_seconds(pid) - used
    return Outcome(
        load,
        np.array(latencies),
        len(latencies) / seconds,
        1000 * used / len(latencies) / load.images,
        (before + alone()) / 2,
        len(errors),
    )


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int, name: str) -> float:
    """VmRSS (now) or VmHWM (at most) of a process in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def report(outcomes: Sequence[Outcome], started_s: float, idle_mb: float, peak_mb: float) -> str:
    """Write the table."""
    rows = [
        f"| {one.load.name} | {len(one.latency_ms)} | {one.errors} | {np.median(one.latency_ms):.1f} "
        f"| {np.quantile(one.latency_ms, 0.95):.1f} | {one.per_second * one.load.images:.0f} "
        f"| {one.cpu_ms:.2f} | {one.alone_ms:.2f} | {one.alone_ms / one.cpu_ms:.0%} |"
        for one in outcomes
    ]
    return "\n".join(
        [
            "# The service under load",
            "",
            f"`python benchmarks/serve.py` on {os.cpu_count()} cores, shared by clients and service. Single images are "
            f"{SIDE_PX} x {SIDE_PX} JPEG; the stack is the page's example.",
            "",
            f"- from the start of `cli.py serve` to an answer of `/health`: {started_s:.1f} s",
            f"- memory: {idle_mb:.0f} MB idle, {peak_mb:.0f} MB at most over all loads",
            "",
            "| load | requests | errors | p50, ms | p95, ms | images or stacks / s | service's CPU ms each "
            "| without HTTP | of in-process throughput per core |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    typer.run(main)
