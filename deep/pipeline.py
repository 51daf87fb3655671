"""From image files to batches: decoded once, kept as native-scale windows, augmented on the fly.

Two threads work ahead of the network. ``tf.data`` would keep every array that its Python functions touch until the
process ends, and lets the end of an epoch wait for its tuner.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from focus_picker.dataset.images import read_image
from focus_picker.dataset.parallel import parallel_map
from focus_picker.deep.augment import augment
from focus_picker.deep.window import SHIFT_PX, WINDOW_PX, native_window

Targets = dict[str, np.ndarray]
Inputs = np.ndarray | dict[str, np.ndarray]

WORKERS, AHEAD = 2, 4  # threads, and batches that are ready before they are asked for


def load_windows(paths: Sequence[Path], size: int = WINDOW_PX + SHIFT_PX, jobs: int = 2) -> np.ndarray:
    """Decode images into native-scale windows ``(N, size, size, 3)`` uint8.

    Raises
    ------
    InputError
        For the first image that cannot be read.
    """
    windows = np.empty((len(paths), size, size, 3), np.uint8)
    read = partial(_read_window, size=size)
    for at, window in enumerate(parallel_map(read, paths, "reading images", jobs=jobs, batch=32, threads=True)):
        windows[at] = window
    return windows


def _read_window(path: Path, size: int) -> np.ndarray:
    return native_window(read_image(path), size)


class Batches:
    """Training batches of any epoch, the same ones whenever that epoch is asked for.

    Parameters
    ----------
    windows
        ``(N, S, S, 3)`` uint8 with a margin for shifts.
    targets
        Arrays of N rows, passed along by name.
    batch
        Images a batch; the last incomplete one of an epoch is left out (the next epoch shuffles anew).
    seed
        Of order and augmentation.
    inputs
        Names of targets that the network is given beside the image.
    size
        Side of the network's window.
    rows
        Which of the windows are trained on; all where it is not said. A copy of them need not be made.
    grey_share, jpeg
        Of the augmentation, see :func:`deep.augment.augment`.
    """

    def __init__(
        self,
        windows: np.ndarray,
        targets: Targets,
        batch: int,
        seed: int,
        inputs: Sequence[str] = (),
        size: int = WINDOW_PX,
        *,
        rows: np.ndarray | None = None,
        grey_share: float = 0.0,
        jpeg: bool = True,
    ) -> None:
        # A data set smaller than a batch is one batch.
        self.rows = np.arange(len(windows)) if rows is None else rows
        self.batch = min(batch, len(self.rows))
        self.windows, self.targets, self.seed, self.inputs, self.size = windows, targets, seed, tuple(inputs), size
        self.augment = partial(augment, size=size, grey_share=grey_share, jpeg=jpeg)

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return len(self.rows) // self.batch

    def epoch(self, number: int) -> Iterator[tuple[Inputs, Targets]]:
        """Batches ``(inputs, targets)`` of epoch ``number``; inputs are the images, or a dict with what goes beside."""
        order = np.random.default_rng((self.seed, number)).permutation(self.rows)
        order = order[: self.steps * self.batch].reshape(self.steps, self.batch)
        with ThreadPoolExecutor(WORKERS) as workers:
            ahead: deque[Future] = deque()
            for step, rows in enumerate(order):
                ahead.append(workers.submit(self._load, rows, (self.seed, number, step)))
                if len(ahead) > AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _load(self, rows: np.ndarray, seed: tuple[int, ...]) -> tuple[Inputs, Targets]:
        rng = np.random.default_rng(seed)
        images = np.stack([self.augment(self.windows[row], rng=rng) for row in rows])
        targets = {name: values[rows] for name, values in self.targets.items()}
        return {"image": images, **{name: targets[name] for name in self.inputs}} if self.inputs else images, targets
