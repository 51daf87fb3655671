"""Drift of the latest images from a saved reference, light enough for a service to work out at every scrape."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from focus_picker.drift.profile import Profile
from focus_picker.drift.statistics import DriftFigure

FEWEST_RECENT = 30  # values below which a rolling figure says nothing


def rolling_drift(profile: Profile, recent: Mapping[str, ArrayLike]) -> dict[str, DriftFigure]:
    """Compare the latest images with a reference, whatever quantities of them were kept.

    Parameters
    ----------
    profile
        The saved reference.
    recent
        By quantity: the latest values, ``(n,)`` each; 0 or 1 for ``unsure``. NaN is left out.

    Returns
    -------
    dict
        By quantity, in the order given; left out are those that the profile does not know and those of fewer than
        ``FEWEST_RECENT`` known values. Which of the latest images belong together is not known; their design effect is
        taken to be the reference's.
    """
    figures = {}
    for name, given in recent.items():
        values = np.asarray(given, dtype=np.float64)
        values = values[np.isfinite(values)]
        reference = profile.reference(name)
        if reference is None or len(values) < FEWEST_RECENT:
            continue
        effective = max(1.0, len(values) * reference.effective / reference.n)
        figures[name] = reference.figure(values, effective)
    return figures
