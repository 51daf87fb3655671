"""The surface of focus over a slide: where each search starts, and what stands in where focus was not confirmed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.optimize import least_squares

from focus_picker.autofocus.positions import Position
from focus_picker.dataset.errors import InputError

FEWEST = {"plane": 4, "spline": 10}
KINDS = tuple(FEWEST)
OUTLIER = 4.0  # robust standard deviations off a robust quadratic from which a point is left out of a spline
LEAST_SCALE_UM = 0.1  # below this, deviations are the searches' own errors


@dataclass(frozen=True)
class Surface:
    """A fitted surface.

    Attributes
    ----------
    kind
        ``plane`` or ``spline``.
    points
        ``(n, 3)`` x, y, z that were given, micrometres.
    used
        ``(n,)`` whether each had a say: a plane draws its outliers' teeth instead of leaving them out.
    error_um
        Standard deviation of the points that were used about the prediction from the others.
    """

    kind: str
    points: np.ndarray
    used: np.ndarray
    error_um: float

    def at(self, x_um: float, y_um: float) -> tuple[float, float]:
        """Predicted z and its standard error, which grows with the distance from the points that were used."""
        return float(_predicted(self.kind, self.points[self.used], [[x_um, y_um]])[0]), self._error(x_um, y_um)

    def _error(self, x_um: float, y_um: float) -> float:
        points = self.points[self.used, :2]
        size = max(float(np.ptp(points, axis=0).max()), 1e-9)
        nearest = float(np.linalg.norm(points - [x_um, y_um], axis=1).min())
        return self.error_um * (1 + nearest / size)


def fit_surface(positions: Sequence[Position], kind: str = "plane") -> Surface:
    """Fit a surface through positions in focus.

    Parameters
    ----------
    positions
        Those where focus was confirmed.
    kind
        ``plane`` is robust by itself (soft L1 loss). ``spline`` (thin plate) follows a bowed slide, and every outlier:
        points far off a robust quadratic are left out first.

    Raises
    ------
    InputError
        An unknown kind, too few points, or points on one line.
    """
    if kind not in FEWEST:
        raise InputError(f"There is no surface '{kind}': take one of {', '.join(KINDS)}.")
    points = np.array([[place.x_um, place.y_um, place.z_um] for place in positions if np.isfinite(place.z_um)])
    if len(points) < FEWEST[kind]:
        raise InputError(f"{len(points)} positions in focus for a {kind}: {FEWEST[kind]} are needed.")
    spread = np.linalg.svd(points[:, :2] - points[:, :2].mean(axis=0), compute_uv=False)
    if spread[1] < 1e-3 * max(spread[0], 1e-9):
        raise InputError("The positions in focus lie on one line, which holds no surface: add some beside it.")
    used = np.ones(len(points), bool) if kind == "plane" else _agreeing(points)
    return Surface(kind, points, used, _left_out_error(kind, points[used]))


def _agreeing(points: np.ndarray) -> np.ndarray:
    """Which points lie near a robust quadratic."""
    away = points[:, 2] - _robust(_terms(points[:, :2], points, 2), _terms(points[:, :2], points, 2), points[:, 2])
    scale = max(1.4826 * float(np.median(np.abs(away))), LEAST_SCALE_UM)
    return np.abs(away) <= OUTLIER * scale


def _predicted(kind: str, points: np.ndarray, places: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    at = np.asarray(places, dtype=float)
    if kind == "plane":
        return _robust(_terms(points[:, :2], points, 1), _terms(at, points, 1), points[:, 2])
    centre, size = points[:, :2].mean(axis=0), max(float(np.ptp(points[:, :2], axis=0).max()), 1e-9)
    spline = RBFInterpolator((points[:, :2] - centre) / size, points[:, 2], smoothing=1e-3)
    return spline((at - centre) / size)


def _terms(places: np.ndarray, points: np.ndarray, degree: int) -> np.ndarray:
    """Polynomial terms of centred and scaled places, ``(n, terms)``."""
    centre, size = points[:, :2].mean(axis=0), max(float(np.ptp(points[:, :2], axis=0).max()), 1e-9)
    x, y = ((places - centre) / size).T
    plane = [np.ones_like(x), x, y]
    return np.column_stack(plane if degree == 1 else [*plane, x * x, x * y, y * y])


def _robust(terms: np.ndarray, wanted: np.ndarray, z_um: np.ndarray) -> np.ndarray:
    """Least squares with soft L1 loss, whose scale is what the points themselves scatter by."""
    start = np.linalg.lstsq(terms, z_um, rcond=None)[0]
    for _ in range(2):
        scale = max(1.4826 * float(np.median(np.abs(terms @ start - z_um))), LEAST_SCALE_UM)
        start = least_squares(lambda c: terms @ c - z_um, start, loss="soft_l1", f_scale=scale).x
    return wanted @ start


def _left_out_error(kind: str, points: np.ndarray) -> float:
    """Robust standard deviation of each point about the surface through the others."""
    away = [
        points[index, 2] - _predicted(kind, np.delete(points, index, axis=0), points[index : index + 1, :2])[0]
        for index in range(len(points))
    ]
    return max(1.4826 * float(np.median(np.abs(away))), LEAST_SCALE_UM / 2)
