"""Write a simulated data set in the owner's format, with its truth."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from focus_picker.dataset.declared import write_json
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import as_text
from focus_picker.dataset.parallel import parallel_map
from focus_picker.dataset.simulation.crops import list_crops
from focus_picker.dataset.simulation.field import CellStack, FieldPlan, simulate_field
from focus_picker.dataset.simulation.instrument import Instrument, vary

MOST_STACKS = 100_000  # some 30 GB
CELLS_PER_FIELD = (1, 2, 3)  # drawn with equal chance


def plan_fields(stacks: int, seed: int, pictures: Sequence[Path] = ()) -> list[FieldPlan]:
    """Decide which cells lie in which field.

    A picture belongs to one field only, turned and mirrored where it must serve several stacks: the same cell in two
    fields would leak through every grouped split.

    Parameters
    ----------
    stacks
        Number of cell stacks.
    seed
        Of the data set.
    pictures
        Pictures to start cells from; empty for procedural cells.
    """
    rng = np.random.default_rng(seed)
    sizes: list[int] = []
    while sum(sizes) < stacks:
        sizes.append(min(int(rng.choice(CELLS_PER_FIELD)), stacks - sum(sizes)))
    if pictures and len(sizes) > len(pictures):
        sizes = [len(part) for part in np.array_split(np.arange(stacks), len(pictures))]
    digits = max(3, len(str(len(sizes))))
    own = _deal(pictures, sizes, rng) if pictures else [[None]] * len(sizes)
    return [
        FieldPlan(
            name=f"stack_{number + 1:0{digits}d}",
            cells=tuple(own[number][cell % len(own[number])] for cell in range(size)),
            seed=(seed, number),
        )
        for number, size in enumerate(sizes)
    ]


def _deal(pictures: Sequence[Path], sizes: list[int], rng: np.random.Generator) -> list[list[Path]]:
    """Share the pictures out: as many as a field has cells while they last, at least one each, none twice."""
    spare = len(pictures) - len(sizes)
    order = iter(rng.permutation(len(pictures)))
    hands = []
    for size in sizes:
        extra = min(size - 1, spare)
        spare -= extra
        hands.append([pictures[next(order)] for _ in range(1 + extra)])
    return hands


def simulate_dataset(
    output: Path,
    instruments: Sequence[Instrument],
    *,
    stacks: int = 60,
    seed: int = 0,
    from_images: Path | None = None,
    source_pixel_um: float = 0.1,
    vary_by: float = 0.0,
    jobs: int = 2,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Simulate ``stacks`` z-stacks and write them with ``focus_labels.csv`` and ``truth.csv``.

    The folder appears whole or not at all. The same arguments give the same bytes, whatever ``jobs`` is.

    Parameters
    ----------
    output
        Data set folder; must not exist or be empty unless ``overwrite``.
    instruments
        One, or several that fields draw from in turn.
    stacks, seed
        Size and randomness.
    from_images
        Folder of in-focus crops that become the cells; None draws procedural ones.
    source_pixel_um
        Pixel size of those crops, micrometres.
    vary_by
        Spread of the optics from field to field, see :func:`dataset.simulation.instrument.vary`.
    jobs
        Processes.
    overwrite
        Replace a folder that this made before; it is deleted when the new one is in its place.

    Returns
    -------
    pd.DataFrame
        Labels and truth, one row an image.

    Raises
    ------
    InputError
        Folder in the way, no usable picture, impossible numbers.
    """
    output = Path(os.path.realpath(output))
    _check(stacks, source_pixel_um, vary_by)
    _check_place(output, from_images, overwrite)
    plans = plan_fields(stacks, seed, list_crops(from_images) if from_images else ())
    output.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        draft.chmod(0o755)
        optics = [_field_optics(plan, instruments, vary_by) for plan in plans]
        work = partial(_make_field, draft=draft, source_pixel_um=source_pixel_um)
        fields = list(zip(plans, optics, strict=True))
        table = pd.concat(list(parallel_map(work, fields, "simulating fields", jobs=jobs)), ignore_index=True)
        _write_tables(table, draft)
        settings = {
            "stacks": stacks,
            "seed": seed,
            "instruments": instruments,
            "from_images": as_text(from_images.name) if from_images else None,
            "source_pixel_um": source_pixel_um if from_images else None,
            "vary": vary_by,
        }
        write_json(draft / "simulation.json", settings)
        _put_in_place(draft, output, from_images, overwrite)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return table


