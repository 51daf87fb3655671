"""Training windows of the default model, seen through drawn microscopes: shards of plain arrays, made in any order.

A shard depends on its number and the seed alone, so that an interrupted or a later run adds to what is there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from focus_picker.dataset.files import atomic_path
from focus_picker.dataset.parallel import parallel_map
from focus_picker.dataset.simulation.camera import draw_exposure, photograph, vignette
from focus_picker.dataset.simulation.instrument import Instrument, known_instruments, load_instrument, vary
from focus_picker.dataset.simulation.kinds import KINDS, draw_instrument
from focus_picker.dataset.simulation.preparation import Preparation
from focus_picker.dataset.simulation.processing import motion_blur
from focus_picker.dataset.simulation.scene import lay_scene
from focus_picker.dataset.splits import place_of
from focus_picker.deep.window import SHIFT_PX, WINDOW_PX, native_window
from focus_picker.features import measure

SEED = 200
SHIPPED = tuple(known_instruments())
ALL_KINDS = (*KINDS, *SHIPPED)
SHIPPED_FROM = 1_000_000  # number of the first stack of shipped instruments
VARY = 0.2  # spread of their optics from microscope to microscope
STACKS_PER_SHARD, STACKS_PER_MICROSCOPE, PLANES = 36, 2, 8
TRAIN_SHARE = 0.6  # of the crops; the rest is for tests, here and elsewhere
PICTURE_SHARE = 0.75  # of the stacks start from a picture, the others are drawn
SOURCE_PIXEL_UM = 0.1
SCORE_PER_SLICE = 0.2
SLICE_DEPTHS = 0.6  # a slice of the shipped instruments, in depths of field: the unit of the default model's score
WIDEST_PX = 112  # of a picture: time goes with its area, and blur shows in any part of it
REACH = 1.7  # largest score; the bins end at 2.05


@dataclass(frozen=True)
class Windows:
    """Images of some stacks.

    Attributes
    ----------
    image
        ``(N, S, S, 3)`` uint8 with a margin for shifts.
    score
        ``(N,)`` true scores.
    kind
        ``(N,)`` index into ``ALL_KINDS``.
    stack
        ``(N,)`` number of the stack.
    features
        ``(N, F)`` handcrafted features of the windows without their margin, in the order of ``features.table.COLUMNS``.
    """

    image: np.ndarray
    score: np.ndarray
    kind: np.ndarray
    stack: np.ndarray
    features: np.ndarray

    def select(self, chosen: np.ndarray) -> "Windows":
        """Those rows."""
        return Windows(*(getattr(self, name)[chosen] for name in ARRAYS))


ARRAYS = tuple(field.name for field in fields(Windows))


def crop_is_for_training(path: Path) -> bool:
    """Decide by the file's name alone, so that a crop keeps its side wherever it lies."""
    return place_of(path.name) < TRAIN_SHARE


def training_crops(crops: Path) -> list[Path]:
    """Crops in a folder that may be trained on, in order."""
    return [path for path in sorted(crops.rglob("*.jpg")) if crop_is_for_training(path)]


def shard_path(folder: Path, number: int) -> Path:
    """File of a shard."""
    return folder / f"shard_{number:04d}.npz"


def draw(kind: str, rng: np.random.Generator) -> Instrument:
    """Draw a microscope of a kind, or a relative of a shipped instrument."""
    if kind in KINDS:
        return draw_instrument(kind, rng)
    return vary(load_instrument(kind), VARY, rng).model_copy(update={"preparation": Preparation()})


