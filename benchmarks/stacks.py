"""Best plane of a stack: every method and its peers side by side.

Simulates stacks of three instruments from real crops (once; kept in --work), picks them with the shipped model and with
one trained on that instrument; adds the real curves and the real smear stack where --data has them, stacks that go
wrong, and times. With --curves only the split-half table of these files: the best plane estimated from the even and
from the odd planes of each stack, which should agree.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from benchmarks.crafted_stacks import crafted_rows, strange_rows
from benchmarks.other_stacks import beside_tenengrad, blood_halves, other_rows
from benchmarks.real_stacks import curve_rows, smear_rows, split_half_rows
from benchmarks.report import DATA, ROOT, Output, Report, Row, run, seconds, shown
from benchmarks.simulated_stacks import BY_SHARPNESS, Optics, Workshop, coverage_rows, truth_rows
from focus_picker.dataset.simulation.instrument import load_instrument
from focus_picker.dataset.stacks import find_stacks
from focus_picker.models import DEFAULT_MODEL
from focus_picker.models.contract import Model
from focus_picker.stack_inference.calibration import best_planes
from focus_picker.stack_inference.loading import load_model
from focus_picker.stack_inference.pick import pick_focus

INSTRUMENTS = ("oil100", "dry50", "dry40")
SIMULATION, HALVES = "Simulated from real crops", "Real curves, even planes against odd planes"
COVERAGE, CRAFTED = "Coverage of the 90 % interval of fused", "Crafted stacks"
OTHERS, ALL_OTHERS = "Microscopes that nothing was made for: fused without a model", "The same, every method and peer"
BLOOD_HALVES = "Real blood, even planes against odd planes"
SHIPPED, OWN = "default model", "own model"
WORK = ROOT / "results" / "runs" / "stacks_data"
TIMES = 25
CAVEATS = (
    "Errors in slices. Test stacks are simulated from crops that neither the shipped nor the instruments' own models "
    "saw. `scatter` is the mean error about the method's own median, so that a constant offset does not "
    "count; `slope` of estimate against truth shows a method that shrinks to the middle. `coverage` is that of the "
    "90 % interval. Real WBC curves are those that nothing was learned from. Times under Targets are those of "
    "the processor; the clock's are under Time."
)


def compare_methods(
    curves: Annotated[
        list[Path] | None, typer.Option(help="Only the split-half table of this file; repeat it for more.")
    ] = None,
    measure: Annotated[str, typer.Option(help="Measure of the curves.")] = "tenengrad",
    every: Annotated[int, typer.Option(min=1, help="Take every n-th real curve.")] = 1,
    stacks: Annotated[int, typer.Option(min=2, help="Simulated test stacks an instrument.")] = 150,
    train_stacks: Annotated[int, typer.Option(help="Stacks that an instrument's own model learns from.")] = 240,
    crafted: Annotated[int, typer.Option(min=1, help="Crafted stacks of each kind.")] = 200,
    model: Annotated[str, typer.Option(help="default (the shipped one), none, or a model file or run.")] = "default",
    own: Annotated[str, typer.Option(help="Instruments with a model of their own, by commas; or none.")] = ",".join(
        INSTRUMENTS
    ),
    work: Annotated[Path, typer.Option(help="Folder for what is simulated and trained.")] = WORK,
    data: Annotated[Path, typer.Option(help="Folder with wbc_crops, focus_curves, smear_stack.")] = DATA,
    output: Output = None,
) -> Report:
    """Report all parts that the data at hand allow."""
    if curves:
        rows = [row for path in curves for row in split_half_rows(path, measure, every=every)]
        return Report(HALVES, {"": rows}, output)
    workshop = Workshop(work, data / "wbc_crops", {"test": stacks, "train": train_stacks})
    folders = {name: workshop.dataset(name) for name in INSTRUMENTS}
    given = given_model(model)
    say("simulated stacks")
    simulated: list[Row] = []
    for name, folder in folders.items():
        models = given | ({OWN: workshop.own_model(name)} if name in own.split(",") else {})
        optics = load_instrument(name)
        told = Optics(optics.numerical_aperture, optics.pixel_um)
        simulated += truth_rows(name, find_stacks(folder)[:stacks], best_planes(folder), models, told)
    tables: dict[str, list[Row]] = {COVERAGE: coverage_rows(simulated, [*given, OWN]), SIMULATION: simulated}
    say("other microscopes")
    others = other_rows(data, given)
    tables |= {OTHERS: beside_tenengrad(others), BLOOD_HALVES: blood_halves(data), ALL_OTHERS: others}
    say("real stacks, time")
    tables[HALVES] = curve_rows(data / "focus_curves", measure, every)
    tables["Real smear stack with planes missing"] = smear_rows(data / "smear_stack" / "cell_stacks", given)
    tables["Time"] = time_rows(folders["dry50"], given)
    say("images outside the model's competence, crafted stacks")
    tables["Outside the model's competence"] = strange_rows([*folders.values()], crafted // 4, given)
    tables[CRAFTED] = crafted_rows([*folders.values()], crafted, {"none": None} | given)
    return Report("Best plane of a stack", {"Targets": target_rows(tables), **tables}, output, CAVEATS, csv=True)


def given_model(word: str) -> dict[str, Model]:
    """Model that stands for the shipped one, by its name for the tables: ``default``, ``none``, or a path."""
    if word == "none":
        return {}
    return {SHIPPED: load_model(DEFAULT_MODEL)} if word == "default" else {"given model": load_model(word)}


def say(part: str) -> None:
    """Name what comes next, with the time used so far, on stderr."""
    print(f"{time.process_time():5.0f} s of processor time  {part}", file=sys.stderr, flush=True)


def time_rows(dataset: Path, models: Mapping[str, Model]) -> list[Row]:
    """Whole path from ten JPEG files of 200 x 200 pixels to the pick on one core, in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        for index, plane in enumerate(find_stacks(dataset)[0].slices[:10]):
            cv2.imwrite(f"{folder}/{index}.jpg", cv2.resize(plane.read(), (200, 200))[..., ::-1])
        (stack,) = find_stacks(folder)
        works = {method: partial(pick_focus, stack, method=method) for method in BY_SHARPNESS}
        works |= {f"fused ({label})": partial(pick_focus, stack, model=model) for label, model in models.items()}
        return [{"method": name, **time_figures(work)} for name, work in works.items()]


