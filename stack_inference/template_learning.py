"""Learn the peak shape of focus curves: ``python -m stack_inference.template_learning CURVES.npz [--output JSON]``.

A symmetric mean of many measured curves, each shifted to its peak and scaled to its half width. Symmetric, because
which side of a stack comes first is a habit of the laboratory, and a fit must find the mirrored place in the mirrored
stack.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import write_text
from focus_picker.stack_inference.curve_fit import peak_index
from focus_picker.stack_inference.curves import parabola
from focus_picker.stack_inference.shapes import TEMPLATE_FILE, TEMPLATE_FORMAT

STEP, REACH = 0.1, 2.0
"""Half widths between the template's values, and from its centre to the last; further out the curves' range ends."""


def load_curves(path: str | Path, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one measure's curves, ``(stacks, planes)``, and the stacks' numbers ``(stacks,)`` from an ``.npz`` file.

    Raises
    ------
    InputError
        If the file cannot be read, lacks an array, or does not hold that measure.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            names = [str(name) for name in data["measures"]]
            if measure not in names:
                raise InputError(f"{path} has no measure '{measure}': take one of {', '.join(names)}.")
            curves = data["curves"][:, :, names.index(measure)].astype(float)
            number = data["stack_index"] if "stack_index" in data else np.arange(len(curves))
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(
            f"{path} is no file of focus curves ({error}): "
            "give an .npz with the arrays curves (stack, plane, measure) and measures"
        ) from None
    return curves, number


def is_for_learning(stack_number: np.ndarray) -> np.ndarray:
    """Tell which stacks a template may be learned from: half of them, by a hash of their number; the rest tests it."""
    return (stack_number.astype(np.int64) * 2654435761 % 2**32) < 2**31


def learn_template(curves: np.ndarray) -> tuple[np.ndarray, int]:
    """Mean shape of curves ``(stacks, planes)`` at ``STEP`` to ``REACH`` half widths, and how many curves had a part.

    Curves whose peak or half heights are not inside the stack are left out.
    """
    distance = np.arange(0, REACH + STEP / 2, STEP)
    sides = [aligned for focus in curves if (aligned := _aligned(focus, distance)) is not None]
    if not sides:
        raise InputError("no curve has its peak and both half heights inside the stack: give more planes")
    values = np.nanmean(np.concatenate(sides), axis=0)
    return np.minimum.accumulate(values / values[0]), len(sides)


def _aligned(focus: np.ndarray, distance: np.ndarray) -> np.ndarray | None:
    """Both sides of a curve at distances from its peak, ``(2, len(distance))``, NaN beyond the stack's ends."""
    from scipy.interpolate import Akima1DInterpolator

    z = np.arange(len(focus), dtype=float)
    fit = parabola(z, focus, logarithm=True)
    edges = _half_heights(focus)
    if not fit or edges is None:
        return None
    half_width = (edges[1] - edges[0]) / 2
    course = Akima1DInterpolator(z, focus / focus.max())
    return np.array([course(fit.position + side * distance * half_width) for side in (-1, 1)])


def _half_heights(focus: np.ndarray) -> tuple[float, float] | None:
    """Where a curve passes half its largest value on either side; None where it does not."""
    half, peak = focus.max() / 2, peak_index(focus)
    left, right = np.flatnonzero(focus[:peak] <= half), np.flatnonzero(focus[peak:] <= half)
    if not len(left) or not len(right):
        return None
    i, j = left[-1], peak + right[0]
    return (
        float(i + (half - focus[i]) / (focus[i + 1] - focus[i])),
        float(j - (half - focus[j]) / (focus[j - 1] - focus[j])),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Learn a template and write it as JSON."""
    parser = argparse.ArgumentParser(description="Learn the peak shape of focus curves.")
    parser.add_argument("curves", type=Path, help=".npz with curves (stack, plane, measure), measures, stack_index")
    parser.add_argument("--measure", default="tenengrad")
    parser.add_argument("--output", type=Path, default=TEMPLATE_FILE)
    options = parser.parse_args(arguments)
    curves, number = load_curves(options.curves, options.measure)
    values, count = learn_template(curves[is_for_learning(number)])
    content = {
        "format": TEMPLATE_FORMAT,
        "measure": options.measure,
        "source": f"{options.curves.name}, {count} stacks, half of them by a hash of their number",
        "command": f"python -m stack_inference.template_learning {options.curves.name} --measure {options.measure}",
        "step_half_widths": STEP,
        "values": [round(float(value), 4) for value in values],
    }
    write_text(options.output, json.dumps(content, indent=1) + "\n")
    print(f"{options.output}: {count} curves")


if __name__ == "__main__":
    main()
