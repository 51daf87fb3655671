"""Pictures of results: their formats, and the names of files in them taken as they are."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import as_text, atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".tif", ".tiff", ".webp")
"""What matplotlib writes without a program beside it."""


def check_picture(output: str | Path, suffixes: Iterable[str] = SUFFIXES) -> None:
    """Raise InputError for a name whose suffix is no format that a picture is written in."""
    if Path(output).suffix.lower() not in suffixes:
        raise InputError(f"{output} does not end in a picture format: take {', '.join(suffixes)}")


def save_figure(figure: "Figure", output: str | Path, dpi: float) -> None:
    """Write a figure in the format of its suffix, whole or not at all; see :func:`check_picture`."""
    check_picture(output)
    take_literally(figure)
    png = Path(output).suffix.lower() == ".png"
    with atomic_path(output) as temporary:
        figure.savefig(temporary, dpi=dpi, metadata={"Software": None} if png else None)


def take_literally(figure: "Figure") -> None:
    r"""Have texts drawn as they are: in a file's name ``$\frac$`` is no formula, and a byte may be no text.

    Texts of ticks are made at drawing, with formulas on logarithmic axes: they are left alone.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if "$" in text.get_text():
            text.set_parse_math(False)
        text.set_text(as_text(text.get_text()))
