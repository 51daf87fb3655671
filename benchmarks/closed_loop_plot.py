"""Picture of the closed-loop benchmark: what each method costs, and how far off it ends."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import matplotlib
import numpy as np

from focus_picker.dataset.files import atomic_path

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SHOWN_DEPTHS = 3.0  # errors beyond are drawn at the edge
FRAMES = (2, 3, 4, 6, 10, 20, 40)  # labelled on the axis


class Found(Protocol):
    """What is drawn of a search."""

    method: str
    frames: int
    confirmed: bool
    error: float


def plot_runs(parts: Sequence[tuple[float, Sequence[Found]]], path: Path) -> None:
    """Draw frames against error, one panel a distance, one colour a method; confirmed searches only."""
    distances = sorted({within for within, _ in parts})
    figure, panels = plt.subplots(1, len(distances), figsize=(5 * len(distances), 4.2), sharey=True, squeeze=False)
    rng = np.random.default_rng(0)
    for panel, within in zip(panels[0], distances, strict=True):
        found = [one for distance, part in parts if distance == within for one in part]
        for number, method in enumerate(dict.fromkeys(one.method for one in found)):
            mine = [one for one in found if one.method == method and one.confirmed]
            frames = np.array([one.frames for one in mine]) + rng.uniform(-0.3, 0.3, len(mine))
            error = np.minimum(np.abs([one.error for one in mine]), SHOWN_DEPTHS)
            panel.plot(frames, error, ".", ms=3, alpha=0.5, color=f"C{number}", label=method)
        panel.axhline(0.5, color="0.5", lw=0.8)
        panel.axhline(1.0, color="0.2", lw=0.8)
        panel.set(title=f"start within {within:g} um", xlabel="frames", xscale="log")
        panel.set_xticks(FRAMES, [str(number) for number in FRAMES])
        panel.minorticks_off()
    panels[0][0].set_ylabel("distance from the sharpest plane, depths of field")
    panels[0][-1].legend(fontsize=7, markerscale=3)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)
