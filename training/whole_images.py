"""Images through drawn microscopes as large as cameras cut them: what limits are learned from.

A model is asked about all windows of an image. How much it may say is therefore learned from whole images: pooled
windows of one image err together, and by how much no single window tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from focus_picker.dataset.files import atomic_path
from focus_picker.dataset.parallel import parallel_map
from focus_picker.dataset.simulation.kinds import KINDS, draw_instrument
from focus_picker.deep.views import ImageWindows, windows_of
from focus_picker.deep.window import WINDOW_PX
from focus_picker.training.default_data import PICTURE_SHARE, simulate_images, training_crops

SEED, WIDEST_PX, WIDEST_UM = 700, 210, 30.0


@dataclass(frozen=True)
class WholeImages:
    """Images of some stacks, cut into windows.

    Attributes
    ----------
    cut
        Their windows.
    score
        ``(N,)`` true scores.
    kind
        ``(N,)`` names of the kinds of microscope.
    """

    cut: ImageWindows
    score: np.ndarray
    kind: np.ndarray

    def of(self, kinds: Sequence[str]) -> "WholeImages":
        """Those of some kinds."""
        chosen = np.isin(self.kind, kinds)
        return WholeImages(self.cut.of(chosen), self.score[chosen], self.kind[chosen])


def make_whole_images(crops: Path, file: Path, stacks: int, jobs: int) -> WholeImages:
    """Simulate ``stacks`` stacks of each kind, or read what is in ``file`` already."""
    if not file.is_file():
        items = [(kind, number) for kind in KINDS for number in range(stacks)]
        make = partial(simulate_whole, training_crops(crops), SEED)
        made = list(parallel_map(make, items, "simulating whole images", jobs=jobs))
        cut = windows_of([image for images, _ in made for image in images], WINDOW_PX)
        arrays = {
            "windows": cut.windows,
            "first": cut.first,
            "score": np.concatenate([score for _, score in made]),
            "kind": np.repeat([kind for kind, _ in items], [len(score) for _, score in made]),
        }
        with atomic_path(file) as temporary:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]  # names, not options
    with np.load(file) as saved:
        return WholeImages(ImageWindows(saved["windows"], saved["first"]), saved["score"], saved["kind"])


def simulate_whole(pictures: list[Path], seed: int, item: tuple[str, int]) -> tuple[list[np.ndarray], np.ndarray]:
    """Images ``(H, W, 3)`` and scores of one stack: its kind, and its number among those of the kind."""
    kind, number = item
    rng = np.random.default_rng((seed, list(KINDS).index(kind), number))
    instrument = draw_instrument(kind, rng)
    wide_um = min(WIDEST_UM, WIDEST_PX * instrument.pixel_um)
    larger = instrument.model_copy(update={"crop_um": (0.75 * wide_um, wide_um)})
    picture = pictures[int(rng.integers(len(pictures)))] if rng.random() < PICTURE_SHARE else None
    images, score = simulate_images(picture, larger, rng, widest_px=WIDEST_PX)
    return list(images), score
