"""Quantities of one judged image, beside its features, that tell whether images have changed: a service notes them."""

import numpy as np

from focus_picker.deep.competence import PROPERTIES, image_properties
from focus_picker.deep.window import native_window
from focus_picker.drift.profile import UNSURE
from focus_picker.models.contract import Judgement

QUANTITIES = ("score", "interval_width", UNSURE, *PROPERTIES)
"""Names of what ``quantities_of`` gives."""


def quantities_of(image: np.ndarray, judged: Judgement) -> dict[str, float]:
    """Return the ``QUANTITIES`` of one image by name; ``unsure`` is 0 or 1.

    Parameters
    ----------
    image
        As ``dataset.images.read_image`` gives it.
    judged
        What a model says about this image alone. Properties that the model has not measured on the way are measured
        here, on the native window.
    """
    properties = judged.properties or image_properties(native_window(image)[np.newaxis])
    return {
        "score": float(judged.score[0]),
        "interval_width": float(judged.upper[0] - judged.lower[0]),
        UNSURE: float(judged.status[0] == "unsure"),
        **{name: float(properties[name][0]) for name in PROPERTIES},
    }
