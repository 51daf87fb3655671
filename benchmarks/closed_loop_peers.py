"""Searches by sharpness alone that other packages use, on the same microscope and through the same moves."""

from collections.abc import Callable

import numpy as np

from focus_picker.autofocus.search import Search

SWEEP_STEP_UM, TOLERANCE_UM = 0.5, 0.5


def full_sweep(search: Search, low: float, high: float) -> float:
    """Every half micrometre, and a parabola through the best three."""
    places = np.arange(low, high + 1e-9, SWEEP_STEP_UM)
    sharpness = np.exp([search.look(float(z_um), "sweep").sharpness for z_um in places])
    peak = int(np.clip(np.argmax(sharpness), 1, len(places) - 2))
    before, at, after = sharpness[peak - 1 : peak + 2]
    bend = before - 2 * at + after
    return float(places[peak] + (0.5 * (before - after) / bend * SWEEP_STEP_UM if bend else 0.0))


def golden_section(search: Search, low: float, high: float) -> float:
    """Golden section until the bracket is as wide as the tolerance."""
    ratio = (np.sqrt(5) - 1) / 2
    inner = [high - ratio * (high - low), low + ratio * (high - low)]
    value = [search.look(z_um, "golden section").sharpness for z_um in inner]
    while high - low > 2 * TOLERANCE_UM:
        if value[0] > value[1]:
            high, inner, value = inner[1], [0.0, inner[0]], [0.0, value[0]]
            inner[0] = high - ratio * (high - low)
            value[0] = search.look(inner[0], "golden section").sharpness
        else:
            low, inner, value = inner[0], [inner[1], 0.0], [value[1], 0.0]
            inner[1] = low + ratio * (high - low)
            value[1] = search.look(inner[1], "golden section").sharpness
    return (low + high) / 2


def fibonacci(search: Search, low: float, high: float) -> float:
    """Fibonacci search (Krotkov 1987) over a grid of half the tolerance."""
    numbers = [1, 1]
    while numbers[-1] < (high - low) / (TOLERANCE_UM / 2):
        numbers.append(numbers[-1] + numbers[-2])
    unit = (high - low) / numbers[-1]
    left, count = low, len(numbers) - 1
    seen: dict[float, float] = {}

    def sharpness(z_um: float) -> float:
        key = round(z_um, 6)
        if key not in seen:
            seen[key] = search.look(z_um, "Fibonacci").sharpness
        return seen[key]

    while count > 3:
        first, second = left + unit * numbers[count - 2], left + unit * numbers[count - 1]
        if sharpness(first) < sharpness(second):
            left = first
        count -= 1
    return left + unit * numbers[count] / 2


def brent(search: Search, low: float, high: float) -> float:
    """Brent's bounded minimiser on minus the sharpness, as OughtaFocus has it, with its absolute tolerance."""
    from scipy.optimize import minimize_scalar

    def value(z_um: float) -> float:
        return -float(np.exp(search.look(float(z_um), "Brent").sharpness))

    return float(minimize_scalar(value, bounds=(low, high), method="bounded", options={"xatol": TOLERANCE_UM}).x)


PEERS: dict[str, Callable[[Search, float, float], float]] = {
    "full sweep, 0.5 um + parabola": full_sweep,
    "golden section": golden_section,
    "Fibonacci": fibonacci,
    "Brent (OughtaFocus-like)": brent,
}
