"""Focus at every position of a scan: each search starts on the surface of those before."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from focus_picker.autofocus.positions import Position
from focus_picker.autofocus.result import FocusResult
from focus_picker.autofocus.surface import Surface, fit_surface
from focus_picker.dataset.errors import InputError


@dataclass(frozen=True)
class Scan:
    """How a scan reaches its positions.

    Attributes
    ----------
    go_to
        Moves the table to x, y.
    start_at
        Moves the drive to where a search begins; must keep the limits.
    search
        Focuses where the microscope stands.
    """

    go_to: Callable[[float, float], None]
    start_at: Callable[[float], None]
    search: Callable[[Position], FocusResult]


def focus_positions(positions: Sequence[Position], scan: Scan) -> Iterator[tuple[Position, FocusResult]]:
    """Focus position after position.

    A search starts on the plane through what was confirmed so far, once there are enough for one; before, at the
    position's own z where it has one, else where the drive stands.

    Yields
    ------
    tuple
        The position, with its z where focus was confirmed and without otherwise, and the result.
    """
    confirmed: list[Position] = []
    for position in positions:
        scan.go_to(position.x_um, position.y_um)
        start_um = start_of(position, confirmed)
        if math.isfinite(start_um):
            scan.start_at(start_um)
        result = scan.search(position)
        found = position.at(result.z_after if result else math.nan)
        if result:
            confirmed.append(found)
        yield found, result
        if result.reason == "cancelled":
            return


def start_of(position: Position, confirmed: Sequence[Position]) -> float:
    """Where to start: on the surface, or at the position's own z (NaN where it has none)."""
    try:
        return fit_surface(confirmed).at(position.x_um, position.y_um)[0]
    except InputError:  # too few yet, or all on a line
        return position.z_um


def filled(positions: Sequence[Position], surface: Surface) -> list[Position]:
    """Give positions without focus the surface's z."""
    return [
        place if math.isfinite(place.z_um) else place.at(surface.at(place.x_um, place.y_um)[0]) for place in positions
    ]
