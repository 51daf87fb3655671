"""What the shipped model is worth on microscopes that it has not met, without any adaptation."""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from benchmarks.report import DATA, Output, Report, Row, run
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import read_image
from focus_picker.deep.competence import other_side
from focus_picker.deep.runtime import Student, load_student
from focus_picker.evaluation.sides import FAR_SLICES, side_figures
from focus_picker.models import DEFAULT_MODEL
from focus_picker.models.focus_state import UNSURE

LEVELS = (1.0, 0.8, 0.6, 0.4, 0.2)  # shares of the images that are answered, the least doubtful first


def judge_strangers(
    output: Output = None,
    data: Annotated[Path, typer.Option(help="Folder of other_optics and real_blood.")] = DATA,
    model: Annotated[Path, typer.Option(help="Model file.")] = DEFAULT_MODEL,
) -> Report:
    """Report rank correlation, sign, abstention and confident mistakes on each microscope."""
    truths = {**other_optics(data), **real_blood(data)}
    if not truths:
        raise InputError(
            f"neither other_optics nor real_blood is in {data}; give the folder that holds them with --data"
        )
    student = load_student(model)
    judged = {name: judge(student, truth) for name, truth in truths.items()}
    step = student.side.score_per_slice
    note = (
        "No stack of these microscopes was used to train anything or to learn a limit. But the rule by which limits "
        "are learned was changed with these figures in view (models/README.md), so that `unsure` and what is right "
        "where sure are no blind test. A slice is the folder's own; spearman is of all images and (within a stack) "
        f"the mean of each stack's own; confidently wrong: not `unsure`, wrong side, beyond {FAR_SLICES} slices, as a "
        "share of all images."
    )
    tables = {
        "Microscopes": [figures(name, table) for name, table in judged.items()],
        "Risk and coverage: wrong side beyond one slice among the share of images that the model doubts least": [
            {"microscope": name, **risk(table)} for name, table in judged.items()
        ],
    }
    return Report(f"The default model on strangers ({step:g} a slice)", tables, output, note, csv=False)


def other_optics(data: Path) -> dict[str, pd.DataFrame]:
    """Images by microscope: ``path``, ``stack``, ``slices`` from the truth."""
    return {
        folder.name: with_truth(folder, pd.read_csv(folder / "truth.csv"), "best_z_slice")
        for folder in sorted((data / "other_optics").glob("microscope_*"))
    }


def real_blood(data: Path) -> dict[str, pd.DataFrame]:
    """The same for the real stacks, whose truth is the sharpest plane."""
    folder = data / "real_blood"
    if not folder.is_dir():
        return {}
    return {folder.name: with_truth(folder, pd.read_csv(folder / "sharpest.csv"), "sharpest_z_slice")}


def with_truth(folder: Path, table: pd.DataFrame, best: str) -> pd.DataFrame:
    """Distance of each image from its stack's best plane, in slices."""
    paths = table["image_path"].map(Path)
    return pd.DataFrame(
        {
            "path": [folder / path for path in paths],
            "stack": [path.parent.name for path in paths],
            "slices": paths.map(lambda path: int(path.stem)) - table[best],
        }
    )


def judge(student: Student, truth: pd.DataFrame) -> pd.DataFrame:
    """Score, sureness and doubt of each image."""
    judged = student.judge([read_image(path) for path in truth["path"]])
    doubt = other_side(student.side.bins, judged.distribution.probability)
    return truth.assign(score=judged.score, sure=judged.status != UNSURE, doubt=doubt)


def wrong_side(table: pd.DataFrame, beyond: float) -> pd.Series:
    """Which images beyond so many slices are called on the wrong side; missing for the others."""
    return (np.sign(table["score"]) != np.sign(table["slices"])).where(table["slices"].abs() > beyond)


def figures(name: str, table: pd.DataFrame) -> Row:
    """Row of a microscope."""
    within = [
        stack["score"].corr(stack["slices"], method="spearman") for _, stack in table.groupby("stack") if len(stack) > 2
    ]
    made = side_figures(table["score"].to_numpy(), table["slices"].to_numpy(), table["sure"].to_numpy(), 1.0)
    return {
        "microscope": name,
        "images": len(table),
        "spearman": made["spearman"],
        "within a stack": float(np.mean(within)),
        "sign right": made["sign"],
        "sign right where sure": made["sign_where_sure"],
        "unsure": made["unsure"],
        "confidently wrong": made["confidently_wrong"],
    }


def risk(table: pd.DataFrame) -> dict[str, float]:
    """Share of wrong sides beyond one slice among the least doubtful images, by how many are answered."""
    wrong = wrong_side(table, 1).dropna().astype(float)
    order = wrong[table.loc[wrong.index, "doubt"].sort_values(kind="stable").index]
    return {f"{level:.0%}": float(order.iloc[: max(1, round(level * len(order)))].mean()) for level in LEVELS}


main = partial(run, judge_strangers)

if __name__ == "__main__":
    raise SystemExit(main())