def make_shards(
    crops: Path,
    folder: Path,
    stacks: int,
    jobs: int,
    kinds: Sequence[str] = tuple(KINDS),
    drawn: Callable[[str, np.random.Generator], Instrument] = draw,
) -> None:
    """Make the shards that are not there yet, until there are ``stacks`` stacks of the given kinds.

    ``drawn`` gives the microscope of a kind; a function of a module, as other processes call it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = training_crops(crops)
    count = -(-stacks // STACKS_PER_SHARD)
    missing = [number for number in range(count) if not shard_path(folder, number).is_file()]
    make = partial(make_shard, folder, pictures, kinds, drawn)
    for _ in parallel_map(make, missing, "simulating shards", jobs=jobs):
        pass


def make_shard(
    folder: Path,
    pictures: list[Path],
    kinds: Sequence[str],
    drawn: Callable[[str, np.random.Generator], Instrument],
    number: int,
) -> None:
    """Simulate one shard; kinds of microscope take turns."""
    first = 0 if kinds[0] in KINDS else SHIPPED_FROM
    parts = []
    for place in range(0, STACKS_PER_SHARD, STACKS_PER_MICROSCOPE):
        kind = kinds[(place // STACKS_PER_MICROSCOPE + number) % len(kinds)]
        rng = randomness(first + number * STACKS_PER_SHARD + place)
        instrument = drawn(kind, rng)
        for stack in range(place, place + STACKS_PER_MICROSCOPE):
            picture = pictures[int(rng.integers(len(pictures)))] if rng.random() < PICTURE_SHARE else None
            image, score = simulate_windows(picture, instrument, rng)
            same = np.full(len(score), first + number * STACKS_PER_SHARD + stack)
            parts.append((image, score, np.full(len(score), ALL_KINDS.index(kind)), same))
    image, score, kind_of, stacks = (np.concatenate(column) for column in zip(*parts, strict=True))
    with atomic_path(shard_path(folder, number)) as temporary:
        arrays = (image, score.astype(np.float32), kind_of, stacks, measured(image))
        np.savez(temporary, **dict(zip(ARRAYS, arrays, strict=True)))  # type: ignore[arg-type]  # names, not options


def randomness(stack: int) -> np.random.Generator:
    """What a microscope is drawn from, and then all of its stacks: by the number of the first of them."""
    first = SHIPPED_FROM if stack >= SHIPPED_FROM else 0
    number, place = divmod(stack - first, STACKS_PER_SHARD)
    return np.random.default_rng((SEED, number, place - place % STACKS_PER_MICROSCOPE + first))


def simulate_windows(
    picture: Path | None, instrument: Instrument, rng: np.random.Generator, score: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Windows ``(N, S, S, 3)`` of one cell at the given scores, or at ``PLANES`` random ones, and the scores."""
    images, score = simulate_images(picture, instrument, rng, score)
    return np.stack([native_window(image, WINDOW_PX + SHIFT_PX) for image in images]), score


def simulate_images(
    picture: Path | None,
    instrument: Instrument,
    rng: np.random.Generator,
    score: np.ndarray | None = None,
    widest_px: int = WIDEST_PX,
) -> tuple[np.ndarray, np.ndarray]:
    """Images ``(N, H, W, 3)`` behind these windows, as large as the instrument's crops but for ``widest_px``."""
    widest = min(widest_px, instrument.crop_um[1] / instrument.pixel_um)
    height, width = (round(widest * share) for share in rng.uniform(0.75, 1.0, 2))
    shape = (height, width)
    scene = lay_scene(picture, shape, instrument, SOURCE_PIXEL_UM, rng)
    if score is None:
        score = REACH * (2 * (np.arange(PLANES) + rng.random(PLANES)) / PLANES - 1)
    defocus_um = score / SCORE_PER_SLICE * SLICE_DEPTHS * instrument.depth_of_field_um
    intensity = scene.images(scene.sharpest_um() + defocus_um)
    camera = instrument.camera
    if camera.processing:
        y_um, x_um = camera.processing.motion_um
        intensity = motion_blur(intensity, (y_um / instrument.pixel_um, x_um / instrument.pixel_um))
    exposure = draw_exposure(camera, rng)
    light = vignette(shape, tuple(rng.uniform(-0.7, 0.6, 2)), 0.1 / max(shape), exposure.vignetting)
    images = photograph(intensity, light, exposure, camera, rng)
    return np.stack([as_jpeg(image, camera.jpeg_quality) for image in images]), score


def as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """What a JPEG file of an RGB image gives back."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]


def load_shards(*folders: Path) -> Windows:
    """All shards there are, in order; no image is in memory twice."""
    shards = [np.load(path) for folder in folders for path in sorted(folder.glob("shard_*.npz"))]
    ends = np.cumsum([0] + [len(shard["score"]) for shard in shards])
    columns = []
    for name in ARRAYS:
        first = shards[0][name]
        columns.append(np.empty((ends[-1], *first.shape[1:]), first.dtype))
        for start, end, shard in zip(ends, ends[1:], shards, strict=False):
            columns[-1][start:end] = shard[name]
    return Windows(*columns)


def measured(images: np.ndarray) -> np.ndarray:
    """Features ``(N, F)`` float32 of windows with a margin; what is no number counts as 0."""
    rows = [list(measure(native_window(image, WINDOW_PX)).values()) for image in images]
    return np.nan_to_num(np.array(rows, np.float32), posinf=0, neginf=0)
