"""Load on the service over loopback, beside scoring in one process.

Starts ``cli.py serve``, sends single images 16 at a time, then smaller rounds for latency, batches and stacks.
Throughput is compared per second of processor time that the service itself uses, since the clients that send the load
work on the same cores. Reads /proc, so Linux only.
"""

import http.client
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import httpx
import numpy as np
import typer
from PIL import Image

from benchmarks.report import ROOT, Output, Report, Row, run, seconds
from focus_picker.dataset.images import read_image
from focus_picker.dataset.memory import MemoryFile
from focus_picker.dataset.stacks import find_stacks
from focus_picker.models import DEFAULT_MODEL
from focus_picker.stack_inference.loading import load_model
from focus_picker.stack_inference.pick import pick_focus

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


def load_service(
    output: Output = None, requests: Annotated[int, typer.Option(min=40, help="Requests of the main load.")] = 2000
) -> Report:
    """Report latency, throughput and processor time of each load."""
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
    alone = {"image": partial(score_alone, image, requests // 4), "stack": partial(pick_alone, requests // 40)}
    with service() as (address, process, started_s):
        idle_mb = memory_mb(process.pid, "VmRSS")
        rows = [measure(load, address, process.pid, alone[load.unit]) for load in loads]
        peak_mb = memory_mb(process.pid, "VmHWM")
    note = (
        f"{os.cpu_count()} cores, shared by clients and service. Single images are {SIDE_PX} x {SIDE_PX} JPEG; the "
        f"stack is the page's example. From the start of `cli.py serve` to an answer of `/health`: {started_s:.1f} s. "
        f"Memory: {idle_mb:.0f} MB idle, {peak_mb:.0f} MB at most over all loads."
    )
    return Report("The service under load", {"": rows}, output, note)


def sample_image() -> tuple[str, bytes]:
    """Make a 200 x 200 JPEG of the example's sharpest slice."""
    picture = cv2.resize(read_image(EXAMPLE / "3.jpg"), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=90)
    return "cell.jpg", buffer.getvalue()


def score_alone(image: tuple[str, bytes], times: int) -> float:
    """Processor milliseconds to decode and score one image in this process, without HTTP."""
    model, file = load_model(DEFAULT_MODEL), MemoryFile(*image)
    return 1000 * seconds(lambda: model.judge([read_image(file)]), times, warm_up=20)[:, 1].mean()


def pick_alone(times: int) -> float:
    """Processor milliseconds to pick the example stack in this process, without HTTP."""
    model, stack = load_model(DEFAULT_MODEL), find_stacks(EXAMPLE)[0]
    return 1000 * seconds(lambda: pick_focus(stack, model=model), times, warm_up=5)[:, 1].mean()


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


def measure(load: Load, address: str, pid: int, alone: Callable[[], float]) -> Row:
    """Send one load, with ``alone`` measured just before and after, since the machine's speed drifts."""
    body, headers = load.body()
    latency_ms: list[float] = []
    errors: list[int] = []

    def send(count: int) -> None:
        with closing(http.client.HTTPConnection(address, timeout=60)) as connection:
            for _ in range(count):
                began = time.perf_counter()
                connection.request("POST", load.path, body, headers)
                answer = connection.getresponse()
                answer.read()
                latency_ms.append(1000 * (time.perf_counter() - began))
                if answer.status != 200:
                    errors.append(answer.status)

    send(10)  # warm
    latency_ms.clear()
    before = alone()
    threads = [threading.Thread(target=send, args=(load.requests // load.at_once,)) for _ in range(load.at_once)]
    began, used = time.perf_counter(), cpu_seconds(pid)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken, used = time.perf_counter() - began, cpu_seconds(pid) - used
    count = len(latency_ms) * load.images
    alone_ms, cpu_ms = (before + alone()) / 2, 1000 * used / count
    return {
        "load": load.name,
        "requests": len(latency_ms),
        "errors": len(errors),
        "p50, ms": f"{np.median(latency_ms):.1f}",
        "p95, ms": f"{np.quantile(latency_ms, 0.95):.1f}",
        "images or stacks / s": f"{count / taken:.0f}",
        "service's CPU ms each": f"{cpu_ms:.2f}",
        "without HTTP": f"{alone_ms:.2f}",
        "of in-process throughput per core": f"{alone_ms / cpu_ms:.0%}" if cpu_ms else "",
    }


def processes(pid: int) -> list[int]:
    """A process and all below it: the service and its workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(below for child in children for below in processes(int(child)))]


def cpu_seconds(pid: int) -> float:
    """Processor time that a process and those below it have used, user and system."""
    stats = [Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split() for one in processes(pid)]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / TICKS


def memory_mb(pid: int, name: str) -> float:
    """VmRSS (now) or VmHWM (at most) of a process and those below it in MB, what they share in each."""
    texts = [Path(f"/proc/{one}/status").read_text().splitlines() for one in processes(pid)]
    return sum(int(next(line for line in lines if line.startswith(name)).split()[1]) for lines in texts) / 1024


main = partial(run, load_service)

if __name__ == "__main__":
    sys.exit(main())
