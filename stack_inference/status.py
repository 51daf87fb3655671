"""Whether a stack's curve can be trusted to hold a peak, and what to do where it does not.

Pure functions of the curve; ``pick`` puts them in order. Each status of the picture has its criterion here.
"""

import numpy as np

from focus_picker.stack_inference.curve_fit import peak_index

OK, EDGE, FLAT, UNREADABLE = "ok", "edge", "flat", "unreadable"
AMBIGUOUS, DISAGREE = "ambiguous", "disagree"
STATUSES = (OK, EDGE, FLAT, AMBIGUOUS, DISAGREE, UNREADABLE)

LEAST_GREY_SPREAD = 0.006
"""Standard deviation of grey by its mean below which an image holds nothing but noise. Blank frames compressed by JPEG
reach 0.0055 wherever their sharpness curve is too irregular for the other criteria; stained cells are above 0.05."""

LEAST_CONTRAST = 0.05
"""Range of the curve by its peak below which no slice stands out. Pure noise on 160 x 160 pixels stays below."""

CLEAR_CONTRAST = 0.5
"""Range by peak above which a curve is believed without a test: noise alone does not halve the sharpness."""

PEAK_WIDTHS = (0.8, 1.6, 3.2, 6.4)
"""Standard deviations, in slices, of the Gaussian peaks that a curve is compared with."""

FEWEST_TO_TEST = 7
SHORT_CONTRAST = 0.15
"""Curves with fewer values than ``FEWEST_TO_TEST`` leave a test no power; this contrast decides instead."""

RIVAL_HEIGHT, RIVAL_DIP = 0.6, 0.6
"""Height of a second peak by the first, above the lowest value, from which it rivals the first; and how far the valley
between them must fall, by the second's height, to make them two."""


def is_flat(sharpness: np.ndarray, grey_spread: np.ndarray) -> bool:
    """Tell whether there is nothing to focus on.

    Parameters
    ----------
    sharpness, grey_spread
        ``(n,)`` in z order, NaN for gaps. ``grey_spread`` is the standard deviation of grey by its mean.

    Returns
    -------
    bool
        True when any of these holds: no slice has sharpness; the slice with most structure has less than
        ``LEAST_GREY_SPREAD``; the contrast of the curve, its range by its largest magnitude, is below
        ``LEAST_CONTRAST``; the contrast is below ``CLEAR_CONTRAST`` and the curve follows a peak no closer than noise
        does in 1 % of stacks (``peak_misfit`` above ``misfit_of_noise``) without being two smooth peaks. A single slice
        has no curve and is flat only by its structure; two slices are if they are equal as well. Indices, not z, are
        used for the test: it asks for a smooth course, not for a shape.
    """
    values = sharpness[np.isfinite(sharpness)]
    if not len(values) or not np.nanmax(grey_spread) >= LEAST_GREY_SPREAD:
        return True
    if len(values) == 1:
        return False
    level, height = np.abs(values).max(), np.ptp(values)
    if len(values) == 2:
        return bool(height == 0)
    if height < LEAST_CONTRAST * level or level == 0:
        return True
    if height >= CLEAR_CONTRAST * level:
        return False
    if len(values) < FEWEST_TO_TEST:
        return bool(height < SHORT_CONTRAST * level)
    two_peaks = len(rival_peaks(values)) > 0 and is_smooth(values)
    return peak_misfit(values) > misfit_of_noise(len(values)) and not two_peaks


def is_smooth(values: np.ndarray) -> bool:
    """Tell whether neighbouring values are more alike than those of independent noise are in 5 % of stacks.

    By their correlation, whose 95 % point was fitted to simulated noise for 8 to 20 values. Two rival peaks are smooth
    although they follow no single peak.
    """
    centred = values - values.mean()
    correlation = centred[1:] @ centred[:-1] / (centred @ centred)
    return bool(correlation > 1.9 / np.sqrt(len(values)) - 2.6 / len(values))


