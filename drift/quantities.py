"""What drift is told by in one scored image, beside its features: light, as a service notes it for every image."""

import numpy as np

from focus_picker.deep.competence import PROPERTIES, image_properties
from focus_picker.deep.window import native_window
from focus_picker.drift.statistics import UNSURE
from focus_picker.models.contract import Judgement

QUANTITIES = ("score", "interval_width", UNSURE, *PROPERTIES)
"""Names of what ``quantities_of`` gives."""


def quantities_of(image: np.ndarray, judged: Judgement) -> dict[str, float]:
    """Quantities of one image.

    Parameters
    ----------
    image
        As ``dataset.images.read_image`` gives it.
    judged
        What a model judged of it alone. A student has measured the properties of
        the image already; for others they are measured here, on the native window.

    Returns
    -------
    dict
        By name of ``QUANTITIES``; ``unsure`` is 0 or 1.
    """
    properties = judged.properties or image_properties(native_window(image)[np.newaxis])
    return {
        "score": float(judged.score[0]),
        "interval_width": float(judged.upper[0] - judged.lower[0]),
        UNSURE: float(judged.status[0] == "unsure"),
        **{name: float(properties[name][0]) for name in PROPERTIES},
    }
