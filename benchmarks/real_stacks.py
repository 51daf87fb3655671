"""Best planes of real stacks, whose truth nobody knows: do estimates from different planes of one stack agree?"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.report import Row
from focus_picker.dataset.stacks import find_stacks
from focus_picker.models.contract import Model
from focus_picker.stack_inference.curve_fit import CurveFit
from focus_picker.stack_inference.curves import CURVES
from focus_picker.stack_inference.peak_learning import is_for_learning, load_curves
from focus_picker.stack_inference.pick import Pick, calibration_of, pick_from_scores
from focus_picker.stack_inference.scoring import StackScores, score_stack

DROPPED, DRAWS = (1, 2, 4), 30


def curve_rows(folder: Path, measure: str, every: int) -> list[Row]:
    """Split-half rows of all curve files; of the white blood cells those that nothing was learned from."""
    rows = []
    for path in sorted(folder.glob("*.npz"), key=lambda path: -path.stat().st_size):
        seen = path.stem == "wbc"
        rows += split_half_rows(path, measure, every=every if seen else 1, unseen_only=seen)
    return rows


def split_half_rows(path: Path, measure: str, *, every: int = 1, unseen_only: bool = False) -> list[Row]:
    """Disagreement of even and odd planes, in planes, and agreement with the reference plane."""
    curves, number = load_curves(path, measure)
    with np.load(path, allow_pickle=False) as data:
        reference = data["reference_plane"].astype(float) if "reference_plane" in data else np.full(len(curves), np.nan)
    used = ~is_for_learning(number) if unseen_only else np.full(len(curves), True)
    curves, reference = curves[used][::every], reference[used][::every]
    names = {"file": path.name, "n": len(curves)}
    return [{**names, "method": name, **halves(fit, curves, reference)} for name, fit in CURVES.items()]


def halves(fit: Callable[..., CurveFit], curves: np.ndarray, reference: np.ndarray) -> Row:
    """Figures of one fit on curves ``(stacks, planes)``.

    "With end slices" has the best slice where a fit gave no answer, which is what a pick takes then.
    """
    z = np.arange(curves.shape[1], dtype=float)
    parts = [(z[part], curves[:, part]) for part in (slice(0, None, 2), slice(1, None, 2), slice(None))]
    even, odd, full = (np.array([fit(z, focus).position for focus in curves]) for z, curves in parts)
    slices = [z[np.argmax(curves, axis=1)] for z, curves in parts]
    apart = even - odd
    known = np.isfinite(apart)
    with_ends = [np.where(np.isfinite(place), place, best) for place, best in zip((even, odd), slices, strict=False)]
    return {
        "mean": np.abs(apart[known]).mean(),
        "p90": np.quantile(np.abs(apart[known]), 0.9),
        "even minus odd": np.mean(apart[known]),
        "no answer": 1 - known.mean(),
        "mean with end slices": np.abs(with_ends[0] - with_ends[1]).mean(),
        "full within 1 of reference": np.nanmean(np.abs(full - reference) <= 1),
    }


def smear_rows(folder: Path, models: Mapping[str, Model]) -> list[Row]:
    """How far the pick of one real stack moves when planes are missing, in planes; nothing without that stack."""
    if not folder.exists():
        return []
    (stack,) = find_stacks(folder)
    scores = score_stack(stack)
    rows = [smear_row(method, scores, partial(pick_from_scores, method=method)) for method in CURVES]
    for label, model in models.items():
        pick = partial(pick_from_scores, calibration=calibration_of(model))
        rows.append(smear_row(f"fused ({label})", score_stack(stack, model=model), pick))
    return rows


def smear_row(name: str, scores: StackScores, pick: Callable[[StackScores], Pick]) -> Row:
    """Figures of one method."""
    whole = pick(scores)
    row = {"method": name, "all planes": whole.best_position}
    for dropped in DROPPED:
        rng = np.random.default_rng(dropped)
        draws = [rng.choice(len(scores.z), dropped, replace=False) for _ in range(DRAWS)]
        away = np.abs([pick(without(scores, gaps)).best_position - whole.best_position for gaps in draws])
        row |= {f"{dropped} missing, mean": away.mean(), f"{dropped} missing, largest": away.max()}
    return row | {"status": whole.status, "advice": whole.advice}


def without(scores: StackScores, gaps: np.ndarray) -> StackScores:
    """Leave out the slices ``gaps``, as if they could not be used."""

    def gapped(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[gaps] = np.nan
        return values

    names = ("sharpness", "grey_spread", "score")
    panel = None if scores.panel is None else np.array([gapped(curve) for curve in scores.panel])
    whole = None if scores.whole is None else gapped(scores.whole)
    return replace(scores, panel=panel, whole=whole, **{name: gapped(getattr(scores, name)) for name in names})
