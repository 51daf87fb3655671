"""One picture of an explanation: the image, where the network looked, both scores, what moved the baseline.

Vermilion pushes to post-focal and blue to pre-focal throughout (Okabe and Ito's colours, told apart with any colour
vision). The stronger the map is at a place, the more opaque it is there: where it is weak the cell stays visible.
"""

import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import atomic_path
from focus_picker.dataset.images import to_uint8
from focus_picker.dataset.pictures import take_literally
from focus_picker.evaluation.plots import COLOURS, GREY, PALE
from focus_picker.explain.attribution import BLOCK_PX
from focus_picker.explain.explanation import TOP, BaselinePart, Explanation, NetworkPart, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PRE_FOCAL, POST_FOCAL = COLOURS[0], COLOURS[1]
WIDTH_INCH = 11.0
DPI = (100, 88, 76, 64)  # the first that keeps the picture below MOST_BYTES
MOST_BYTES = 300_000
PICTURES_INCH, ROW_INCH, LINE_INCH = (3.9, 2.6), 0.33, 0.17  # with a map, without
NOTE_LETTERS = 150  # a line
FULL_QUANTILE = 0.995  # of the map's magnitude is drawn at full strength; a single peak would pale the rest
LEAST_FULL = 0.002  # score units a block: a map of nothing is drawn pale
MOST_OPAQUE, PALE_DEPTH = 0.85, 0.5
MOST_PICTURE_PX = 400  # a larger image is thinned out for drawing


def save_explanation(explanation: Explanation, output: str | Path) -> None:
    """Draw an explanation to a PNG of less than 300 KB, whole or not at all; see :func:`check_output`."""
    from PIL import Image

    output, figure = check_output(output), draw_explanation(explanation)
    take_literally(figure)
    for dpi in DPI:
        drawn, packed = io.BytesIO(), io.BytesIO()
        figure.savefig(drawn, format="png", dpi=dpi)
        # Packed again without the transparency that nothing uses, which saves a seventh.
        Image.open(drawn).convert("RGB").save(packed, "PNG", optimize=True)
        if packed.tell() < MOST_BYTES:
            break
    with atomic_path(output) as temporary:
        temporary.write_bytes(packed.getvalue())


def check_output(output: str | Path) -> Path:
    """Return ``output`` as a path; InputError if it does not end in ``.png``."""
    if Path(output).suffix.lower() != ".png":
        raise InputError(f"{output} does not end in .png: an explanation is one PNG picture")
    return Path(output)


def draw_explanation(explanation: Explanation) -> "Figure":
    """Draw what there is: verdicts and reservations in words, pictures, features."""
    from matplotlib.figure import Figure

    network, baseline = explanation.network, explanation.baseline
    notes = [textwrap.fill(note, NOTE_LETTERS) for note in explanation.notes]
    n_lines = sum(note.count("\n") + 1 for note in notes)
    heights = (
        [LINE_INCH * n_lines + 0.05] * bool(notes)
        + [PICTURES_INCH[network is None]]
        + [1.1 + (TOP + 2) * ROW_INCH] * bool(baseline)
    )
    figure = Figure(figsize=(WIDTH_INCH, 0.6 + sum(heights)), layout="constrained")
    words = [f"{name}: {verdict.in_words()}" for name, verdict in explanation.verdicts.items()]
    figure.suptitle("\n".join(words), fontsize=11.5, fontweight="bold")
    grid = iter(figure.add_gridspec(len(heights), 1, height_ratios=heights))
    if notes:
        axes = figure.add_subplot(next(grid))
        axes.set_axis_off()
        axes.text(0.5, 0.5, "\n".join(notes), fontsize=9, ha="center", va="center", color=POST_FOCAL)
    widths = (1, 1.2, 1.15) if network else (1, 2.35)
    row = next(grid).subgridspec(1, len(widths), width_ratios=widths)
    draw_image(figure.add_subplot(row[0]), explanation)
    if network:
        draw_map(figure.add_subplot(row[1]), network, explanation.image.shape)
    draw_scores(figure.add_subplot(row[len(widths) - 1]), explanation)
    if baseline:
        row = next(grid).subgridspec(1, 2, width_ratios=(5, 1))
        bars = figure.add_subplot(row[0])
        draw_contributions(bars, baseline)
        draw_places(figure.add_subplot(row[1], sharey=bars), baseline)
    return figure


