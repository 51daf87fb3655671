"""Stacks that go wrong, made from good ones, with the right statuses; and images that no model was made for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from focus_picker.dataset.stacks import Stack


def sharpest(images: Sequence[np.ndarray]) -> int:
    """Slice with the largest mean squared Sobel gradient."""
    return int(np.argmax([sobel_energy(image) for image in images]))


def sobel_energy(image: np.ndarray) -> float:
    """Mean squared Sobel gradient of the luminance."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    x, y = (cv2.Sobel(grey, cv2.CV_64F, *order) for order in ((1, 0), (0, 1)))
    return float((x**2 + y**2).mean())


def flat_field(images: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Empty fields: grey levels of the background with the camera's noise."""
    level = np.median(images[0], axis=(0, 1))
    noisy = [level + rng.normal(0, 2, image.shape) for image in images]
    return [np.clip(np.round(image), 0, 255).astype(np.uint8) for image in noisy]


def two_cells(images: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Two cells side by side, seven slices apart in height."""
    del rng
    height, width = images[0].shape[:2]
    best = sharpest(images)
    first = [images[min(max(best - 3 + k, 0), len(images) - 1)] for k in range(13)]
    other = [images[min(max(best - 10 + k, 0), len(images) - 1)] for k in range(13)]
    return [np.hstack([a[:height, :width], b[:height, :width]]) for a, b in zip(first, other, strict=True)]


def with_slice(value: int) -> Callable[[list[np.ndarray], np.random.Generator], list[np.ndarray]]:
    """Replace one slice by a constant."""

    def craft(images: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        spoilt = list(images)
        spoilt[int(rng.integers(len(images)))] = np.full_like(images[0], value)
        return spoilt

    return craft


def before_focus(images: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Only slices on one side of the sharpest, which is cut off with one neighbour."""
    del rng
    best = sharpest(images)
    return images[: max(best - 1, 2)] if best >= 4 else images[best + 2 :]


Craft = Callable[[list[np.ndarray], np.random.Generator], list[np.ndarray]]

CRAFTED: dict[str, tuple[Craft, frozenset[str]]] = {
    "good stack": (lambda images, rng: images, frozenset({"ok"})),
    "one slice": (lambda images, rng: images[4:5], frozenset({"edge"})),
    "two slices": (lambda images, rng: images[4:6], frozenset({"edge"})),
    "all slices equal": (lambda images, rng: [images[4]] * 11, frozenset({"flat"})),
    "empty field": (flat_field, frozenset({"flat"})),
    "focus outside": (before_focus, frozenset({"edge"})),
    "one black slice": (with_slice(0), frozenset({"ok", "edge"})),
    "one saturated slice": (with_slice(255), frozenset({"ok", "edge"})),
    "reverse order": (lambda images, rng: images[::-1], frozenset({"ok"})),
    "every slice twice": (lambda images, rng: [image for image in images for _ in range(2)], frozenset({"ok"})),
    "sizes differ": (
        lambda images, rng: [image[: image.shape[0] - k, k:] for k, image in enumerate(images)],
        frozenset({"ok"}),
    ),
    "two cells": (two_cells, frozenset({"ambiguous"})),
}
"""Kinds of stacks: what is done to a good one, and the statuses that are right."""


def resized(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    """Images of another pixel size."""
    return lambda image: cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def fluorescent(image: np.ndarray) -> np.ndarray:
    """Dark background, bright cell, a curve between."""
    return np.clip(np.clip(230.0 - image, 0, None) ** 1.5 / 12, 0, 255).astype(np.uint8)


STRANGE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as trained": lambda image: image,
    "half the pixel size": resized(2),
    "twice the pixel size": resized(0.5),
    "four times the pixel size": resized(0.25),
    "inverted": lambda image: 255 - image,
    "fluorescence-like": fluorescent,
    "grey": lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
}
"""What is done to every image of a stack to take it out of a model's competence; the first does nothing."""


@dataclass(frozen=True)
class MemorySlice:
    """A slice that is already read; to ``scoring`` like one of a file."""

    path: Path
    image: np.ndarray
    page: int | None = None

    @property
    def file(self) -> str:
        """Name."""
        return self.path.name

    def read(self) -> np.ndarray:
        """Pixels."""
        return self.image


def stack_of(images: Sequence[np.ndarray], name: str = "made") -> Stack:
    """Stack of images in memory."""
    slices = tuple(MemorySlice(Path(f"{index}.png"), image) for index, image in enumerate(images))
    return Stack(name, Path(name), slices)  # type: ignore[arg-type]
