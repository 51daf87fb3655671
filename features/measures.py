"""Every focus measure and every signed cue by name: to add one, write its function and give it one line here.

The order is that of the feature table's columns.
"""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.features import asymmetry, gradient, laplacian, spectral, statistics
from focus_picker.features.asymmetry import EDGE, GREY, HALO, INNER_EDGE, INNER_RIM, OUTER_EDGE, OUTER_RIM
from focus_picker.features.intermediates import BLUE, GREEN, RED, Intermediates

Measure = Callable[[Intermediates], float]

MEASURES: dict[str, Measure] = {
    # First derivatives
    "tenengrad": gradient.tenengrad,
    "tenengrad_variance": gradient.tenengrad_variance,
    "gradient_mean": gradient.gradient_mean,
    "brenner": gradient.brenner,
    "squared_gradient": gradient.squared_gradient,
    "scharr": gradient.scharr,
    "roberts": gradient.roberts,
    "maximum_gradient": gradient.maximum_gradient,
    "edge_gradient": gradient.edge_gradient,
    "half_scale_gradient": gradient.half_scale_gradient,
    "gradient_kurtosis": gradient.gradient_kurtosis,
    "edge_share": gradient.edge_share,
    "edge_spread": gradient.edge_spread,
    "edge_width": gradient.edge_width,
    "fine_to_half_gradient": gradient.fine_to_half_gradient,
    "steepest_scale_ratio": gradient.steepest_scale_ratio,
    "structure_1_to_2": gradient.structure_1_to_2,
    "structure_2_to_variance": gradient.structure_2_to_variance,
    # Second derivatives
    "laplacian_variance": laplacian.laplacian_variance,
    "laplacian_energy": laplacian.laplacian_energy,
    "modified_laplacian": laplacian.modified_laplacian,
    "diagonal_modified_laplacian": laplacian.diagonal_modified_laplacian,
    "maximum_laplacian": laplacian.maximum_laplacian,
    "half_scale_laplacian": laplacian.half_scale_laplacian,
    "quarter_scale_laplacian": laplacian.quarter_scale_laplacian,
    "laplacian_kurtosis": laplacian.laplacian_kurtosis,
    "quarter_laplacian_skewness": laplacian.quarter_laplacian_skewness,
    "fine_to_half_laplacian": laplacian.fine_to_half_laplacian,
    "half_to_quarter_laplacian": laplacian.half_to_quarter_laplacian,
    "laplacian_to_gradient": laplacian.laplacian_to_gradient,
    "half_laplacian_to_gradient": laplacian.half_laplacian_to_gradient,
    # Grey levels and their correlation
    "variance": statistics.variance,
    "normalised_variance": statistics.normalised_variance,
    "contrast": statistics.contrast,
    "entropy": statistics.entropy,
    "kurtosis": statistics.kurtosis,
    "vollath_f4": statistics.vollath_f4,
    "vollath_f5": statistics.vollath_f5,
    "neighbour_correlation": statistics.neighbour_correlation,
    "histogram_range": statistics.histogram_range,
    "interquartile_share": statistics.interquartile_share,
    "transition_share": statistics.transition_share,
    "variance_by_scale": statistics.variance_by_scale,
    # Spatial frequencies
    "high_frequency_energy": spectral.high_frequency_energy,
    "high_to_low_frequency": spectral.high_to_low_frequency,
    "spectral_slope": spectral.spectral_slope,
    "spectral_bend": spectral.spectral_bend,
    "spectral_centroid": spectral.spectral_centroid,
    "spectral_entropy": spectral.spectral_entropy,
    "band_step_1": partial(spectral.band_step, band=1),
    "band_step_2": partial(spectral.band_step, band=2),
    "band_step_3": partial(spectral.band_step, band=3),
    "band_step_4": partial(spectral.band_step, band=4),
    "band_step_5": partial(spectral.band_step, band=5),
    "band_step_6": partial(spectral.band_step, band=6),
    "haar_diagonal": spectral.haar_diagonal,
    "haar_detail_share": spectral.haar_detail_share,
    "haar_diagonal_ratio": spectral.haar_diagonal_ratio,
    "middle_cosine": spectral.middle_cosine,
    "middle_cosine_ratio": spectral.middle_cosine_ratio,
}
"""Focus measures: alike on both sides of focus as far as the image is."""

