"""Many stacks: all cores, bounded memory, one bad stack never stops the rest."""

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import atomic_text
from focus_picker.dataset.progress import track
from focus_picker.dataset.stacks import Stack
from focus_picker.models.contract import Model
from focus_picker.stack_inference import status
from focus_picker.stack_inference.pick import COLUMNS, Pick, choose_method, pick_focus
from focus_picker.stack_inference.scoring import check_measure


def pick_many(
    stacks: Sequence[Stack],
    *,
    measure: str = "tenengrad",
    method: str | None = None,
    model: Model | None = None,
    z_step_um: float | None = None,
    thumbnail_px: int = 0,
    jobs: int = 1,
    progress: bool = True,
) -> Iterator[Pick]:
    """Yield the pick of each stack, in the order given, as soon as it and those before it are done.

    No more than about two stacks a worker are in memory at a time. A stack that raises InputError (a file vanished, a
    damaged TIFF) yields a pick with the status ``unreadable`` and the reason as its advice.

    Parameters
    ----------
    stacks, measure, method, model, z_step_um, thumbnail_px
        As in ``pick_focus``.
    jobs
        Number of processes, -1 for all cores; 1 stays in this process. The model is copied to each.
    progress
        Whether to draw a bar on stderr.

    Raises
    ------
    InputError
        At once, if there is no such measure or method.
    """
    check_measure(measure)
    method = choose_method(method, signed=model is not None)
    options: dict[str, Any] = {"measure": measure, "method": method, "model": model, "z_step_um": z_step_um}
    options |= {"thumbnail_px": thumbnail_px}
    return _run(stacks, options, min(jobs, len(stacks)) or 1, progress)


def _run(stacks: Sequence[Stack], options: dict, jobs: int, progress: bool) -> Iterator[Pick]:
    if jobs == 1:
        picks: Iterable[Pick] = (_pick_or_say_why(stack, options) for stack in stacks)
    else:
        parallel = Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="2*n_jobs")
        picks = parallel(delayed(_pick_or_say_why)(stack, options) for stack in stacks)
    yield from track(picks, "picking focus", total=len(stacks)) if progress else picks


def _pick_or_say_why(stack: Stack, options: dict) -> Pick:
    try:
        return pick_focus(stack, **options)
    except InputError as error:
        nan, method = math.nan, options["method"]
        name, count, reason = stack.name, len(stack.slices), str(error)
        return Pick(
            name, count, None, "", nan, nan, nan, status.UNREADABLE, reason, method, scores_used=False, slices=()
        )


def write_picks(picks: Iterable[Pick], output: str | Path) -> None:
    """Write ``picks.csv``, one row a stack, as the picks come; the file appears when all are done, or not at all."""
    with atomic_text(output) as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(pick.as_row() for pick in picks)
