"""What adaptation learns from: labelled slices as windows and features, and the groups that stay together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from focus_picker.adaptation.labelling import LabelledStack, Report, silent
from focus_picker.dataset.labels import field_of
from focus_picker.dataset.stacks import read_each
from focus_picker.deep.window import SHIFT_PX, WINDOW_PX, centre, native_window
from focus_picker.features import measure
from focus_picker.features.table import COLUMNS as FEATURES


@dataclass(frozen=True)
class Examples:
    """Labelled slices of one microscope, ``n`` rows in all.

    Attributes
    ----------
    windows
        ``(n, S, S, 3)`` uint8 with a margin for shifts.
    features
        ``(n, F)`` of the central windows, columns ``FEATURES``; NaN where one cannot be measured.
    score
        ``(n,)`` labels.
    image_path
        Of each row: its stack's name and its file's, for people and tables.
    stack
        ``(n,)`` number of each row's stack in ``labelled``.
    group
        ``(n,)`` number of what stays together in cross-validation: the field, or the stack where all are of one field.
    labelled
        The stacks.
    score_per_slice
        Score between neighbouring slices, positive.
    """

    windows: np.ndarray
    features: np.ndarray
    score: np.ndarray
    image_path: tuple[str, ...]
    stack: np.ndarray
    group: np.ndarray
    labelled: tuple[LabelledStack, ...]
    score_per_slice: float

    @property
    def seen(self) -> np.ndarray:
        """What a network sees outside training, ``(n, WINDOW_PX, WINDOW_PX, 3)``."""
        return np.ascontiguousarray(centre(self.windows))

    @property
    def grey(self) -> bool:
        """Whether the camera has no colour: all channels of all windows are the same."""
        return bool((self.windows == self.windows[..., :1]).all())

    @property
    def by_field(self) -> bool:
        """Whether groups are fields, and not single stacks of one field."""
        return len({field_of(one.stack.name) for one in self.labelled}) > 1


def read_examples(labelled: Sequence[LabelledStack], score_per_slice: float, report: Report = silent) -> Examples:
    """Read the labelled slices of stacks once, as windows and features.

    Slices without a score are passed over, and stacks that are left out.
    """
    kept = tuple(one for one in labelled if not one.left_out)
    windows, features, score, paths, stack = [], [], [], [], []
    for number, one in enumerate(kept):
        known = [part for part, value in zip(one.stack.slices, one.score, strict=True) if np.isfinite(value)]
        values = one.score[np.isfinite(one.score)]
        for part, image, value in zip(known, read_each(known), values, strict=True):
            if isinstance(image, np.ndarray):  # a file may have gone since it was labelled
                windows.append(native_window(image, WINDOW_PX + SHIFT_PX))
                features.append(list(measure(native_window(image), FEATURES).values()))
                score.append(value)
                paths.append(f"{one.stack.name}/{part.file}")
                stack.append(number)
        report("measuring images", number + 1, len(kept))
    stacks = np.array(stack, dtype=int)
    return Examples(
        windows=np.stack(windows),
        features=np.array(features, dtype=float),
        score=np.array(score),
        image_path=tuple(paths),
        stack=stacks,
        group=_groups(kept)[stacks],
        labelled=kept,
        score_per_slice=score_per_slice,
    )


def _groups(kept: Sequence[LabelledStack]) -> np.ndarray:
    """Number of each stack's field; of the stack itself where there is one field only."""
    fields = [field_of(one.stack.name) for one in kept]
    names = list(dict.fromkeys(fields))
    return np.arange(len(kept)) if len(names) == 1 else np.array([names.index(field) for field in fields])


def deal(group: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Fold of each row ``(n,)``: groups are dealt whole, the largest first, to the fold with the fewest rows."""
    names, sizes = np.unique(group, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    filled = np.zeros(min(folds, len(names)), dtype=int)
    fold_of = {}
    for place in sorted(order, key=lambda at: -sizes[at]):
        fold = int(np.argmin(filled))
        fold_of[names[place]] = fold
        filled[fold] += sizes[place]
    return np.array([fold_of[name] for name in group])
