"""One function over many items: in order, on several cores, with a progress bar."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import cv2
from joblib import Parallel, delayed

from focus_picker.dataset.progress import track
from focus_picker.dataset.shell import end_workers

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    description: str,
    *,
    jobs: int = 1,
    batch: int = 1,
    processes_from: int = 0,
    threads: bool = False,
) -> Iterator[Result]:
    """Yield ``function(item)`` of each item in order, as soon as it and those before it are done.

    Parameters
    ----------
    function, items
        For processes both are copied, so that ``function`` is one of a module, perhaps as a ``partial``.
    description
        Short words for the work being done, shown beside the bar (on a terminal only).
    jobs
        Workers; -1 takes all cores, 1 stays in this process.
    batch
        Items a worker takes at a time: about a tenth of a second's work, so that the bar moves and Ctrl-C answers.
    processes_from
        Fewer items than these are done in this process: starting others takes a second or two.
    threads
        Workers are threads, for work that spends its time outside Python and returns large arrays.
    """
    batches = [items[start : start + batch] for start in range(0, len(items), batch)]
    workers = jobs if threads or len(items) >= processes_from else 1
    run = Parallel(n_jobs=workers, prefer="threads" if threads else "processes", return_as="generator")
    results = run(delayed(_run_threaded if threads else _run_alone)(function, part) for part in batches)
    try:
        yield from track((result for part in results for result in part), description, total=len(items))
    except KeyboardInterrupt:
        end_workers()
        raise


def _run_threaded(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]


def _run_alone(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Run with one thread of OpenCV: images are small, and there is a process for each core."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return [function(item) for item in items]
    finally:
        cv2.setNumThreads(threads)