def _put_in_place(draft: Path, output: Path, from_images: Path | None, overwrite: bool) -> None:
    """Rename the finished draft; what it replaces is looked at again, put aside, and deleted last."""
    _check_place(output, from_images, overwrite)  # another command may have been here meanwhile
    aside = draft.with_name(f"{draft.name}-old")
    if output.exists() and any(output.iterdir()):
        output.rename(aside)
    try:
        draft.rename(output)  # onto nothing or an empty folder: the system refuses anything else
    except OSError:
        if aside.exists():
            aside.rename(output)
        raise InputError(f"{output} was filled by another command meanwhile; choose another folder") from None
    shutil.rmtree(aside, ignore_errors=True)


def _check(stacks: int, source_pixel_um: float, vary_by: float) -> None:
    if not 1 <= stacks <= MOST_STACKS:
        raise InputError(f"--stacks {stacks} makes no data set; give 1 to {MOST_STACKS} (3 fields or more to train)")
    if not 0.005 <= source_pixel_um <= 2:
        raise InputError(f"--source-pixel-um {source_pixel_um:g} is no microscope's pixel; give 0.005 to 2 micrometres")
    if not 0 <= vary_by <= 0.5:
        raise InputError(f"--vary {vary_by:g} is out of range; give 0 (one instrument) to 0.5 (very different ones)")


def _check_place(output: Path, from_images: Path | None, overwrite: bool) -> None:
    if from_images is not None and Path(os.path.realpath(from_images)).is_relative_to(output):
        raise InputError(f"{from_images} lies in {output}, which would be replaced; choose another folder")
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; give a folder name for the data set")
    if output.is_dir() and any(output.iterdir()):
        if not overwrite:
            raise InputError(f"{output} is not empty; choose another folder or pass --overwrite to replace it")
        if not (output / "simulation.json").is_file():
            raise InputError(f"{output} was not made by simulate and is not replaced; choose another folder")


def _field_optics(plan: FieldPlan, instruments: Sequence[Instrument], vary_by: float) -> Instrument:
    number = plan.seed[1]
    rng = np.random.default_rng((*plan.seed, 1))
    return vary(instruments[number % len(instruments)], vary_by, rng)


def _make_field(field: tuple[FieldPlan, Instrument], draft: Path, source_pixel_um: float) -> pd.DataFrame:
    """Simulate a field, write its images and return their rows."""
    plan, instrument = field
    stacks = simulate_field(plan, instrument, source_pixel_um)
    return pd.concat([_write_stack(stack, draft, instrument.camera.jpeg_quality) for stack in stacks])


def _write_stack(stack: CellStack, draft: Path, jpeg_quality: int) -> pd.DataFrame:
    folder = draft / "cell_stacks" / stack.name
    folder.mkdir(parents=True)
    for number, image in enumerate(stack.images):
        _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
        (folder / f"{number}.jpg").write_bytes(data.tobytes())
    return pd.DataFrame(
        {
            "image_path": [f"cell_stacks/{stack.name}/{number}.jpg" for number in range(len(stack.images))],
            "focus_score": stack.score,
            "defocus_um": stack.defocus_um,
            "best_z_slice": stack.best_slice,
            "optical_z_slice": stack.optical_slice,
        }
    )


def _write_tables(table: pd.DataFrame, draft: Path) -> None:
    labels = table[["image_path"]].assign(focus_score=table.focus_score.round(6) + 0.0)  # + 0.0 turns -0.0 into 0.0
    labels.to_csv(draft / "focus_labels.csv", index=False)
    truth = table[["image_path", "defocus_um", "best_z_slice", "optical_z_slice"]].round(5)
    truth.to_csv(draft / "truth.csv", index=False)
