"""Which pixels move the network's score: integrated gradients against the same picture without its detail.

Integrated gradients (Sundararajan, Taly and Yan 2017, arXiv:1703.01365) divide the difference between the scores of an
image and of a reference among the pixels; the shares add up to the difference ("completeness"). All depends on the
reference. A uniform colour or a strongly blurred copy are the usual ones, and wrong here: a network never saw either
and may call them anything (a former default called a uniform colour +1.1 to +1.2, whatever the image), and the map
would explain the way from there. The same pixels shuffled within blocks of ``BLOCK_PX`` keep the colours about where
they are and lose the edges and the detail that focus is read from; they score about the same on whichever side the
image is, so that the map is what tells the sides apart. One such reference is noise; the mean over many is taken
(expected gradients, Erion et al. 2021, Nat. Mach. Intell. 3:620).
``python -m benchmarks.attribution`` measures these claims.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from focus_picker.features.intermediates import Intermediates
from focus_picker.models.bins import ScoreBins

if TYPE_CHECKING:
    import keras

BLOCK_PX = 24  # of several sizes the one whose maps agree best with refocused pieces; see docs/explain.md
REFERENCES = 64  # maps of two seeds then correlate by 0.95
STEPS = 8  # of the way from a reference to the image in one pass
MOST_PASSES = 16
TOLERANCE = 0.01  # of the difference that is shared out
BATCH = 32
SEED = 0
GOLDEN = 0.6180339887498949  # shifts the steps of each pass to where the passes before left gaps

SHOWN_SIGMA_PX = 4.5  # a Gaussian of this width weighs about as many pixels as a block has
EDGE_PX = 4

ValueAndGradient = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""``(N, H, W, 3)`` float32 -> values ``(N,)`` and their gradients ``(N, H, W, 3)``."""

MakeReference = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Attribution:
    """A score divided among the pixels of a window.

    Attributes
    ----------
    pixels
        ``(H, W)``, score units a pixel, channels summed: positive pushes to post-focal, negative to pre-focal.
    expected_score
        Mean of the predicted distribution, the read-out that is explained.
    reference_score
        Mean of the same over the references.
    gradients
        Number of gradients that it took.
    scale
        Least difference of scores that completeness is judged by: of a smaller one a share would mean little.
    """

    pixels: np.ndarray
    expected_score: float
    reference_score: float
    gradients: int
    scale: float

    @property
    def completeness_error(self) -> float:
        """What the pixels' sum lacks of the difference of the scores, as a share of it (or of ``scale`` if larger)."""
        difference = self.expected_score - self.reference_score
        return abs(float(self.pixels.sum()) - difference) / max(abs(difference), self.scale)

    @property
    def complete(self) -> bool:
        """Whether the sum holds within ``TOLERANCE``."""
        return self.completeness_error <= TOLERANCE

    @property
    def shown(self) -> np.ndarray:
        """The map for the eye: a weighted mean about each pixel, in score units a block of ``BLOCK_PX`` squared."""
        smooth = cv2.GaussianBlur(self.pixels, (0, 0), SHOWN_SIGMA_PX, borderType=cv2.BORDER_REFLECT)
        return smooth * BLOCK_PX**2


@dataclass(frozen=True)
class Region:
    """A part of the window, its share of the map's magnitude and its share of the area, both 0 to 1."""

    name: str
    share: float
    area: float


def attribute(
    score: ValueAndGradient,
    window: np.ndarray,
    scale: float,
    *,
    make_reference: MakeReference | None = None,
    seed: int = SEED,
) -> Attribution:
    """Divide the score of a window among its pixels; more steps are taken until the shares add up.

    Parameters
    ----------
    score
        The network's read-out with its gradient, from :func:`expected_score`.
    window
        What the network sees, ``(H, W, 3)`` uint8 RGB, from ``deep.window.native_window``.
    scale
        Least difference of scores that completeness is asked for, usually one slice's: an image may score as its
        references do, and a share of nothing cannot be held.
    make_reference
        Function that makes a reference from the window (float32) at random; None for :func:`shuffled_within_blocks`.
    seed
        Seed of the references. The same window and seed give the same map.
    """
    rng = np.random.default_rng(seed)
    image, make = window.astype(np.float32), make_reference or shuffled_within_blocks
    references = np.stack([make(image, rng) for _ in range(REFERENCES)])
    ends = in_batches(lambda batch: score(batch)[0], np.concatenate([image[np.newaxis], references]))
    starts = (rng.permutation(REFERENCES) + 0.5) / REFERENCES
    total = np.zeros(window.shape, np.float64)
    for passed in range(1, MOST_PASSES + 1):
        total += integrate(score, image, references, (starts + passed * GOLDEN) % 1)
        found = Attribution(
            pixels=(total / passed).sum(axis=-1),
            expected_score=float(ends[0]),
            reference_score=float(ends[1:].mean()),
            gradients=passed * STEPS * REFERENCES,
            scale=scale,
        )
        if found.complete:
            break
    return found