def peak_misfit(values: np.ndarray) -> float:
    """Share of the curve's variance that the best of a few Gaussian peaks leaves, 0 for a perfect peak, at most 1.

    The peaks have the widths of ``PEAK_WIDTHS`` and lie at the largest value or half a slice beside it; level and
    height are free. ``values`` (n,), finite, not constant.
    """
    index, peak = np.arange(len(values)), peak_index(values)
    centre = np.array([peak - 0.5, peak, peak + 0.5])[:, None, None]
    peaks = np.exp(-(((index - centre) / np.array(PEAK_WIDTHS)[:, None]) ** 2) / 2).reshape(-1, len(values))
    peaks -= peaks.mean(axis=1, keepdims=True)
    peaks /= np.linalg.norm(peaks, axis=1, keepdims=True)
    centred = values - values.mean()
    return float(1 - max(0.0, (peaks @ centred).max()) ** 2 / (centred @ centred))


def misfit_of_noise(n: int) -> float:
    """Return the ``peak_misfit`` that n values of independent noise stay below with a probability of 1 %.

    A residual sum of squares by the total one, to a power that grows with n, is distributed uniformly for a fixed model
    (the F test); the power here was fitted to simulated noise for 7 to 60 values, where it keeps the 1 % within 0.6.
    """
    return float(0.01 ** (1 / (0.36 * n - 0.7)))


def edge_side(focus: np.ndarray) -> int:
    """-1 when the largest value is the first finite one, 1 when it is the last, 0 inside; a single value gives 0."""
    known = np.flatnonzero(np.isfinite(focus))
    peak = peak_index(focus)
    return int(peak == known[-1]) - int(peak == known[0])


def rival_peaks(focus: np.ndarray) -> tuple[int, ...]:
    """Indices of the highest peak and its rival in slice order, empty where there is no rival.

    A rival is a local maximum, not at an end of the stack and at least three slices away, that has ``RIVAL_HEIGHT`` of
    the highest peak's height with a valley between that falls to ``RIVAL_DIP`` of its own, both above the lowest value.
    A slice that stands alone (its neighbours below half of it) is a spoilt slice and no rival, as a depth of field
    covers more than one. ``focus`` (n,) with NaN for gaps, which are passed over.
    """
    known = np.flatnonzero(np.isfinite(focus))
    values = focus[known] - focus[known].min()
    peak = peak_index(values)
    rivals = [
        place
        for place in range(1, len(values) - 1)
        if abs(known[place] - known[peak]) >= 3
        and values[place] >= max(values[place - 1], values[place + 1], RIVAL_HEIGHT * values[peak])
        and max(values[place - 1], values[place + 1]) >= values[place] / 2
        and values[min(place, peak) : max(place, peak)].min() <= RIVAL_DIP * values[place]
    ]
    if not rivals:
        return ()
    best = max(rivals, key=lambda place: values[place])
    return tuple(int(known[place]) for place in sorted((peak, best)))


def plane_text(z: np.ndarray, position: float) -> str:
    """Position on the slices' axis as people read it: ``slice 4.3``."""
    order = np.argsort(z, kind="stable")
    return f"slice {np.interp(position, z[order], np.arange(len(z))[order]):.1f}"


def slices_to_add(z: np.ndarray, focus: np.ndarray, side: int) -> int:
    """Count the slices to add on ``side`` (-1 or 1) so that the peak should come to lie inside.

    The parabola through the three values at that end says where the peak may be, one slice more gives it a flank;
    never fewer than 2. Where those values do not bend downwards, or point further than the stack is long, only the
    direction is known, and the answer is half the stack's length.
    """
    finite = np.isfinite(focus)
    outwards = z[finite] if z[-1] >= z[0] else -z[finite]
    z, focus = outwards[::-side] * side, focus[finite][::-side]  # the end comes first, z grows outwards
    beyond = len(z) / 2
    if len(z) >= 3:
        distance = (z[:3] - z[0]) / (z[0] - z[1])
        _, slope, curvature = np.polynomial.polynomial.polyfit(distance, focus[:3], 2)
        vertex = -slope / (2 * curvature) if curvature < 0 else np.inf
        beyond = vertex + 1 if vertex < len(z) else beyond
    return max(2, int(np.ceil(beyond - 1e-6)))
