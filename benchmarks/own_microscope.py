"""A microscope's own model from its unlabelled stacks: scores and picks against the number of stacks learned from.

For each folder of stacks whose truth is known, models are adapted to some of the stacks of one half of the fields and
judged on all of the other half. Truth is read after adapting and for judging only. Each folder and number of stacks is
a row of the CSV file beside the table, which keeps rows of earlier calls, so that the benchmark can be run in parts.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import pandas as pd
import typer
from matplotlib.figure import Figure

from benchmarks.report import DATA, ROOT, Report, Row, run
from focus_picker.adaptation.adapt import adapt
from focus_picker.adaptation.network import Tuning
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import write_text
from focus_picker.dataset.labels import field_of
from focus_picker.dataset.stacks import Stack, find_stacks
from focus_picker.evaluation import plots
from focus_picker.evaluation.sides import side_figures
from focus_picker.models import DEFAULT_MODEL
from focus_picker.models.contract import Model
from focus_picker.models.focus_state import UNCALIBRATED, UNSURE
from focus_picker.stack_inference.loading import load_model
from focus_picker.stack_inference.pick import pick_focus

TITLE = "A microscope's own model from unlabelled stacks"
OUTPUT = ROOT / "results" / "own_microscope.md"
COUNTS = (0, 1, 3, 5, 10, 12, 20)
STEP = 0.2  # score a slice
ENOUGH = 0.9  # of the stacks asked for that half of a folder must hold
TRUTHS = {"truth.csv": "best_z_slice", "sharpest.csv": "sharpest_z_slice"}
BY_FIELD_ONLY = {"real_blood": "stack_000"}  # cells from all over the field of view, which halves cannot divide
NOTE = (
    "Learned on stacks without labels of one half of the fields, judged on the other half. `stacks` 0 is the default "
    "model that ships: it names no side on a microscope that it was not calibrated on, which counts as unsure. "
    "`confidently wrong`: not unsure, on the wrong side, more than two slices from focus. `pick` is "
    "the mean error of the best plane in slices with this model, beside sharpness alone and Tenengrad with a parabola "
    "through three slices (OpenCV). `steps` are of fine-tuning. Seconds are those of the processor, labelling and "
    "cross-validation included. Each call measures its folders and counts and keeps the rows of earlier calls."
)


def own_microscope(
    data: Annotated[Path, typer.Option(help="Folder with other_optics and real_blood.")] = DATA,
    folders: Annotated[str, typer.Option(help="Names of folders by commas; all if none.")] = "",
    counts: Annotated[str, typer.Option(help="Numbers of stacks to learn from, by commas.")] = ",".join(
        map(str, COUNTS)
    ),
    steps: Annotated[int, typer.Option(help="Of fine-tuning.")] = Tuning().steps,
    output: Annotated[Path, typer.Option(help="Markdown file to write; CSV and picture lie beside it.")] = OUTPUT,
) -> Report:
    """Adapt, judge, and report every row that is known."""
    table = output.with_suffix(".csv")
    for folder in _folders(data, folders.split(",") if folders else []):
        learn, test = halves(find_stacks(folder), BY_FIELD_ONLY.get(folder.name, ""))
        truth, plain = truth_of(folder), None
        for count in map(int, counts.split(",")):
            if len(learn) >= ENOUGH * count:
                count = min(count, len(learn))
                plain = plain or plain_picks(test, truth)
                try:
                    made = measured(learn, test, truth, count, steps)
                except InputError as error:  # none of so few stacks could be labelled; others may be
                    print(f"{folder.name}, {count} stacks: {error}", file=sys.stderr)
                    continue
                _keep(table, {"folder": folder.name, "stacks": count} | made | plain)
    rows = pd.read_csv(table)
    plots.save_figure(_picture(rows), output.with_suffix(".png"))
    return Report(TITLE, {"": [_shown(row) for row in _rows(rows)]}, output, NOTE)


def _folders(data: Path, wanted: Sequence[str]) -> list[Path]:
    found = [path for path in [*sorted(data.glob("other_optics/*")), data / "real_blood"] if path.is_dir()]
    chosen = [path for path in found if not wanted or path.name in wanted]
    if not chosen:
        raise InputError(f"{data} holds none of the folders wanted; give --data where other_optics or real_blood lie")
    return chosen


def halves(stacks: Sequence[Stack], without: str) -> tuple[list[Stack], list[Stack]]:
    """Stacks of the first and of the second half of the fields; those to learn from take turns over their fields."""
    fields = sorted({field_of(stack.name) for stack in stacks} - {without})
    first = fields[: len(fields) // 2]
    by_field = [[stack for stack in stacks if field_of(stack.name) == field] for field in first]
    longest = max(map(len, by_field), default=0)
    learn = [part[turn] for turn in range(longest) for part in by_field if turn < len(part)]
    return learn, [stack for stack in stacks if field_of(stack.name) in fields[len(fields) // 2 :]]


def truth_of(folder: Path) -> dict[str, float]:
    """Sharpest plane of each stack, in slices."""
    name = next(name for name in TRUTHS if (folder / name).is_file())
    table = pd.read_csv(folder / name)
    stack = table["image_path"].str.split("/").str[1]
    return {str(key): float(value) for key, value in table.groupby(stack)[TRUTHS[name]].first().items()}


def measured(learn: Sequence[Stack], test: Sequence[Stack], truth: dict[str, float], count: int, steps: int) -> Row:
    """Adapt to ``count`` stacks and judge the result; 0 is the default model."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as place:
        if count:
            adapt([stack.path for stack in learn[:count]], Path(place) / "run", tuning=Tuning(steps=steps), jobs=1)
        seconds = time.process_time() - started
        model = load_model(Path(place) / "run" if count else DEFAULT_MODEL)
        return {"steps": steps if count else 0, "cpu_seconds": seconds} | judge(model, test, truth)


