"""90 % intervals from a score distribution, conformalised: they hold on new images of the same kind.

Conformalised quantile regression (Romano, Patterson and Candes 2019, arXiv:1905.03222): the distribution's own 5 % and
95 % points follow each image (wide when both signs are possible), and one number, learned on fields that the network
was not fitted to, moves them outwards or inwards until they cover what they promise.
"""

from math import ceil

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.models.bins import ScoreBins

COVERAGE = 0.9


def conformal_interval(
    bins: ScoreBins, distribution: np.ndarray, widening: float, coverage: float = COVERAGE
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end ``(N,)`` of the interval of each distribution ``(N, bins)``, score units."""
    lower = bins.quantile(distribution, (1 - coverage) / 2) - widening
    upper = bins.quantile(distribution, (1 + coverage) / 2) + widening
    # A negative widening may turn a very narrow interval over; it is then a point.
    middle = (lower + upper) / 2
    return np.minimum(lower, middle), np.maximum(upper, middle)


def learn_widening(bins: ScoreBins, distribution: np.ndarray, label: np.ndarray, coverage: float = COVERAGE) -> float:
    """Learn how far the intervals must be moved outwards (negative: inwards), score units.

    Parameters
    ----------
    bins, distribution
        Predicted distributions ``(N, bins)`` of validation images.
    label
        ``(N,)`` scores, NaN where unlabelled.
    coverage
        Share of labels to hold.

    Raises
    ------
    InputError
        Too few labelled validation images for any finite interval at this coverage.
    """
    known = np.isfinite(label)
    lower, upper = conformal_interval(bins, distribution[known], 0.0, coverage)
    missed_by = np.sort(np.maximum(lower - label[known], label[known] - upper))
    rank = ceil((missed_by.size + 1) * coverage)
    if rank > missed_by.size:
        raise InputError(
            f"the validation fields hold {missed_by.size} labelled images, too few for {coverage:.0%} intervals; "
            "label more stacks"
        )
    return float(missed_by[rank - 1])
