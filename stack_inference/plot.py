"""Pictures of picks: one of a stack with focus curve, fit and slices, and a contact sheet of many picked slices.

Drawn with matplotlib's objects only; no global state is touched, so that it works in threads and servers. Colours are
Okabe and Ito's, which colour-blind people tell apart.
"""

import io
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import atomic_path
from focus_picker.dataset.pictures import check_picture, save_figure, take_literally
from focus_picker.dataset.progress import track
from focus_picker.stack_inference import status
from focus_picker.stack_inference.pick import Pick
from focus_picker.stack_inference.windows import reduced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, VERMILION, GREEN, GREY = "#0072B2", "#E69F00", "#D55E00", "#009E73", "#777777"
STATUS_COLOURS = {status.OK: GREEN, status.FLAT: GREY, status.UNREADABLE: GREY}  # others ask for action: vermilion

WIDTH_INCH, DPI = 10.0, 100
MOST_THUMBNAILS = 11  # more would be too small to judge, and would take the file over 300 KB
SHOWN_PX = 88  # of a slice below the curve
SHEET_COLUMNS, TILE_PX, LABEL_PX = 8, 120, 34
SHEET_PICTURE_PX = (104, 88, 72, 56, 40)  # the first that keeps the sheet below MOST_SHEET_BYTES
MOST_SHEET_BYTES = 300_000
THUMBNAIL_PX = max(SHEET_PICTURE_PX)  # what a pick has to keep for these pictures
FRAME_COLOURS = (GREEN, GREY, VERMILION, "#FFFFFF", "#000000")
SHEET_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def plot_pick(pick: Pick, output: str | Path) -> None:
    """Draw one pick to a PNG (or another format by its suffix) of less than 300 KB, whole or not at all.

    Parameters
    ----------
    pick
        From ``pick_focus``, with thumbnails of ``THUMBNAIL_PX`` if slices are to be shown.
    output
        File to write.

    Raises
    ------
    InputError
        If the suffix is none of ``dataset.pictures.SUFFIXES``.
    """
    from matplotlib.figure import Figure

    check_picture(output)
    signed = any(np.isfinite(part.score) for part in pick.slices)
    shown = thumbnail_indices(pick) if pick.thumbnails else []
    heights = [2.7] + [1.5] * signed + [1.0] * bool(shown)
    figure = Figure(figsize=(WIDTH_INCH, 1.3 + sum(heights)), dpi=DPI, layout="constrained")
    grid = iter(figure.add_gridspec(len(heights), 1, height_ratios=heights))
    _title(figure, pick)
    _draw_sharpness(figure.add_subplot(next(grid)), pick)
    if signed:
        _draw_scores(figure.add_subplot(next(grid)), pick)
    if shown:
        row = next(grid).subgridspec(1, len(shown))
        _draw_thumbnails([figure.add_subplot(row[column]) for column in range(len(shown))], pick, shown)
    save_figure(figure, output, DPI)


def plot_picks(picks: Sequence[Pick], output: str | Path) -> list[Path]:
    """Draw each pick to the file that ``plot_paths`` chooses, and return these files."""
    paths = plot_paths([pick.stack for pick in picks], output)
    for pick, path in track(list(zip(picks, paths, strict=True)), "drawing"):
        plot_pick(pick, path)
    return paths


def picked_sheet(picks: Sequence[Pick], output: str | Path, max_stacks: int = 48) -> None:
    """Draw the picked slice of each stack with its name, position and status to one picture of less than 300 KB.

    Parameters
    ----------
    picks
        With thumbnails of ``THUMBNAIL_PX``; others get an empty frame.
    output
        File to write, whole or not at all.
    max_stacks
        Of more stacks than these, those are shown that most need a look: the ones that are not ok, then the least sure.

    Raises
    ------
    InputError
        If there is no stack, ``max_stacks`` is less than 1, or the suffix is none of ``SHEET_FORMATS``.
    """
    if not picks or max_stacks < 1:
        raise InputError(f"a sheet of {min(len(picks), max_stacks)} stacks shows nothing: give at least one stack")
    shown = [picks[index] for index in sheet_indices(picks, max_stacks)]
    check_picture(output, SHEET_FORMATS)
    slices = [
        None if pick.best_index is None or not pick.thumbnails else pick.thumbnails[pick.best_index] for pick in shown
    ]
    for size in SHEET_PICTURE_PX:
        sheet = _draw_sheet(shown, slices, size, len(picks))
        content = _encoded(sheet, SHEET_FORMATS[Path(output).suffix.lower()])
        if len(content) < MOST_SHEET_BYTES:
            break
    with atomic_path(output) as temporary:
        temporary.write_bytes(content)


