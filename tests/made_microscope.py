"""A virtual microscope whose model is known: a scene drawn by formula, and a score that reads its defocus back."""

import numpy as np

from focus_picker.autofocus.calibration import Calibration, Response
from focus_picker.autofocus.frames import log_sharpness
from focus_picker.autofocus.settings import Limits, Settings
from focus_picker.autofocus.virtual.microscope import virtual_microscope
from focus_picker.autofocus.virtual.scene import Scene
from tests.made_models import MadeModel

DEPTH_UM = 1.0
SIDE_PX = 24
LEVEL, TINT = 120, 14.0  # mean grey level; grey levels of a micrometre of defocus, before their share by colour
REACH_UM = 12.0


def drawn(defocus_um):
    """A chequerboard that fades with defocus, which its colour states: red against blue, at the same luma."""
    board = np.indices((SIDE_PX, SIDE_PX)).sum(axis=0) // 2 % 2 - 0.5
    grey = LEVEL + 160 * board / (1 + (2 * defocus_um / DEPTH_UM) ** 2) ** 0.5
    image = grey[..., None] + TINT * defocus_um * np.array([0.114, 0.0, -0.299])
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


DEFOCUS_UM = np.linspace(-REACH_UM, REACH_UM, 97)
SCENE = Scene(np.stack([drawn(defocus) for defocus in DEFOCUS_UM]), DEFOCUS_UM)


def written(images):
    """Score that the picture itself states, whatever its exposure: a fifth of its defocus."""
    red, green, blue = np.array([image.mean(axis=(0, 1)) for image in images]).reshape(-1, 3).T
    return (red - blue) / green * LEVEL / (TINT * (0.114 + 0.299)) / 5


def known_calibration(direction=1, error_um=0.15, depth_um=DEPTH_UM, reach_um=10.0):
    """Calibration that fits ``SCENE``: a fifth of a score a micrometre."""
    places = np.arange(-reach_um, reach_um + 0.01, 0.5)
    board = np.array([log_sharpness(drawn(place)) for place in places])
    count = len(places)
    response = Response(
        defocus_um=tuple(places), score=tuple(places / 5), score_error=(error_um / 5,) * count,
        sharpness=tuple(board - board.max()), sharpness_error=(0.2,) * count,
    )  # fmt: skip
    return Calibration(
        direction=direction, depth_um=depth_um, um_per_score=5, usable_um=reach_um, cell_error_um=0.05, wrong=0.01,
        frame_noise=0.01, response=response, stacks=9,
    )  # fmt: skip


def settings(**changes):
    return Settings(limits=changes.pop("limits", Limits(lowest_um=-30, highest_um=30)), **changes)


def microscope(focus_um=0.0, start_um=0.0, **vices):
    return virtual_microscope(SCENE, focus_um=focus_um, start_um=start_um, **vices)


def known_model(score=written, **options):
    return MadeModel(score, **options)