CUES: dict[str, Measure] = {
    # Transport of intensity
    "laplacian_skewness": asymmetry.laplacian_skewness,
    "half_intensity_skewness": partial(asymmetry.half_scale, moment="intensity_skewness"),
    "half_laplacian_skewness": partial(asymmetry.half_scale, moment="laplacian_skewness"),
    "half_transport": partial(asymmetry.half_scale, moment="transport"),
    "half_detail_side": partial(asymmetry.half_scale, moment="detail_side"),
    "quarter_detail_side": partial(asymmetry.quarter_scale, moment="detail_side"),
    # Rims of the nucleus
    "nucleus_inner_rim": partial(asymmetry.nucleus_step, channel=GREY, step=INNER_RIM),
    "nucleus_outer_edge": partial(asymmetry.nucleus_step, channel=GREY, step=OUTER_EDGE),
    "nucleus_halo": partial(asymmetry.nucleus_step, channel=GREY, step=HALO),
    "nucleus_inner_rim_red": partial(asymmetry.nucleus_step, channel=RED, step=INNER_RIM),
    "nucleus_outer_edge_red": partial(asymmetry.nucleus_step, channel=RED, step=OUTER_EDGE),
    "nucleus_inner_rim_blue": partial(asymmetry.nucleus_step, channel=BLUE, step=INNER_RIM),
    "nucleus_inner_edge_blue": partial(asymmetry.nucleus_step, channel=BLUE, step=INNER_EDGE),
    "nucleus_edge_blue": partial(asymmetry.nucleus_step, channel=BLUE, step=EDGE),
    "nucleus_outer_edge_blue": partial(asymmetry.nucleus_step, channel=BLUE, step=OUTER_EDGE),
    "nucleus_outer_rim_blue": partial(asymmetry.nucleus_step, channel=BLUE, step=OUTER_RIM),
    "red_blue_shift": asymmetry.red_blue_shift,
    # Rims of the cell
    "cell_inner_rim": partial(asymmetry.cell_step, step=INNER_RIM),
    "cell_outer_edge": partial(asymmetry.cell_step, step=OUTER_EDGE),
    "cell_outer_rim": partial(asymmetry.cell_step, step=OUTER_RIM),
    # Phase against absorption: a weakly absorbed channel against a strongly absorbed one
    "blue_green_coherence_1": partial(asymmetry.coherence, first=BLUE, second=GREEN, band=1),
    "blue_green_coherence_2": partial(asymmetry.coherence, first=BLUE, second=GREEN, band=2),
    "blue_green_coherence_3": partial(asymmetry.coherence, first=BLUE, second=GREEN, band=3),
    "blue_red_coherence_1": partial(asymmetry.coherence, first=BLUE, second=RED, band=1),
    "blue_red_coherence_2": partial(asymmetry.coherence, first=BLUE, second=RED, band=2),
    "blue_red_coherence_3": partial(asymmetry.coherence, first=BLUE, second=RED, band=3),
    "blue_green_transfer_0": partial(asymmetry.transfer, first=BLUE, second=GREEN, band=0),
    "blue_green_transfer_1": partial(asymmetry.transfer, first=BLUE, second=GREEN, band=1),
    "blue_green_transfer_2": partial(asymmetry.transfer, first=BLUE, second=GREEN, band=2),
    "blue_green_transfer_3": partial(asymmetry.transfer, first=BLUE, second=GREEN, band=3),
    "blue_red_transfer_1": partial(asymmetry.transfer, first=BLUE, second=RED, band=1),
    "blue_red_transfer_2": partial(asymmetry.transfer, first=BLUE, second=RED, band=2),
    "red_green_transfer_1": partial(asymmetry.transfer, first=RED, second=GREEN, band=1),
    "red_green_transfer_2": partial(asymmetry.transfer, first=RED, second=GREEN, band=2),
    "red_green_transfer_3": partial(asymmetry.transfer, first=RED, second=GREEN, band=3),
    # Axial colour
    "red_blue_sharpness_2": partial(asymmetry.colour_sharpness, first=RED, second=BLUE, band=2),
    "red_blue_sharpness_4": partial(asymmetry.colour_sharpness, first=RED, second=BLUE, band=4),
    "red_green_sharpness_2": partial(asymmetry.colour_sharpness, first=RED, second=GREEN, band=2),
    "red_green_sharpness_4": partial(asymmetry.colour_sharpness, first=RED, second=GREEN, band=4),
}
"""Signed cues: move in opposite directions on the two sides of focus."""


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
    return {name: function(shared) for name, function in wanted.items()}


ALL: dict[str, Measure] = {**MEASURES, **CUES}


def _by_name(name: str) -> Measure:
    try:
        return ALL[name]
    except KeyError:
        raise InputError(f"unknown measure '{name}'; known ones: {', '.join(ALL)}") from None
