"""What the benchmarks share: a command line, tables in Markdown and CSV, and the taking of times on one core."""

import inspect
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import pandas as pd
import typer
from threadpoolctl import threadpool_limits

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import write_text
from focus_picker.evaluation.compare import markdown_table

ROOT = Path(__file__).parents[1]
DATA = ROOT / ".." / "shared" / "data"
"""Real crops, curves and stacks, where they are."""

Row = dict[str, Any]
"""Of a table, by column; text as it is to be printed, or a number."""

Output = Annotated[Path | None, typer.Option(help="Markdown file to write.", show_default="printed only")]

CSV_NAMES = {"on": ("instrument", "file", "scorer"), "method": ("method", "kind", "images")}
"""Columns that name a row in the CSV file, which of a table's columns they are taken from."""


@dataclass(frozen=True)
class Report:
    """Outcome of a benchmark.

    Parameters
    ----------
    title
        Heading.
    tables
        Rows of each table by its heading; a single table may do without one (``""``), an empty table is left out.
    output
        Markdown file to write; None to print only.
    note
        What a reader has to know, Markdown.
    csv
        Whether to write the numbers beside ``output`` as CSV too.
    """

    title: str
    tables: Mapping[str, Sequence[Row]]
    output: Path | None
    note: str = ""
    csv: bool = False

    def as_markdown(self, command: str) -> str:
        """Return title, the command that made it, note and tables."""
        parts = [f"# {self.title}", f"`{command}`", self.note]
        for heading, rows in self.tables.items():
            parts += [f"## {heading}" if heading and rows else "", markdown(rows) if rows else ""]
        return "\n\n".join(filter(None, parts)) + "\n"

    def as_csv(self) -> str:
        """Return all numbers as one long table: part, row's names, figure, value."""
        found = [
            {"part": part, **_names(row), "figure": key, "value": f"{value:.6g}"}
            for part, rows in self.tables.items()
            for row in rows
            for key, value in row.items()
            if isinstance(value, float | int)
        ]
        return pd.DataFrame(found).to_csv(index=False, lineterminator="\n")


def run(benchmark: Callable[..., Report], arguments: Sequence[str] | None = None) -> int:
    """Run a benchmark with command line arguments on one core, print its report and write it where asked.

    Returns the exit code: 0 done, 2 the input or the arguments are at fault.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(help=inspect.getdoc(inspect.getmodule(benchmark)))(benchmark)
    words = sys.argv[1:] if arguments is None else list(arguments)
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1):
            report = app(args=words, standalone_mode=False)
    except (InputError, typer.TyperException) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        cv2.setNumThreads(before)
    if isinstance(report, Report):  # --help ends without one
        _publish(report, _command(benchmark, words))
    return 0


def _publish(report: Report, command: str) -> None:
    text = report.as_markdown(command)
    print(text)
    if report.output:
        write_text(report.output, text)
        if report.csv:
            write_text(report.output.with_suffix(".csv"), report.as_csv())


def _command(benchmark: Callable[..., Report], words: Sequence[str]) -> str:
    """Name the command without the folders of this machine."""
    module = Path(inspect.getfile(benchmark)).stem
    given = [Path(word).name if word.startswith("/") else word for word in words]
    return shlex.join(["python", "-m", f"benchmarks.{module}", *given])


def markdown(rows: Sequence[Row]) -> str:
    """Return a table; a column that a row lacks is empty there."""
    return markdown_table(pd.DataFrame(rows, dtype=object).map(shown))


def shown(value: object) -> str:
    """Return the text of a cell: numbers that are not whole with three digits, nothing for NaN."""
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.3f}"
    return str(value)


def _names(row: Row) -> dict[str, object]:
    return {name: next((row[key] for key in keys if key in row), "") for name, keys in CSV_NAMES.items()}


def seconds(work: Callable[[], object], times: int = 1, *, warm_up: int = 0) -> np.ndarray:
    """Return the seconds of each call by the clock and by the processor, ``(times, 2)``.

    Processor time does not count what other processes take from this one meanwhile, the clock does. The first
    ``warm_up`` calls, which import, load and fill caches, are not counted.
    """
    taken = np.empty((warm_up + times, 2))
    for row in taken:
        processor, clock = time.process_time(), time.perf_counter()
        work()
        row[:] = time.perf_counter() - clock, time.process_time() - processor
    return taken[warm_up:]
