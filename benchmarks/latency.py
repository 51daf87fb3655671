"""Time of one image through the student and through MobileNetV2-0.35, both as fp16 TFLite, in one run on one thread.

`python benchmarks/latency.py [--output results/latency.md]`; needs the extra `train`. Inference alone, in turns,
so that the machine's mood meets both; MobileNetV2 gets the same window and read-out, and random weights, which cost the
same time.
"""

import os
import sys
import time
from pathlib import Path
from typing import Annotated

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import typer

from focus_picker.dataset.files import write_text
from focus_picker.deep.export import to_tflite
from focus_picker.deep.quiet import quiet_stderr
from focus_picker.deep.student import build_student, with_readout
from focus_picker.models import DEFAULT_MODEL
from focus_picker.models.bins import DEFAULT_BINS

ROUNDS, RUNS = 60, 15


def main(output: Annotated[Path | None, typer.Option(help="Markdown table to write.")] = None) -> None:
    """Print the table and write it if asked."""
    window = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), dtype=np.uint8)
    peer = with_readout(build_student(DEFAULT_BINS, "mobilenet_v2_035"), DEFAULT_BINS)
    contents = {"student (shipped)": DEFAULT_MODEL.read_bytes(), "MobileNetV2-0.35": to_tflite(peer, "fp16", window)}
    interpreters = {name: _prepare(content, window) for name, content in contents.items()}
    times: dict[str, list[float]] = {name: [] for name in contents}
    for _ in range(ROUNDS):
        for name, interpreter in interpreters.items():
            for _ in range(RUNS):
                started = time.perf_counter()
                interpreter.invoke()
                times[name].append(time.perf_counter() - started)
    medians = {name: 1000 * float(np.median(values)) for name, values in times.items()}
    reference = medians["student (shipped)"]
    lines = ["| network | KB | median ms | of the student |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {len(contents[name]) / 1000:.0f} | {median:.3f} | {median / reference:.1f} |"
        for name, median in medians.items()
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if output is not None:
        head = "# One image, one thread\n\n`python benchmarks/latency.py --output results/latency.md`\n\n"
        write_text(output, head + text)


def _prepare(content: bytes, window: np.ndarray):  # noqa: ANN202 - LiteRT has no types
    from ai_edge_litert.interpreter import Interpreter

    with quiet_stderr():
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], window)
    return interpreter


if __name__ == "__main__":
    typer.run(main)
