"""Time of one image through the student and through MobileNetV2-0.35, both as fp16 TFLite, in one run on one thread.

Inference alone, in turns, so that what else the machine does hits both alike; MobileNetV2 gets the same window and
read-out, and random weights, which cost the same time. Needs the extra `train`.
"""

import os
import sys
from functools import partial
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.report import Output, Report, run, seconds
from focus_picker.deep.quiet import quiet_stderr
from focus_picker.models import DEFAULT_MODEL
from focus_picker.models.bins import DEFAULT_BINS

RUNS = 15  # of one network in a turn
SHIPPED, PEER = "student (shipped)", "MobileNetV2-0.35"


def time_networks(
    output: Output = None, rounds: Annotated[int, typer.Option(min=1, help="Turns of each network.")] = 60
) -> Report:
    """Report size and median time."""
    window = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), dtype=np.uint8)
    contents = {SHIPPED: DEFAULT_MODEL.read_bytes(), PEER: peer_model(window)}
    interpreters = {name: prepared(content, window) for name, content in contents.items()}
    turns = [[seconds(ready.invoke, RUNS)[:, 0] for ready in interpreters.values()] for _ in range(rounds)]
    medians = dict(zip(contents, 1000 * np.median(turns, axis=(0, 2)), strict=True))
    rows = [
        {
            "network": name,
            "KB": f"{len(contents[name]) / 1000:.0f}",
            "median ms": median,
            "of the student": f"{median / medians[SHIPPED]:.1f}",
        }
        for name, median in medians.items()
    ]
    return Report("One image, one thread", {"": rows}, output)


def peer_model(window: np.ndarray) -> bytes:
    """Convert MobileNetV2 as the student is converted."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from focus_picker.deep.export import to_tflite
    from focus_picker.deep.student import build_student, with_readout

    return to_tflite(with_readout(build_student(DEFAULT_BINS, "mobilenet_v2_035"), DEFAULT_BINS), "weights8", window)


def prepared(content: bytes, window: np.ndarray) -> Any:
    """Load a network and give it the image; LiteRT has no types."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet_stderr():
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], window)
    return interpreter


main = partial(run, time_networks)

if __name__ == "__main__":
    sys.exit(main())