def judge(model: Model, test: Sequence[Stack], truth: dict[str, float]) -> Row:
    """Figures of a model's scores and of its picks on stacks with known truth."""
    parts, errors, kept = [], [], []
    for stack in test:
        judged = model.judge([part.read() for part in stack.slices])
        true = STEP * (np.arange(len(stack.slices)) - truth[stack.name])
        parts.append(judged.as_table().assign(true=true))
        pick = pick_focus(stack, model=model)
        errors.append(abs(pick.best_position - truth[stack.name]))
        low, high = pick.interval
        kept.append(low <= truth[stack.name] <= high)
    table = pd.concat(parts)
    sure = ~table["status"].isin([UNSURE, UNCALIBRATED]).to_numpy()
    return {
        **side_figures(table["score"].to_numpy(), table["true"].to_numpy(), sure, STEP),
        "coverage": ((table["lower"] <= table["true"]) & (table["true"] <= table["upper"])).mean(),
        "pick": np.nanmean(errors),
        "pick_coverage": np.mean(kept),
    }


def plain_picks(test: Sequence[Stack], truth: dict[str, float]) -> Row:
    """Mean error of the best plane, in slices, by sharpness alone and by the recipe that everybody knows."""
    ours = [abs(pick_focus(stack).best_position - truth[stack.name]) for stack in test]
    recipe = [abs(tenengrad_parabola(stack) - truth[stack.name]) for stack in test]
    return {"pick_without_model": np.nanmean(ours), "pick_opencv": np.mean(recipe)}


def tenengrad_parabola(stack: Stack) -> float:
    """Sharpest plane by squared Sobel gradients and the parabola through the best slice and its neighbours."""
    value = []
    for part in stack.slices:
        grey = cv2.cvtColor(part.read(), cv2.COLOR_RGB2GRAY)
        gradients = [cv2.Sobel(grey, cv2.CV_64F, dx, 1 - dx) for dx in (0, 1)]
        value.append(sum(float((gradient**2).mean()) for gradient in gradients))
    best = int(np.argmax(value))
    if best in (0, len(value) - 1):
        return best
    before, at, after = value[best - 1 : best + 2]
    return best + (before - after) / (2 * (before - 2 * at + after))


def _keep(table: Path, row: Row) -> None:
    """Put a row into the CSV file in place of an older one of the same folder and number."""
    before = pd.read_csv(table) if table.is_file() else pd.DataFrame(columns=["folder", "stacks"])
    others = before[(before["folder"] != row["folder"]) | (before["stacks"] != row["stacks"])]
    rows = pd.DataFrame([*others.to_dict("records"), row]).sort_values(["folder", "stacks"])
    write_text(table, rows.to_csv(index=False, float_format="%.4f", lineterminator="\n"))


def _rows(table: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _shown(row: Row) -> Row:
    """A row as it is printed."""
    percent = {name: f"{100 * row[name]:.1f} %" for name in ("sign", "coverage", "confidently_wrong", "unsure")}
    numbers = {name: f"{row[name]:.3f}" for name in ("spearman", "mae")}
    picks = {
        "pick": f"{row['pick']:.3f}",
        "without model": f"{row['pick_without_model']:.3f}",
        "OpenCV": f"{row['pick_opencv']:.3f}",
    }
    renamed = {name.replace("_", " "): value for name, value in (numbers | percent).items()}
    return (
        {"folder": row["folder"], "stacks": int(row["stacks"])}
        | renamed
        | picks
        | {"seconds": f"{row['cpu_seconds']:.0f}"}
    )


def _picture(rows: pd.DataFrame) -> Figure:
    """Rank correlation, sign and error of the scores against the number of stacks, a line a folder."""
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    for name, part in rows.groupby("folder"):
        for axis, column in zip(axes, ("spearman", "sign", "mae"), strict=True):
            axis.plot(part["stacks"], part[column], marker="o", markersize=3, label=name)
    for axis, title in zip(axes, ("Spearman", "side right beyond one slice", "mean error, score"), strict=True):
        axis.set(xlabel="stacks learned from", title=title)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


main = partial(run, own_microscope)

if __name__ == "__main__":
    sys.exit(main())