def shuffled_within_blocks(image: np.ndarray, rng: np.random.Generator, block_px: int = BLOCK_PX) -> np.ndarray:
    """Shuffle the pixels ``(H, W, C)`` of each block; the grid of blocks is moved at random."""
    height, width, channels = image.shape
    top, left = rng.integers(0, block_px, 2)
    rows, columns = (np.arange(height) + top) // block_px, (np.arange(width) + left) // block_px
    block = (rows[:, np.newaxis] * width + columns).ravel()
    place, drawn = np.argsort(block, kind="stable"), np.lexsort((rng.random(block.size), block))
    shuffled = np.empty((block.size, channels), image.dtype)
    shuffled[place] = image.reshape(-1, channels)[drawn]
    return shuffled.reshape(image.shape)


def integrate(score: ValueAndGradient, image: np.ndarray, references: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Mean over references of ``(image - reference)`` times the mean gradient on the straight way between them.

    Parameters
    ----------
    score
        Function whose gradient is integrated.
    image
        Where the ways end, ``(H, W, 3)`` float32.
    references
        Where they begin, ``(N, H, W, 3)`` float32.
    starts
        Place within each of the ``STEPS`` steps, 0 to 1, at which a reference's gradients are taken, ``(N,)``. Evenly
        spread over the references, they make the mean as fine as all of their steps together.

    Returns
    -------
    numpy.ndarray
        ``(H, W, 3)`` float64, score units.
    """
    total = np.zeros(image.shape, np.float64)
    for first in range(0, len(references), BATCH):
        part = references[first : first + BATCH]
        way = image - part
        for step in range(STEPS):
            share = ((step + starts[first : first + BATCH]) / STEPS).astype(np.float32)
            _, gradient = score(part + share[:, np.newaxis, np.newaxis, np.newaxis] * way)
            total += (gradient * way).sum(axis=0)
    return total / (STEPS * len(references))


def in_batches(function: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Apply ``function`` to ``BATCH`` rows at a time."""
    return np.concatenate([function(rows[first : first + BATCH]) for first in range(0, len(rows), BATCH)])


def expected_score(student: "keras.Model", bins: ScoreBins) -> ValueAndGradient:
    """The mean of the predicted distribution as a function of float pixels, with its gradient.

    The score itself is the distribution's median. Its gradient comes from the one bin that holds the median, vanishes
    where that bin holds all, and jumps from bin to bin; the mean moves with every bin and is smooth. Where the
    distribution has one peak the two differ by less than a bin.

    Parameters
    ----------
    student
        Keras network from :func:`deep.student.load_trained`.
    bins
        Score bins of its distribution.
    """
    import keras
    import tensorflow as tf

    # The input casts to uint8, through which nothing can be differentiated: begin behind it, at the layer that scales.
    scaling = student.layers[1]
    rest = keras.Model(scaling.output, student.get_layer("distribution").output)
    centres = tf.constant(bins.centres, tf.float32)

    @tf.function(reduce_retracing=True)
    def differentiate(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            value = tf.linalg.matvec(rest(scaling(pixels), training=False), centres)
        return value, tape.gradient(value, pixels)

    def score(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, gradient = differentiate(tf.constant(pixels, tf.float32))
        return value.numpy(), gradient.numpy()

    return score


def regions(attribution: Attribution, window: np.ndarray) -> list[Region]:
    """Share of the shown map's magnitude by part of the picture; empty where nothing in it is stained.

    Parts are those of ``features.boundary``: ``nucleus edge`` is within ``EDGE_PX`` pixels of where the darkest large
    thing ends, ``stained`` is all that is darker than the background (cell, and red cells about it).
    """
    shared = Intermediates(window)
    stained = shared.grey < shared.parts.cell_bound
    if not (shared.parts.found and stained.any()):
        return []
    nucleus = (shared.grey < shared.parts.nucleus_bound).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * EDGE_PX + 1, 2 * EDGE_PX + 1))
    masks = {"nucleus edge": cv2.dilate(nucleus, disc) > cv2.erode(nucleus, disc), "stained": stained}
    magnitude = np.abs(attribution.shown)
    whole = max(float(magnitude.sum()), np.finfo(float).tiny)
    return [Region(name, float(magnitude[mask].sum()) / whole, float(mask.mean())) for name, mask in masks.items()]
