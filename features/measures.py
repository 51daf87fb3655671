"""Every focus measure and every signed cue by name, in the order of the feature table's columns.

To add one, write its function in the module of its family and declare it there.
"""

from collections.abc import Iterable

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.features import asymmetry, gradient, laplacian, spectral, statistics
from focus_picker.features.feature import Feature
from focus_picker.features.intermediates import Intermediates

MEASURES: dict[str, Feature] = {**gradient.EDGES, **laplacian.DETAIL, **statistics.LEVELS, **spectral.FREQUENCIES}
"""Focus measures: alike on both sides of focus as far as the image is."""

CUES: dict[str, Feature] = {
    **asymmetry.TRANSPORT,
    **asymmetry.NUCLEUS,
    **asymmetry.CELL,
    **asymmetry.PHASE,
    **asymmetry.AXIAL_COLOUR,
}
"""Signed cues: move in opposite directions on the two sides of focus."""

ALL: dict[str, Feature] = {**MEASURES, **CUES}


def measure(image: np.ndarray, names: Iterable[str] | None = None) -> dict[str, float]:
    """Compute measures and cues of one image; what they share is computed once.

    Parameters
    ----------
    image
        ``(H, W, 3)`` RGB or ``(H, W)`` grey; ``uint8``, ``uint16`` with full scale 65535, or float on the 0-255 scale.
    names
        Keys of ``MEASURES`` and ``CUES``, in the wanted order; None computes all, measures first.

    Returns
    -------
    dict
        Finite numbers by name, in order. A constant image gives finite values: 0 for energies, ratios and cues. An
        image of 257 times the grey levels in ``uint16`` gives the values of the ``uint8`` image within rounding (1e-5).

    Raises
    ------
    InputError
        An unknown name, or an image that :class:`Intermediates` refuses: too small, NaN, unsupported type.
    """
    wanted = ALL if names is None else {name: _by_name(name) for name in names}
    shared = Intermediates(image)
    return {name: feature.compute(shared) for name, feature in wanted.items()}


def _by_name(name: str) -> Feature:
    try:
        return ALL[name]
    except KeyError:
        raise InputError(f"unknown measure '{name}'; known ones: {', '.join(ALL)}") from None
