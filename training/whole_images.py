"""Images through drawn microscopes as large as cameras cut them: what limits are learned from.

A model is asked about all windows of an image. How much it may say is therefore learned from whole images: pooled
windows of one image err together, and by how much no single window tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np

from focus_picker.dataset.files import atomic_path
from focus_picker.dataset.parallel import parallel_map
from focus_picker.dataset.simulation.kinds import KINDS, draw_instrument
from focus_picker.deep.window import spread_windows
from focus_picker.training.default_data import PICTURE_SHARE, simulate_images, training_crops

SEED, WIDEST_PX, WIDEST_UM = 700, 210, 30.0


@dataclass(frozen=True)
class WholeImages:
    """Images of some stacks, cut into windows.

    Attributes
    ----------
    windows
        ``(W, S, S, 3)`` uint8, those of an image one behind the other, the central one first.
    first
        ``(N,)`` where each image's windows begin.
    score
        ``(N,)`` true scores.
    kind
        ``(N,)`` names of the kinds of microscope.
    """

    windows: np.ndarray
    first: np.ndarray
    score: np.ndarray
    kind: np.ndarray

    def of(self, kinds: Sequence[str]) -> "WholeImages":
        """Those of some kinds."""
        chosen = np.isin(self.kind, kinds)
        counts = np.diff([*self.first, len(self.windows)])
        first = np.cumsum([0, *counts[chosen][:-1]])
        return WholeImages(self.windows[np.repeat(chosen, counts)], first, self.score[chosen], self.kind[chosen])


def make_whole_images(crops: Path, file: Path, stacks: int, jobs: int) -> WholeImages:
    """Simulate ``stacks`` stacks of each kind, or read what is in ``file`` already."""
    if not file.is_file():
        items = [(kind, number) for kind in KINDS for number in range(stacks)]
        make = partial(simulate_whole, training_crops(crops), SEED)
        made = list(parallel_map(make, items, "simulating whole images", jobs=jobs))
        cut = [spread_windows(image) for images, _ in made for image in images]
        arrays = {
            "windows": np.stack([window for several in cut for window in several]),
            "first": np.cumsum([0, *map(len, cut[:-1])]),
            "score": np.concatenate([score for _, score in made]),
            "kind": np.repeat([kind for kind, _ in items], [len(score) for _, score in made]),
        }
        with atomic_path(file) as temporary:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]  # names, not options
    with np.load(file) as saved:
        return WholeImages(*(saved[field.name] for field in fields(WholeImages)))


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