def draw_image(axes: "Axes", explanation: Explanation) -> None:
    """Show the image, with a frame about the part of it that the network sees."""
    image = explanation.image
    height, width = image.shape[:2]
    every = -(-max(height, width) // MOST_PICTURE_PX)
    axes.imshow(to_uint8(image[::every, ::every]), extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    axes.set(xticks=[], yticks=[])
    axes.set_title(short_name(explanation.image_path), fontsize=9)
    words = f"{width} x {height} pixels"
    if explanation.network is not None and max(height, width) > (size := len(explanation.network.window)):
        frame(axes, (height, width), (min(height, size), min(width, size)))
        words += "; dashed: what the network sees"
    axes.set_xlabel(words, fontsize=8)


def frame(axes: "Axes", outer: tuple[int, int], inner: tuple[int, int]) -> None:
    """Dashed frame of ``inner`` rows and columns in the middle of a picture of ``outer``."""
    from matplotlib.patches import Rectangle

    top, left = ((whole - part) // 2 - 0.5 for whole, part in zip(outer, inner, strict=True))
    axes.add_patch(Rectangle((left, top), inner[1], inner[0], fill=False, edgecolor="black", linestyle="--"))


def draw_map(axes: "Axes", network: NetworkPart, image_shape: tuple[int, ...]) -> None:
    """Lay the map over the window, in score units a block, with its colour bar; frame a smaller image in it."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    shown = network.attribution.shown
    limit = max(float(np.quantile(np.abs(shown), FULL_QUANTILE)), LEAST_FULL)
    axes.imshow(paled(network.window), cmap="gray", vmin=0, vmax=1)
    opacity = MOST_OPAQUE * np.minimum(1, np.abs(shown) / limit)
    norm = Normalize(-limit, limit)
    colours = LinearSegmentedColormap.from_list("focus", [PRE_FOCAL, "#FFFFFF", POST_FOCAL])
    axes.imshow(shown, cmap=colours, norm=norm, alpha=opacity)
    axes.set(xticks=[], yticks=[])
    axes.set_title("Where the network's score comes from", fontsize=9)
    found, size = network.attribution, len(shown)
    words = f"sums to {found.pixels.sum():+.2f}; the same without detail scores {found.reference_score:+.2f}"
    if min(image_shape[:2]) < size:
        frame(axes, (size, size), (min(image_shape[0], size), min(image_shape[1], size)))
        words += "\noutside of the frame: the image mirrored"
    axes.set_xlabel(words, fontsize=8)
    bar = axes.figure.colorbar(ScalarMappable(norm, colours), ax=axes, shrink=0.85, pad=0.02)
    bar.set_label(f"score per {BLOCK_PX} x {BLOCK_PX} pixels", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.ax.set_title("post-focal", fontsize=7, color=POST_FOCAL)
    bar.ax.text(0.5, -0.03, "pre-focal", fontsize=7, color=PRE_FOCAL, ha="center", va="top", transform=bar.ax.transAxes)


def paled(window: np.ndarray) -> np.ndarray:
    """Grey picture of a window, full contrast between its extremes but pale, so that colours upon it are seen."""
    grey = window.mean(axis=-1)
    low, high = np.quantile(grey, [0.01, 0.99])
    return 1 - PALE_DEPTH * (1 - np.clip((grey - low) / max(high - low, 1.0), 0, 1))


def draw_scores(axes: "Axes", explanation: Explanation) -> None:
    """Show the network's distribution and, above it, each model's score with its 90 % interval."""
    axes.axvline(0, color=GREY, linewidth=0.8)
    top = 1.0
    if (network := explanation.network) is not None:
        centres, probability = network.distribution.centres, network.distribution.probability[0]
        top, width = float(probability.max()), centres[1] - centres[0]
        side = np.sign(centres) * (np.abs(centres) > width / 2)
        axes.bar(centres, probability, 0.9 * width, color=np.array([PRE_FOCAL, GREY, POST_FOCAL])[side.astype(int) + 1])
        axes.set_ylabel(f"probability per {width:.2g}", fontsize=8)
    for row, (name, verdict) in enumerate(explanation.verdicts.items()):
        _draw_verdict(axes, top * (1.12 + 0.16 * row), name, verdict)
    ends = [abs(end) for verdict in explanation.verdicts.values() for end in (verdict.lower, verdict.upper)]
    reach = 1.05 * max(ends + ([float(np.abs(centres).max())] if network else []))
    axes.set(xlim=(-reach, reach), ylim=(0 if network else 0.9 * top, top * (1.1 + 0.16 * len(explanation.verdicts))))
    axes.set_title("Score and 90 % interval", fontsize=9)
    axes.set_xlabel("focus score: – lens too close, + lens too far", fontsize=8)
    axes.tick_params(labelsize=7)
    if network is None:
        axes.set_yticks([])
    axes.spines[["top", "right"]].set_visible(False)


def _draw_verdict(axes: "Axes", height: float, name: str, verdict: Verdict) -> None:
    """One interval with its score, and the model's name on the side where there is room."""
    marker = {"network": "o", "baseline": "s"}[name]
    axes.hlines(height, verdict.lower, verdict.upper, color="black", linewidth=2)
    axes.plot(verdict.score, height, marker, color="black", markersize=5)
    left = verdict.score > 0
    axes.annotate(
        f"{name} {verdict.score:+.2f}", (0.02 if left else 0.98, height), xycoords=("axes fraction", "data"),
        ha="left" if left else "right", va="center", fontsize=8,
    )  # fmt: skip


def draw_contributions(axes: "Axes", baseline: BaselinePart) -> None:
    """Signed bars of the features that moved the score most, then what all others and the mean add."""
    found = baseline.contributions
    shown = found.rows[:TOP]
    labels = ["\n".join(filter(None, [f"{row.feature} = {row.value:.3g}", row.meaning])) for row in shown]
    values = [row.contribution for row in shown]
    if len(found.rows) > TOP:
        labels.append(f"{len(found.rows) - TOP} other features")
        values.append(found.others(TOP))
    labels.append("mean over the training images")
    values.append(found.bias)
    places = np.arange(len(values))
    axes.barh(places, values, height=0.6, color=[POST_FOCAL if value > 0 else PRE_FOCAL for value in values])
    for place, value in zip(places, values, strict=True):
        axes.annotate(
            f"{value:+.3f}", (value, place), (4 if value >= 0 else -4, 0), textcoords="offset points",
            ha="left" if value >= 0 else "right", va="center", fontsize=7.5,
        )  # fmt: skip
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.axhline(len(shown) - 0.5, color=PALE, linewidth=0.8, linestyle=":")
    axes.set_yticks(places, labels, fontsize=7.5)
    axes.tick_params(axis="x", labelsize=7)
    axes.margins(x=0.12)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_title(f"What moved the baseline's score: all of this adds up to {found.score:+.3f}", fontsize=9)
    axes.set_xlabel("contribution to the score: – to pre-focal, + to post-focal", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def draw_places(axes: "Axes", baseline: BaselinePart) -> None:
    """Beside each bar: where the feature's value lies between the lowest and the highest one in training."""
    for place, row in enumerate(baseline.contributions.rows[:TOP]):
        axes.hlines(place, 0, 1, color=PALE, linewidth=3)
        colour, marker = (POST_FOCAL, "D") if row.outside else ("black", "o")
        axes.plot(np.clip(row.place, -0.12, 1.12), place, marker, color=colour, markersize=5)
    axes.set(xlim=(-0.2, 1.2))
    axes.set_xticks([0, 1], ["lowest", "highest"], fontsize=7.5)
    axes.set_title("value's place in training\n(diamond: outside)", fontsize=8)
    axes.tick_params(axis="y", left=False, labelleft=False)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)


def short_name(path: str, letters: int = 44) -> str:
    """The file's name with its folder, cut in front where it is long."""
    name = "/".join(Path(path).parts[-2:])
    return name if len(name) <= letters else "…" + name[1 - letters :]
