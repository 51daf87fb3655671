"""Processor time of simulating an 11-slice 160x160 colour stack on one core, each shipped instrument.

`python benchmarks/simulation.py [--output results/simulation.md]`. Specimen, optics and camera, without writing JPEG
files; processor time, which other work on the machine moves less than wall time.
"""

import sys
import time
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np
import typer

from focus_picker.dataset.files import write_text
from focus_picker.dataset.simulation.field import FieldPlan, simulate_field
from focus_picker.dataset.simulation.instrument import known_instruments, load_instrument
from focus_picker.dataset.simulation.zero import focus_zero_um

SIDE_PX, REPEATS = 160, 5


def main(output: Annotated[Path | None, typer.Option(help="Markdown table to write.")] = None) -> None:
    """Print the table and write it if asked."""
    cv2.setNumThreads(1)
    lines = ["| instrument | slices | core seconds a stack |", "|---|---:|---:|"]
    for name in known_instruments():
        instrument = load_instrument(name)
        side_um = SIDE_PX * instrument.pixel_um
        instrument = instrument.model_copy(update={"crop_um": (side_um, side_um)})
        focus_zero_um(instrument)  # once an instrument, kept afterwards
        seconds = []
        for seed in range(REPEATS):
            started = time.process_time()
            stack = simulate_field(FieldPlan("stack_001", (None,), (seed, 0)), instrument, 0.1)[0]
            seconds.append(time.process_time() - started)
        lines.append(f"| {name} | {len(stack.images)} | {np.median(seconds):.3f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if output is not None:
        command = "python benchmarks/simulation.py --output results/simulation.md"
        write_text(output, f"# Simulating a 160x160 colour stack\n\n`{command}`\n\n{text}")


if __name__ == "__main__":
    typer.run(main)
