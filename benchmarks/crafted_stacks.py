"""Stacks that go wrong, made from good ones, with the right statuses; and images that no model was made for."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, product
from pathlib import Path

import cv2
import numpy as np

from benchmarks.naive_measures import NAIVE
from benchmarks.report import Row
from focus_picker.dataset.arrays import array_stack
from focus_picker.dataset.stacks import Stack, find_stacks
from focus_picker.models.contract import Model
from focus_picker.stack_inference.calibration import best_planes
from focus_picker.stack_inference.pick import pick_focus


def sharpest(images: Sequence[np.ndarray]) -> int:
    """Slice with the largest mean squared Sobel gradient."""
    return int(np.argmax([NAIVE["tenengrad"](image) for image in images]))


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


def crafted_rows(folders: Sequence[Path], count: int, models: Mapping[str, Model | None]) -> list[Row]:
    """Share of right statuses for ``count`` stacks of each kind, from all data sets in turn, for each model."""
    statuses: dict[tuple[str, str], list[str]] = {(label, kind): [] for label in models for kind in CRAFTED}
    for number, (stack, _) in enumerate(in_turn(folders, count)):
        images = [plane.read() for plane in stack.slices]
        for (label, kind), seen in statuses.items():
            made = array_stack(CRAFTED[kind][0](images, np.random.default_rng(number)))
            seen.append(pick_focus(made, model=models[label]).status)
    return [
        {
            "scorer": label,
            "kind": kind,
            "n": len(seen),
            "right": np.mean([status in CRAFTED[kind][1] for status in seen]),
            "expected": " or ".join(sorted(CRAFTED[kind][1])),
            "statuses": counted(seen),
        }
        for (label, kind), seen in statuses.items()
    ]


def strange_rows(folders: Sequence[Path], count: int, models: Mapping[str, Model]) -> list[Row]:
    """Error of ``fused`` beside that of sharpness alone where the images are not what a model was made for."""
    stacks = in_turn(folders, count)
    truth = np.array([plane for _, plane in stacks])
    rows = []
    for model, (kind, change) in product(models.values(), STRANGE.items()):
        made = [array_stack([change(plane.read()) for plane in stack.slices]) for stack, _ in stacks]
        picks, alone = ([pick_focus(stack, model=given) for stack in made] for given in (model, None))
        error, error_alone = (np.abs([pick.best_position for pick in part] - truth) for part in (picks, alone))
        rows.append(
            {
                "images": kind,
                "n": len(picks),
                "fused": np.nanmean(error),
                "sharpness alone": np.nanmean(error_alone),
                "fused, worst stack": np.nanmax(error),
                "sharpness alone, worst stack": np.nanmax(error_alone),
                "scores not used": np.mean(["scores not used" in pick.advice for pick in picks]),
                "statuses": counted([pick.status for pick in picks]),
            }
        )
    return rows


def in_turn(folders: Sequence[Path], count: int) -> list[tuple[Stack, float]]:
    """The first ``count`` stacks of several data sets, one of each in turn, with their true best planes."""
    known = [(find_stacks(folder), best_planes(folder)) for folder in folders]
    rounds = zip(*([(stack, truth[stack.name]) for stack in stacks] for stacks, truth in known), strict=False)
    return list(chain.from_iterable(rounds))[: max(count, 1)]


def counted(statuses: Sequence[str]) -> str:
    """Statuses with their numbers."""
    return ", ".join(f"{name} {n}" for name, n in sorted(Counter(statuses).items()))