def sheet_indices(picks: Sequence[Pick], max_stacks: int) -> list[int]:
    """Stacks of a sheet: all in their order if they fit, else those not ok first, then by falling standard error."""
    if len(picks) <= max_stacks:
        return list(range(len(picks)))

    def need(index: int) -> tuple[bool, float]:
        pick = picks[index]
        return pick.status == status.OK, -np.nan_to_num(pick.standard_error, nan=np.inf)

    return sorted(range(len(picks)), key=need)[:max_stacks]


def plot_paths(stacks: Sequence[str], output: str | Path) -> list[Path]:
    """Choose the file of each stack's picture.

    One stack, given by its name, is drawn to ``output`` itself. With several, ``output`` without its suffix names a
    folder that gets one ``<stack>.png`` each (a sheet of many stacks would be unreadable); equal names are numbered.
    """
    output = Path(output)
    if len(stacks) == 1:
        return [output]
    seen: Counter[str] = Counter()
    paths = []
    for stack in stacks:
        seen[stack] += 1
        again = f"_{seen[stack]}" if seen[stack] > 1 else ""
        paths.append(output.with_suffix("") / f"{stack}{again}{output.suffix or '.png'}")
    return paths


def thumbnail_indices(pick: Pick) -> list[int]:
    """Slices to show: all, or evenly spaced ones from the first to the last with the best among them."""
    if pick.n_slices <= MOST_THUMBNAILS:
        return list(range(pick.n_slices))
    indices = np.linspace(0, pick.n_slices - 1, MOST_THUMBNAILS).round().astype(int)
    if pick.best_index is not None:
        indices[np.argmin(np.abs(indices - pick.best_index))] = pick.best_index
    return sorted({int(index) for index in indices})


def _title(figure: "Figure", pick: Pick) -> None:
    if np.isfinite(pick.best_position):
        error = f" ± {pick.standard_error:.2f}" if np.isfinite(pick.standard_error) else ""
        in_um = f", {pick.best_z_um:.3g} µm" if np.isfinite(pick.best_z_um) else ""
        place = f"best plane {pick.best_position:.2f}{error} slices{in_um} ({pick.best_file})"
    else:
        place = "no best plane"
    title = f"{pick.stack}: {place}, {pick.status}"
    advice = textwrap.fill(pick.advice, 130, max_lines=3, placeholder=" …")
    figure.suptitle(
        "\n".join(filter(None, [title, advice])),
        fontsize=10.5,
        color="black" if pick.status == status.OK else VERMILION,
    )


def _colour(state: str) -> str:
    return STATUS_COLOURS.get(state, VERMILION)


def _draw_sharpness(axes: "Axes", pick: Pick) -> None:
    sharpness = np.array([part.sharpness for part in pick.slices])
    index, known = np.arange(len(sharpness)), np.isfinite(sharpness)
    axes.plot(index[known], sharpness[known], "o-", color=BLUE, linewidth=1, markersize=5, label="slices")
    if pick.fitted:
        axes.plot(*pick.fitted, color=ORANGE, linewidth=2.5, zorder=1, label=f"fit ({pick.method})")
    if known.any() and sharpness[known].min() >= 0:
        axes.set_ylim(0, 1.1 * sharpness[known].max() or 1)  # so that a curve that hardly varies looks like one
    if not known.all():
        at_bottom = np.full((~known).sum(), 0.05)
        axes.plot(
            index[~known], at_bottom, "x", color=VERMILION, transform=axes.get_xaxis_transform(), label="left out"
        )
    axes.set_ylabel("sharpness")
    _mark_best(axes, pick)
    axes.legend(loc="best", fontsize=8, framealpha=0.7, edgecolor="none")


def _draw_scores(axes: "Axes", pick: Pick) -> None:
    score = np.array([part.score for part in pick.slices])
    index = np.arange(len(score))
    axes.axhline(0, color=GREY, linewidth=0.8)
    if pick.scores_used:
        axes.plot(index, score, "s-", color=ORANGE, linewidth=1, markersize=4)
    else:
        axes.plot(index, score, "s:", color=GREY, linewidth=1, markersize=4, alpha=0.5, label="not used")
        axes.legend(loc="best", fontsize=8, framealpha=0.7, edgecolor="none")
    axes.set_ylabel("focus score\n– too close, + too far", fontsize=9)
    _mark_best(axes, pick)


