"""Signed focus scores of white-blood-cell images, and the best plane of a z-stack.

What is named here is the public interface (docs/python.md). It imports nothing heavy: each function does so when it is
called, and each type when it is asked for.
"""

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from focus_picker.dataset.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    from focus_picker.dataset.version import VERSION as __version__
    from focus_picker.models.contract import Judgement, Model
    from focus_picker.stack_inference.pick import Pick
    from focus_picker.stack_inference.single_image import ImageScore

_ON_DEMAND = {
    "ImageScore": ("stack_inference.single_image", "ImageScore"),
    "Judgement": ("models.contract", "Judgement"),
    "Model": ("models.contract", "Model"),
    "Pick": ("stack_inference.pick", "Pick"),
    "__version__": ("dataset.version", "VERSION"),
}

__all__ = [
    "ImageScore",
    "InputError",
    "Judgement",
    "Model",
    "Pick",
    "__version__",
    "image_features",
    "load_model",
    "pick_focus",
    "score",
]


def __getattr__(name: str) -> Any:
    """Import what is not there yet when it is first asked for."""
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _ON_DEMAND[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def load_model(path: str | Path | None = None) -> "Model":
    """Load a trained model.

    Parameters
    ----------
    path
        ``focus_model.tflite``, ``baseline.txt`` (needs the extra ``baseline``) or a run's folder; None takes the
        shipped model.

    Returns
    -------
    Model
        ``model.judge(images)`` gives the :class:`Judgement` of a list of RGB arrays. It serves one thread at a time.

    Raises
    ------
    InputError
        No such file, or none that this version can use.
    """
    from focus_picker.models import DEFAULT_MODEL
    from focus_picker.stack_inference.loading import load_model as load

    return load(path or DEFAULT_MODEL)


def score(
    images: "str | Path | np.ndarray | Sequence[str | Path | np.ndarray]", model: "Model | str | Path | None" = None
) -> "list[ImageScore]":
    """Score single images.

    Parameters
    ----------
    images
        A file, a folder of files or an array, or a sequence of these. An array is an image ``(H, W, 3)`` in RGB or
        ``(H, W)`` grey, or several, ``(N, H, W, 3)``; ``uint8``, or ``uint16`` whose full scale is 65535.
    model
        From :func:`load_model`, or what that takes.

    Returns
    -------
    list of ImageScore
        A row each with ``image_path`` (the number in the sequence for an array), ``focus_score``, ``lower``, ``upper``
        and ``status``. An image that cannot be used has the status ``unreadable`` and says why in ``problem``.

    Raises
    ------
    InputError
        A path that does not exist, or a model that cannot be loaded.
    """
    from focus_picker.stack_inference.single_image import row_of, unreadable

    judge = _loaded(model).judge
    rows = []
    for name, image in _each(images):
        try:
            rows.append(row_of(name, judge([_pixels(image)])))
        except InputError as error:
            rows.append(unreadable(name, error))
    return rows


def pick_focus(
    stack: "str | Path | np.ndarray | Sequence[ArrayLike]",
    model: "Model | str | Path | None" = None,
    *,
    method: str | None = None,
    measure: str = "tenengrad",
    z_step_um: float | None = None,
) -> "Pick":
    """Find the best plane of a z-stack.

    Parameters
    ----------
    stack
        A folder of slices, a multi-page TIFF file, an array ``(Z, H, W)`` or ``(Z, H, W, 3)``, or a sequence of images
        as :func:`score` takes them.
    model
        From :func:`load_model`, or what that takes; for methods that use scores.
    method, measure
        As the options of ``pick-focus``; docs/stack_inference.md tells them.
    z_step_um
        Distance of two slices; goes before what a file declares.

    Returns
    -------
    Pick
        ``best_position`` in slices from 0, its ``standard_error``, ``best_z_um``, ``status``, ``advice`` and more.

    Raises
    ------
    InputError
        What is no stack, or several; an unknown method or measure. A slice that cannot be read is left out instead.
    """
    from focus_picker.dataset.arrays import array_stack
    from focus_picker.dataset.stacks import find_stacks
    from focus_picker.stack_inference.decide import uses_scores
    from focus_picker.stack_inference.pick import pick_focus as pick

    found = find_stacks(stack) if isinstance(stack, str | Path) else [array_stack(stack)]
    if len(found) > 1:
        raise InputError(f"{stack} holds {len(found)} stacks ({found[0].name} ...); give one of them")
    judge = _loaded(model) if model is not None or uses_scores(method) else None
    return pick(found[0], measure=measure, method=method, model=judge, z_step_um=z_step_um)


def image_features(image: "str | Path | ArrayLike") -> dict[str, float]:
    """Compute every focus measure and signed cue of an image by name; ``features.MEASURES`` and ``CUES`` list them.

    Raises InputError for an image that cannot be read or is too small to be measured.
    """
    from focus_picker.features.measures import measure

    return measure(_pixels(image))


def _loaded(model: "Model | str | Path | None") -> "Model":
    return load_model(model) if model is None or isinstance(model, str | Path) else model


def _pixels(image: "str | Path | ArrayLike") -> "np.ndarray":
    from focus_picker.dataset.arrays import rgb_image
    from focus_picker.dataset.images import read_image

    return read_image(image) if isinstance(image, str | Path) else rgb_image(image, "the image")


def _each(
    images: "str | Path | np.ndarray | Sequence[str | Path | np.ndarray]",
) -> "Iterator[tuple[str, Path | np.ndarray]]":
    """Name every image: a file by its path, an array by its place."""
    import numpy as np

    from focus_picker.dataset.arrays import is_one_image
    from focus_picker.stack_inference.single_image import find_images

    if isinstance(images, str | Path) or (isinstance(images, np.ndarray) and is_one_image(images)):
        images = [images]
    for index, image in enumerate(images):
        if isinstance(image, str | Path):
            yield from ((str(path), path) for path in find_images([Path(image)]))
        else:
            yield str(index), image
