"""From image files to batches: decoded once, kept as native-scale windows, augmented on the fly."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from focus_picker.dataset.images import read_image
from focus_picker.dataset.parallel import parallel_map
from focus_picker.deep.augment import augment
from focus_picker.deep.window import SHIFT_PX, WINDOW_PX, native_window

Targets = dict[str, np.ndarray]


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
        grey_share: float = 0.0,
        jpeg: bool = True,
    ) -> None:
        # A data set smaller than a batch is one batch.
        self.batch = min(batch, len(windows))
        self.windows, self.targets, self.seed, self.inputs, self.size = windows, targets, seed, tuple(inputs), size
        self.augment = partial(augment, size=size, grey_share=grey_share, jpeg=jpeg)

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return len(self.windows) // self.batch

    def epoch(self, number: int) -> tf.data.Dataset:
        """Batches ``(inputs, targets)`` of epoch ``number``; inputs are the images, or a dict with what goes beside."""
        order = np.random.default_rng((self.seed, number)).permutation(len(self.windows))
        order = order[: self.steps * self.batch].reshape(self.steps, self.batch)

        def load(step: np.ndarray) -> tuple[np.ndarray, ...]:
            rows = order[step]
            rng = np.random.default_rng((self.seed, number, int(step)))
            images = np.stack([self.augment(self.windows[row], rng=rng) for row in rows])
            return (images, *(values[rows] for values in self.targets.values()))

        steps = tf.data.Dataset.range(self.steps)
        made = steps.map(self._mapper(load), num_parallel_calls=2, deterministic=True).prefetch(4)
        # Nothing is left to be tuned, and the end of an epoch waits for the tuner, which sleeps ever longer.
        options = tf.data.Options()
        options.autotune.enabled = False
        return made.with_options(options)

    def _mapper(self, load: Callable) -> Callable:
        names, values = list(self.targets), list(self.targets.values())
        types = [tf.uint8, *(tf.as_dtype(value.dtype) for value in values)]

        def prepare(step: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
            images, *rest = tf.numpy_function(load, [step], types)
            images = tf.ensure_shape(images, (self.batch, self.size, self.size, 3))
            shaped = [
                tf.ensure_shape(part, (self.batch, *value.shape[1:])) for part, value in zip(rest, values, strict=True)
            ]
            given = dict(zip(names, shaped, strict=True))
            beside = {name: given[name] for name in self.inputs}
            return ({"image": images, **beside} if beside else images), given

        return prepare
