"""A blend of network and baseline: worth having where their errors differ."""

import numpy as np

SHARES = np.linspace(0, 1, 21)


def learn_blend(network: np.ndarray, features: np.ndarray, label: np.ndarray) -> float:
    """Share of the network, 0 to 1, with the least mean absolute error on validation images.

    Parameters
    ----------
    network, features
        Scores ``(N,)`` of both.
    label
        ``(N,)``, NaN where unlabelled.
    """
    known = np.isfinite(label)
    errors = [np.abs(share * network + (1 - share) * features - label)[known].mean() for share in SHARES]
    return float(SHARES[int(np.argmin(errors))])
