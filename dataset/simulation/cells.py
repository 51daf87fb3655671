"""Procedural white blood cells with red cells around, for when there are no pictures to start from.

Sizes and stain follow textbook May-Gruenwald-Giemsa morphology (e.g. Rodak's Hematology, 6th ed., ch. 12): what matters
here is not a haematologist's eye but that edges, grain and colours have the sizes and contrasts of real cells.
Lengths are micrometres, densities base e in the order red, green, blue.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from focus_picker.dataset.simulation.specimen import Specimen

Colour = tuple[float, float, float]

NUCLEUS: Colour = (1.10, 1.70, 0.55)
RED_CELL: Colour = (0.12, 0.50, 0.42)
RED_CELL_RADIUS_UM = 3.6
EDGE_UM = 0.12


@dataclass(frozen=True)
class CellKind:
    """How one kind of white cell is drawn.

    Attributes
    ----------
    radius_um
        Range of the cell's radius.
    cytoplasm
        Density of the cytoplasm.
    lobes
        Least and most nuclear lobes.
    lobe_radius
        Lobe radius as a fraction of the cell's.
    lobe_orbit
        Distance of the lobes from the cell's centre, same unit.
    notch
        Whether a bite is taken from the nucleus (kidney shape).
    granules, granule_radius_um, granule_colour
        Number, size and density of granules; over the nucleus too where ``cover_nucleus``.
    """

    radius_um: tuple[float, float]
    cytoplasm: Colour
    lobes: tuple[int, int]
    lobe_radius: float
    lobe_orbit: float
    notch: bool = False
    granules: int = 0
    granule_radius_um: float = 0.2
    granule_colour: Colour = field(default=(0.2, 0.4, 0.2))
    cover_nucleus: bool = False


CELL_KINDS: dict[str, CellKind] = {
    "neutrophil": CellKind((5.8, 7.0), (0.12, 0.28, 0.20), (3, 5), 0.34, 0.50, granules=150, granule_radius_um=0.14),
    "lymphocyte": CellKind((4.2, 5.4), (0.45, 0.30, 0.12), (1, 1), 0.84, 0.05),
    "monocyte": CellKind((6.8, 8.4), (0.35, 0.33, 0.20), (1, 1), 0.62, 0.10, notch=True, granules=60),
    "eosinophil": CellKind(
        (5.8, 7.0), (0.15, 0.30, 0.25), (2, 2), 0.42, 0.44,
        granules=140, granule_radius_um=0.34, granule_colour=(0.12, 0.65, 0.80),
    ),
    "basophil": CellKind(
        (5.4, 6.6), (0.25, 0.35, 0.20), (2, 3), 0.44, 0.36,
        granules=70, granule_radius_um=0.42, granule_colour=(1.00, 1.30, 0.50), cover_nucleus=True,
    ),
}  # fmt: skip


class Canvas:
    """A grid of micrometres centred on the cell, onto which shapes are drawn as soft masks from 0 to 1."""

    def __init__(self, shape: tuple[int, int], grid_um: float, rng: np.random.Generator) -> None:
        self.shape = shape
        self.grid_um = grid_um
        self.rng = rng
        self.y = ((np.arange(shape[0]) - shape[0] / 2) * grid_um).astype(np.float32)[:, None]
        self.x = ((np.arange(shape[1]) - shape[1] / 2) * grid_um).astype(np.float32)[None, :]

    def blob(self, centre_um: tuple[float, float], radius_um: float, roughness: float = 0.06) -> np.ndarray:
        """Mask of a roundish body whose outline waves by ``roughness`` of its radius."""
        y, x = self.y - centre_um[0], self.x - centre_um[1]
        angle = np.arctan2(y, x)
        outline = np.ones_like(angle)
        for wave in (2, 3, 4, 5):
            outline += roughness / wave * self.rng.standard_normal() * np.cos(wave * angle + self.rng.uniform(0, 6.3))
        return soft_step(radius_um * outline - np.hypot(y, x))

    def grain(self, size_um: float) -> np.ndarray:
        """Zero-mean, unit-variance noise with details of about ``size_um``."""
        noise = self.rng.standard_normal(self.shape).astype(np.float32)
        fine, coarse = (cv2.GaussianBlur(noise, (0, 0), s * size_um / self.grid_um) for s in (0.35, 0.7))
        return (fine - coarse) / (fine - coarse).std()

    def dots(self, inside: np.ndarray, count: int, radius_um: float) -> np.ndarray:
        """Mask of ``count`` granules placed at random where ``inside`` allows."""
        weights = np.cumsum(inside.ravel(), dtype=np.float64)
        places = np.searchsorted(weights, self.rng.uniform(0, weights[-1], count))
        hits = np.bincount(places, minlength=inside.size).reshape(self.shape).astype(np.float32)
        sigma = radius_um / self.grid_um / 1.5
        # A dot's peak is 1 after blurring: the Gaussian's own peak is 1 / (2 pi sigma^2).
        return np.minimum(cv2.GaussianBlur(hits, (0, 0), sigma) * 2 * np.pi * sigma**2, 1.2)


def soft_step(distance_um: np.ndarray) -> np.ndarray:
    """0 outside, 1 inside, over an edge of ``EDGE_UM``: membranes are thinner than any of our resolutions."""
    return (1 / (1 + np.exp(np.clip(-distance_um / EDGE_UM, -30, 30)))).astype(np.float32)


def draw_specimen(
    kind: str, shape: tuple[int, int], grid_um: float, phase_um_per_density: float, rng: np.random.Generator
) -> Specimen:
    """Draw a white cell of ``kind`` in the middle, red cells around it.

    Parameters
    ----------
    kind
        Key of ``CELL_KINDS``.
    shape, grid_um
        Of the grid.
    phase_um_per_density
        Optical path of the nucleus per unit of its mean density; the other parts are in proportion to their thickness.
    rng
        Source of randomness.
    """
    canvas, cell = Canvas(shape, grid_um, rng), CELL_KINDS[kind]
    radius_um = rng.uniform(*cell.radius_um)
    body = canvas.blob((0, 0), radius_um)
    nucleus = np.minimum(_draw_nucleus(canvas, cell, radius_um), body)
    chromatin = nucleus * (1 + 0.22 * canvas.grain(0.9))
    room = body if cell.cover_nucleus else body * (1 - nucleus)
    granules = canvas.dots(room, cell.granules, cell.granule_radius_um) * (room > 0.2)
    red = _draw_red_cells(canvas, radius_um)
    strength = rng.uniform(0.85, 1.15)  # staining differs from cell to cell
    layers = (
        (body * (1 + 0.10 * canvas.grain(0.6)), cell.cytoplasm),
        (chromatin, NUCLEUS),
        (granules, cell.granule_colour),
        (red, RED_CELL),
    )
    density = strength * sum(mask[..., None] * np.array(colour, np.float32) for mask, colour in layers)
    unit_um = phase_um_per_density * float(np.mean(NUCLEUS))
    path_um = unit_um * (0.5 * body + 0.6 * chromatin + 0.3 * granules + 0.8 * red)
    return Specimen(density=np.maximum(density, 0), path_um=path_um)


def _draw_nucleus(canvas: Canvas, cell: CellKind, radius_um: float) -> np.ndarray:
    rng, count = canvas.rng, int(canvas.rng.integers(cell.lobes[0], cell.lobes[1] + 1))
    start, spread = rng.uniform(0, 2 * np.pi), 1.7 * np.pi / max(count, 1)
    nucleus = np.zeros(canvas.shape, np.float32)
    for lobe in range(count):
        angle = start + lobe * spread * rng.uniform(0.85, 1.15)
        orbit_um = cell.lobe_orbit * radius_um * rng.uniform(0.85, 1.1)
        centre_um = (orbit_um * np.sin(angle), orbit_um * np.cos(angle))
        size_um = cell.lobe_radius * radius_um * rng.uniform(0.85, 1.1)
        nucleus = np.maximum(nucleus, canvas.blob(centre_um, size_um, roughness=0.12))
    if cell.notch:
        reach_um = 0.62 * radius_um
        bite = canvas.blob((reach_um * np.sin(start), reach_um * np.cos(start)), 0.30 * radius_um, roughness=0.1)
        nucleus = nucleus * (1 - bite)
    return nucleus


def _draw_red_cells(canvas: Canvas, clear_radius_um: float) -> np.ndarray:
    """Biconcave discs on a random net around the white cell, touching but seldom overlapping."""
    rng = canvas.rng
    half_um = max(canvas.shape) * canvas.grid_um / 2
    red = np.zeros(canvas.shape, np.float32)
    placed: list[tuple[float, float]] = []
    for _ in range(40):
        centre = tuple(rng.uniform(-half_um, half_um, 2))
        near = [np.hypot(centre[0] - y, centre[1] - x) for y, x in placed]
        if np.hypot(*centre) < clear_radius_um + 0.9 * RED_CELL_RADIUS_UM or min(near, default=99) < 6.0:
            continue
        placed.append(centre)
        radius_um = RED_CELL_RADIUS_UM * rng.uniform(0.92, 1.08)
        distance = np.hypot(canvas.y - centre[0], canvas.x - centre[1])
        dimple = 1 - 0.5 * np.exp(-((distance / (0.45 * radius_um)) ** 2))
        red = np.maximum(red, canvas.blob(centre, radius_um, roughness=0.04) * dimple)
        if len(placed) >= 9:
            break
    return red
