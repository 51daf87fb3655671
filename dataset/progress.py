"""A progress bar on stderr for long work, silent where nobody watches."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import TaskID

Item = TypeVar("Item")


def track(iterable: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items of ``iterable`` and show how many have passed.

    The bar is drawn on stderr, so that stdout stays clean for JSON and CSV, and disappears when the work is done. It
    is not drawn at all when stderr is not a terminal (a log file, a pipe, a test).

    Parameters
    ----------
    iterable
        What to pass on, lazily and in order.
    description
        Short words for the work being done, shown beside the bar.
    total
        Number of items, for iterables without a length; None draws a bar of unknown length.
    """
    if not sys.stderr.isatty():
        yield from iterable
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    total = len(iterable) if total is None and isinstance(iterable, Sized) else total
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(iterable, total=total, description=description)


@contextmanager
def staged() -> Iterator[Callable[[str, int, int], None]]:
    """Give a function that is told a stage, and how much of it is done and in all; drawn as ``track`` draws its bar."""
    if not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage)
            progress.update(tasks[stage], completed=done, total=total)

        yield report
