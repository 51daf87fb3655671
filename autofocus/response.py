"""What frames show by their defocus, measured on stacks that the model has not seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from focus_picker.autofocus.calibration import Response
from focus_picker.dataset.errors import InputError

FEWEST_STACKS = 3
LEAST_SCORE_ERROR = 0.1
"""Standard deviation of a score, in units of the score of half a depth of field, below which none is believed."""
LEAST_SHARPNESS_ERROR = 0.05
BEYOND = 3.0
"""Depths of field by which the response goes on beyond what was recorded, as knowing next to nothing."""
CLEAR_SIDE = 2.0
"""Standard deviations by which a score must lie off zero to tell its side."""


@dataclass(frozen=True)
class MeasuredStack:
    """A recorded stack: where its frames are from its sharpest plane, and what they show.

    Attributes
    ----------
    defocus_um
        ``(n,)`` rising, along rising score.
    score
        ``(n,)``, NaN where the model abstained.
    sharpness
        ``(n,)`` log sharpness.
    """

    defocus_um: np.ndarray
    score: np.ndarray
    sharpness: np.ndarray


def measure_response(stacks: Sequence[MeasuredStack], depth_um: float) -> Response:
    """Medians and robust spreads of scores and sharpness over stacks, every half depth of field.

    Raises
    ------
    InputError
        Too few stacks to tell a spread.
    """
    if len(stacks) < FEWEST_STACKS:
        raise InputError(
            f"{len(stacks)} stacks with a clear peak are left to measure the model on, {FEWEST_STACKS} are needed: "
            "record more positions with cells in view."
        )
    reach = float(np.median([min(-stack.defocus_um[0], stack.defocus_um[-1]) for stack in stacks]))
    count = max(int(reach / (depth_um / 2)), 2)
    places = np.arange(-count, count + 1) * depth_um / 2
    score = np.array([_curve(stack.defocus_um, stack.score, places) for stack in stacks])
    sharpness = np.array([_level(stack, places) for stack in stacks])
    middle, error = _spread_of_scores(score, places)
    slope = abs(np.polyfit(places[_near(places, depth_um)], middle[_near(places, depth_um)], 1)[0])
    least = LEAST_SCORE_ERROR * slope * depth_um / 2
    sharp, sharp_error = _spread(sharpness)
    far = places[-1] + BEYOND * depth_um
    span = max(np.ptp(middle), 1e-3)
    return Response(
        defocus_um=(-far, *places.tolist(), far),
        score=(middle[0], *middle.tolist(), middle[-1]),
        score_error=(span, *np.maximum(error, least).tolist(), span),
        sharpness=(sharp[0], *sharp.tolist(), sharp[-1]),
        sharpness_error=(1.0, *np.maximum(sharp_error, LEAST_SHARPNESS_ERROR).tolist(), 1.0),
    )


def slope_near_focus(response: Response, depth_um: float) -> float:
    """Score by micrometre within two depths of field of focus; its sign is the drive's direction."""
    places = np.array(response.defocus_um)
    near = _near(places, depth_um)
    return float(np.polyfit(places[near], np.array(response.score)[near], 1)[0])


def usable_range(response: Response, depth_um: float) -> float:
    """Defocus up to which one frame tells side and distance: scores rise, and differ from zero by their error."""
    places, score, error = (np.array(getattr(response, name)) for name in ("defocus_um", "score", "score_error"))
    usable = 0.0
    for reach in places[places > 0][:-1]:
        inside = np.abs(places) <= reach
        clear = np.abs(score[inside]) > CLEAR_SIDE * error[inside]
        rises = (np.diff(score[inside]) > 0).all()
        if not rises or not clear[np.abs(places[inside]) > 1.25 * depth_um].all():
            break
        usable = float(reach)
    return usable


def cell_error(stacks: Sequence[MeasuredStack], response: Response, depth_um: float) -> float:
    """Standard deviation over stacks of how far a stack's scores near focus lie off the response, micrometres."""
    slope = abs(slope_near_focus(response, depth_um))
    shifts = []
    for stack in stacks:
        near = _near(stack.defocus_um, depth_um) & np.isfinite(stack.score)
        if near.any():
            shifts.append(np.mean(stack.score[near] - response.at("score", stack.defocus_um[near])) / slope)
    if len(shifts) < FEWEST_STACKS:
        return depth_um / 2
    # A standard deviation of few is uncertain by one part in sqrt(2 n); the larger is the safe one.
    spread = float(np.sqrt(np.mean(np.square(shifts))) * (1 + 1 / np.sqrt(2 * len(shifts))))
    return max(spread, depth_um / 20)


def share_wrong(stacks: Sequence[MeasuredStack], response: Response) -> float:
    """Share of scores that lie more than four standard deviations from the response, one more counted than seen."""
    away = [
        np.abs(stack.score - response.at("score", stack.defocus_um)) / response.at("score_error", stack.defocus_um)
        for stack in stacks
    ]
    known = np.concatenate(away)
    known = known[np.isfinite(known)]
    return float(np.clip((1 + (known > 4).sum()) / (2 + len(known)), 0.01, 0.5))


def _near(places: np.ndarray, depth_um: float) -> np.ndarray:
    return np.abs(places) <= 2 * depth_um + 1e-9


def _curve(defocus_um: np.ndarray, values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Interpolate what is known of a curve; nothing where too little is."""
    known = np.isfinite(values)
    if known.sum() < 2:
        return np.full(len(places), np.nan)
    return np.interp(places, defocus_um[known], values[known], left=np.nan, right=np.nan)


def _level(stack: MeasuredStack, places: np.ndarray) -> np.ndarray:
    """Log sharpness by that at the sharpest plane."""
    at_focus = np.interp(0.0, stack.defocus_um, stack.sharpness)
    return _curve(stack.defocus_um, stack.sharpness - at_focus, places)


def _spread_of_scores(curves: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spread of scores; where the model abstained on every stack, an error as wide as all that scores say elsewhere."""
    known = np.isfinite(curves).any(axis=0)
    if known.sum() < 3:
        raise InputError("The model abstains on nearly every frame here: record more positions, with cells in view.")
    middle, error = _spread(curves[:, known])
    span = max(np.ptp(middle), 1e-3)
    return np.interp(places, places[known], middle), np.interp(places, places[known], error) + span * ~known


def _spread(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median over stacks and robust standard deviation, at least as wide as its neighbours' on average."""
    middle = np.nanmedian(curves, axis=0)
    deviation = np.abs(curves - middle)
    quantile = np.nanquantile(deviation, 0.8, axis=0) / 1.28
    widest = np.maximum(quantile, np.convolve(np.pad(quantile, 1, mode="edge"), np.ones(3) / 3, mode="valid"))
    return middle, widest * (1 + 1 / np.sqrt(2 * len(curves)))
