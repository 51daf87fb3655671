"""Pictures of a search and of a focus surface."""

from pathlib import Path

import matplotlib
import numpy as np

from focus_picker.autofocus.result import FocusResult
from focus_picker.autofocus.surface import Surface
from focus_picker.dataset.files import atomic_path

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def draw_search(result: FocusResult, path: Path) -> None:
    """Draw score and sharpness of every frame over z, numbered as taken, with where focus was found."""
    frames = [step for step in result.steps if step.kind == "frame"]
    z_um = [step.z_um for step in frames]
    figure, panels = plt.subplots(2, 1, figsize=(7, 5), sharex=True)
    for panel, name in zip(panels, ("score", "sharpness"), strict=True):
        panel.plot(z_um, [getattr(step, name) for step in frames], "o", color="C0")
        panel.set_ylabel(name)
        panel.axvline(result.z_before, color="0.6", ls="--", label="start")
        if np.isfinite(result.focus_um):
            panel.axvline(result.focus_um, color="C2" if result else "C3", label="focus" if result else "not confirmed")
    for number, step in enumerate(frames):
        panels[1].annotate(str(number + 1), (step.z_um, step.sharpness), textcoords="offset points", xytext=(4, 4))
    panels[0].axhline(0, color="0.8", lw=0.8)
    panels[0].set_title(f"{result.reason}: {result.message}"[:100], fontsize=9)
    panels[0].legend(fontsize=8)
    panels[1].set_xlabel("drive, um")
    _save(figure, path)


def draw_surface(surface: Surface, path: Path) -> None:
    """Draw the surface as a map with its points; points without a say are crosses."""
    x, y, z = surface.points.T
    across, along = (np.linspace(values.min(), values.max(), 25) for values in (x, y))
    height = np.array([[surface.at(float(a), float(b))[0] for a in across] for b in along])
    figure, panel = plt.subplots(figsize=(6, 5))
    filled = panel.contourf(across, along, height, levels=15, cmap="viridis")
    shown = {"vmin": height.min(), "vmax": height.max(), "cmap": "viridis", "edgecolors": "white"}
    panel.scatter(x[surface.used], y[surface.used], c=z[surface.used], **shown)
    panel.plot(x[~surface.used], y[~surface.used], "rx", label="left out")
    figure.colorbar(filled, label="focus, um")
    panel.set(title=f"{surface.kind}, error {surface.error_um:.2f} um", xlabel="x, um", ylabel="y, um")
    if (~surface.used).any():
        panel.legend()
    _save(figure, path)


def _save(figure: "plt.Figure", path: Path) -> None:
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
    plt.close(figure)