def _mark_best(axes: "Axes", pick: Pick) -> None:
    """Vertical line at the best plane, a band of one standard error, and one tick a slice."""
    colour = _colour(pick.status)
    if np.isfinite(pick.best_position):
        axes.axvline(pick.best_position, color=colour, linestyle="--", linewidth=1.5, label="best plane")
    if np.isfinite(pick.standard_error):
        low, high = pick.best_position - pick.standard_error, pick.best_position + pick.standard_error
        axes.axvspan(low, high, color=colour, alpha=0.2, linewidth=0, label="± 1 standard error")
    axes.set_xlim(-0.5, max(pick.n_slices, 1) - 0.5)
    axes.set_xticks(range(0, pick.n_slices, max(1, pick.n_slices // 20)))
    axes.set_xlabel("slice", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_thumbnails(row: Sequence["Axes"], pick: Pick, shown: Sequence[int]) -> None:
    for axes, index in zip(row, shown, strict=True):
        best, picture = index == pick.best_index, pick.thumbnails[index]
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(pick.slices[index].file, fontsize=7, fontweight="bold" if best else None)
        if picture is None:
            axes.text(0.5, 0.5, "not\nreadable", ha="center", va="center", fontsize=7, transform=axes.transAxes)
            axes.set_aspect("equal")
        else:
            axes.imshow(reduced(picture, SHOWN_PX), interpolation="nearest")
            if best:
                _outline_weighed(axes, pick, reduced(picture, SHOWN_PX).shape)
        axes.spines[:].set(color=_colour(pick.status) if best else GREY, linewidth=4 if best else 0.5)


def _outline_weighed(axes: "Axes", pick: Pick, shape: tuple[int, ...]) -> None:
    """Outline what counted for sharpness: half the weight of the middle."""
    from matplotlib.patches import Ellipse

    height, width = shape[:2]
    middle, size = ((width - 1) / 2, (height - 1) / 2), 2 * pick.weighed
    axes.add_patch(Ellipse(middle, size * width, size * height, fill=False, linestyle="--", color=ORANGE))


def _draw_sheet(picks: Sequence[Pick], slices: Sequence[np.ndarray | None], size: int, total: int) -> "Figure":
    """One tile a pick, pictures with a longer side of ``size`` pixels at their own scale, framed by status."""
    from matplotlib.figure import Figure

    columns = min(SHEET_COLUMNS, max(len(picks), 3))
    rows = -(-len(picks) // columns)
    width, height = columns * TILE_PX, rows * (TILE_PX + LABEL_PX) + LABEL_PX
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    ok = sum(pick.status == status.OK for pick in picks)
    number = f"{len(picks)} of {total} stacks, the least sure first" if total > len(picks) else f"{total} stacks"
    figure.text(0.5, 1 - LABEL_PX / 2 / height, f"{number}: {ok} ok", ha="center", va="center", fontsize=11)
    mosaic = np.full((height, width, 3), 255, np.uint8)
    for place, (pick, picture) in enumerate(zip(picks, slices, strict=True)):
        left, top = place % columns * TILE_PX, place // columns * (TILE_PX + LABEL_PX) + LABEL_PX
        _place_tile(mosaic, left, top, None if picture is None else reduced(picture, size), _colour(pick.status))
        _label_tile(figure, pick, (left + TILE_PX / 2) / width, 1 - (top + TILE_PX) / height)
    figure.figimage(mosaic, zorder=-1)
    return figure


def _encoded(figure: "Figure", kind: str) -> bytes:
    """Bytes of a PNG with a palette, a third of one without and as good to the eye on stained cells, or of a JPEG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    take_literally(figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
    if kind == "PNG":
        # A median cut would mix the few pixels of the frames' colours into the cells'.
        colours = (picture.quantize(120).getpalette() or [])[:360] + [
            part for colour in FRAME_COLOURS for part in _rgb(colour)
        ]
        palette = Image.new("P", (1, 1))
        palette.putpalette(colours)
        picture = picture.quantize(palette=palette, dither=Image.Dither.NONE)
    file = io.BytesIO()
    picture.save(file, kind, optimize=True)
    return file.getvalue()


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[start : start + 2], 16) for start in (1, 3, 5))


def _place_tile(mosaic: np.ndarray, left: int, top: int, picture: np.ndarray | None, colour: str) -> None:
    """Put a picture with a frame, or an empty frame, into the middle of its tile, in place."""
    if picture is None:
        picture = np.full((TILE_PX // 2, TILE_PX // 2, 3), 235, np.uint8)
    if picture.ndim == 2:
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    tile = cv2.copyMakeBorder(picture, 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=_rgb(colour))
    y, x = top + (TILE_PX - tile.shape[0]) // 2, left + (TILE_PX - tile.shape[1]) // 2
    mosaic[y : y + tile.shape[0], x : x + tile.shape[1]] = tile


def _label_tile(figure: "Figure", pick: Pick, x: float, y: float) -> None:
    """Name, then position and status, below a tile."""
    name = pick.stack if len(pick.stack) <= 20 else f"…{pick.stack[-19:]}"
    place = f"{pick.best_position:.2f}" if np.isfinite(pick.best_position) else "no plane"
    error = f" ± {pick.standard_error:.2f}" if np.isfinite(pick.standard_error) else ""
    text = f"{name}\n{place}{error}, {pick.status}"
    colour = "black" if pick.status == status.OK else VERMILION
    figure.text(x, y, text, ha="center", va="top", fontsize=6.5, color=colour)
