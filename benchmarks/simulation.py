"""Processor time of simulating a stack of 160 x 160 pixels with each shipped instrument, without writing JPEG files."""

import sys
from functools import partial
from typing import Annotated

import numpy as np
import typer

from benchmarks.report import Output, Report, Row, run, seconds
from focus_picker.dataset.simulation.field import FieldPlan, simulate_field
from focus_picker.dataset.simulation.instrument import known_instruments, load_instrument
from focus_picker.dataset.simulation.zero import optical_zero_um

SIDE_PX = 160


def time_simulation(
    output: Output = None, repeats: Annotated[int, typer.Option(min=1, help="Stacks an instrument.")] = 5
) -> Report:
    """Report the median over the stacks; processor time, which other work on the machine moves less."""
    return Report(
        f"Simulating a {SIDE_PX}x{SIDE_PX} colour stack",
        {"": [time_row(name, repeats) for name in known_instruments()]},
        output,
    )


def time_row(name: str, repeats: int) -> Row:
    """Time one instrument: specimen, optics and camera."""
    instrument = load_instrument(name)
    side_um = SIDE_PX * instrument.pixel_um
    instrument = instrument.model_copy(update={"crop_um": (side_um, side_um)})
    optical_zero_um(instrument)  # once an instrument, kept afterwards
    plans = [FieldPlan("stack_001", (None,), (seed, 0)) for seed in range(repeats)]
    taken = [seconds(partial(simulate_field, plan, instrument, 0.1))[0, 1] for plan in plans]
    return {"instrument": name, "slices": instrument.n_slices, "core seconds a stack": np.median(taken)}


main = partial(run, time_simulation)

if __name__ == "__main__":
    sys.exit(main())
