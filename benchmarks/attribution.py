"""Which reference makes an attribution map true?

On a simulated data set the in-focus picture of the same cell is known. Putting a piece of it into an image that is out
of focus changes the score by what that piece had to say; a good map gives each piece about that share. For every
reference: what it scores itself, how often the map's sum has the sign of the true score, the correlation of shares and
true effects, and that of maps by two seeds.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import pandas as pd
import typer

from benchmarks.report import Output, Report, run
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import read_image
from focus_picker.dataset.labels import read_labels, read_truth, true_scores
from focus_picker.deep.window import native_window
from focus_picker.explain.attribution import Attribution, MakeReference, ValueAndGradient, attribute, expected_score
from focus_picker.explain.attribution import shuffled_within_blocks as shuffled
from focus_picker.explain.explanation import load_student
from focus_picker.models import DEFAULT_WEIGHTS

NEAREST, FARTHEST = 0.3, 1.1  # scores of the images that are explained
PIECE_PX = 32
SEAM_PX = 2.0


def uniform(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image's mean colour everywhere."""
    return np.broadcast_to(image.mean(axis=(0, 1)), image.shape).astype(np.float32)


def blurred(image: np.ndarray, rng: np.random.Generator, sigma_px: float) -> np.ndarray:
    """The image through a Gaussian."""
    return cv2.GaussianBlur(image, (0, 0), sigma_px)


REFERENCES: dict[str, MakeReference] = {
    "mean colour": uniform,
    "blurred by 5 px": partial(blurred, sigma_px=5.0),
    "blurred by 10 px": partial(blurred, sigma_px=10.0),
    "pixels shuffled within 8 px": partial(shuffled, block_px=8),
    "pixels shuffled within 16 px": partial(shuffled, block_px=16),
    "pixels shuffled within 24 px": partial(shuffled, block_px=24),
    "pixels shuffled within 32 px": partial(shuffled, block_px=32),
    "pixels shuffled over the window": partial(shuffled, block_px=1024),
}
ORACLE = "the same cell in focus (unknown in practice)"


def compare_references(
    dataset: Annotated[Path, typer.Argument(help="Simulated data set of whole stacks with truth.")],
    images: Annotated[int, typer.Option(min=1, help="Images to explain.")] = 24,
    seed: Annotated[int, typer.Option(help="Of the choice of images.")] = 0,
    reference: Annotated[
        list[str] | None, typer.Option(help="Of the table's; repeat it for more.", show_default="all")
    ] = None,
    output: Output = None,
) -> Report:
    """Report means over the images, one row a reference."""
    if unknown := set(reference or ()) - {*REFERENCES, ORACLE}:
        raise InputError(f"--reference {unknown.pop()!r} is unknown; give one of {', '.join([*REFERENCES, ORACLE])}")
    student = load_student(DEFAULT_WEIGHTS)
    score, scale = expected_score(student.network, student.side.bins), student.side.score_per_slice
    rows = []
    for truth, window, in_focus in chosen(dataset, images, seed):
        effects = true_effects(score, window, in_focus)
        makers = {**REFERENCES, ORACLE: lambda _image, _rng, known=in_focus: known.astype(np.float32)}
        for name in reference or makers:
            found, again = (attribute(score, window, scale, make_reference=makers[name], seed=seed) for seed in (0, 1))
            rows.append({"reference": name, **judged(found, again, truth, effects)})
    by_reference = pd.DataFrame(rows).groupby("reference", sort=False)
    table = by_reference.mean()
    table.insert(1, "sd", by_reference["reference score"].std())
    return Report("References of attribution", {"": table.reset_index().to_dict("records")}, output)


def chosen(dataset: Path, images: int, seed: int) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """True score, window, and the window of the slice of the same stack that is nearest to focus."""
    labels = read_labels(dataset)
    labels["true"] = true_scores(labels, read_truth(dataset))
    nearest = labels.loc[labels.groupby("stack")["true"].apply(lambda score: score.abs().idxmin())].set_index("stack")
    rows = labels[labels["true"].abs().between(NEAREST, FARTHEST)].sample(images, random_state=seed)

    def window(path: str) -> np.ndarray:
        return native_window(read_image(dataset / path))

    return [
        (float(row.true), window(row.image_path), window(nearest.loc[row.stack, "image_path"]))
        for row in rows.itertuples()
    ]


def pieces(size: int) -> np.ndarray:
    """Soft masks of the pieces of a window, ``(N, size, size)``; they sum to 1 everywhere."""
    masks = []
    for top in range(0, size, PIECE_PX):
        for left in range(0, size, PIECE_PX):
            mask = np.zeros((size, size), np.float32)
            mask[top : top + PIECE_PX, left : left + PIECE_PX] = 1
            masks.append(cv2.GaussianBlur(mask, (0, 0), SEAM_PX, borderType=cv2.BORDER_REFLECT))
    return np.array(masks)


def true_effects(score: ValueAndGradient, window: np.ndarray, in_focus: np.ndarray) -> np.ndarray:
    """By how much each piece in focus lowers the score, ``(N,)``."""
    image, other = window.astype(np.float32), in_focus.astype(np.float32)
    changed = image + pieces(len(window))[..., np.newaxis] * (other - image)
    return score(image[np.newaxis])[0] - score(changed)[0]


def judged(found: Attribution, again: Attribution, truth: float, effects: np.ndarray) -> dict[str, float]:
    """Figures of one image."""
    shares = (pieces(len(found.pixels)) * found.pixels).sum(axis=(1, 2))
    return {
        "reference score": found.reference_score,
        "right sign of the sum": float(np.sign(found.pixels.sum()) == np.sign(truth)),
        "correlation with truth": float(np.corrcoef(shares, effects)[0, 1]),
        "correlation of two seeds": float(np.corrcoef(found.shown.ravel(), again.shown.ravel())[0, 1]),
        "completeness error": found.completeness_error,
        "gradients": found.gradients,
    }


main = partial(run, compare_references)

if __name__ == "__main__":
    sys.exit(main())