def time_figures(work: Callable[[], object]) -> Row:
    """Figures of one method."""
    clock, processor = 1000 * seconds(work, TIMES, warm_up=1).T
    return {"median ms": np.median(clock), "fastest ms": clock.min(), "median processor ms": np.median(processor)}


def target_rows(tables: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Figures that were asked for, beside the measured ones; rows without data are left out."""
    names = " / ".join(INSTRUMENTS)
    wbc, alone = {"file": "wbc.npz", "method": "skewed"}, {"method": "fused (sharpness)"}
    shipped, own = {"method": f"fused ({SHIPPED})"}, {"method": f"fused ({OWN})"}
    others = " / ".join(row["instrument"] for row in tables[OTHERS])
    time_ms = "median processor ms"
    asked: list[tuple[str, str, str, str, dict[str, str]]] = [
        ("real WBC curves, halves, all stacks: mean, planes", "0.14", HALVES, "mean with end slices", wbc),
        ("real WBC curves, halves: p90, planes", "0.28", HALVES, "p90", wbc),
        ("real blood, halves by those of Tenengrad, parabola", "0.6", BLOOD_HALVES, "ratio", {"method": "fused"}),
        (f"{others}: mean error by that of Tenengrad, parabola", "0.9", OTHERS, "ratio", {}),
        (f"{others}: mean error, slices", "0.05 over the five", OTHERS, "mean", {}),
        (f"{others}: bias, slices", "-0.05 to 0.05 in colour", OTHERS, "bias", {}),
        (f"{others}: coverage", "0.85 to 0.95", OTHERS, "coverage", {}),
        (f"{names}, no model: bias, slices", "-0.05 to 0.05", SIMULATION, "bias", alone),
        (f"{names}, no model: mean error, slices", "", SIMULATION, "mean", alone),
        (f"{names}, shipped model: mean error, slices", "as without", SIMULATION, "mean", shipped),
        (f"{names}, own model: mean error, slices", "as without", SIMULATION, "mean", own),
        ("crafted stacks, the worst kind: right status", "0.99", CRAFTED, "right", {"scorer": "none"}),
        ("the same with the shipped model", "0.99", CRAFTED, "right", {"scorer": SHIPPED}),
        ("10 JPEG files to the pick, one core: ms", "25", "Time", time_ms, {"method": "fused"}),
        ("the same with the shipped model", "25", "Time", time_ms, shipped),
    ]
    rows = []
    for name, target, title, figure, wanted in asked:
        found = [row[figure] for row in tables[title] if wanted.items() <= row.items()]
        found = [min(found)] if found and title == CRAFTED else found
        rows += [{"measure": name, "target": target, "measured": ", ".join(map(shown, found))}] if found else []
    return rows


main = partial(run, compare_methods)

if __name__ == "__main__":
    sys.exit(main())
