"""From a picture or a drawn cell to layers with phase of their own: what a :class:`Preparation` asks for."""

from pathlib import Path

import cv2
import numpy as np

from focus_picker.dataset.images import read_image, to_uint8
from focus_picker.dataset.simulation.cells import CELL_KINDS, RED_CELL, RED_CELL_RADIUS_UM, Canvas, draw_specimen
from focus_picker.dataset.simulation.crops import fit_to_shape, specimen_from_image
from focus_picker.dataset.simulation.layers import Layer, spread_over_heights
from focus_picker.dataset.simulation.preparation import Preparation, Stain
from focus_picker.dataset.simulation.specimen import Specimen

Colour = tuple[float, float, float]

STAINS: dict[Stain, tuple[Colour, Colour] | None] = {
    "giemsa": None,  # as the picture has it
    "haematoxylin-eosin": ((1.2, 1.1, 0.5), (0.08, 0.9, 0.45)),
    "papanicolaou": ((1.3, 0.9, 0.6), (0.55, 0.35, 0.55)),
    "methylene-blue": ((1.3, 0.7, 0.25), (0.5, 0.25, 0.1)),
    "pale": ((0.45, 0.55, 0.35), (0.08, 0.14, 0.12)),
}
"""Density in red, green and blue of what is nuclear and of what is not, for one unit of each (May-Gruenwald-Giemsa)."""

SEAM_UM = 1.0  # width over which opposite edges of the periodic grid are blended


def lay_out(
    picture: Path | None,
    preparation: Preparation,
    phase_um_per_density: float,
    shape: tuple[int, int],
    grid_um: float,
    source_pixel_um: float,
    depth_of_field_um: float,
    rng: np.random.Generator,
) -> list[Layer]:
    """Make a slide's layers, lowest first.

    Parameters
    ----------
    picture
        In-focus crop, or None for drawn cells.
    preparation
        What is asked for.
    phase_um_per_density
        Optical path that follows the stain.
    shape, grid_um
        Of the grid, which is periodic.
    source_pixel_um
        Pixel size of the picture.
    depth_of_field_um
        Of the objective; heights that differ by less than a part of it share a layer.
    rng
        Source of randomness.
    """
    canvas = Canvas(shape, grid_um, rng)
    if rng.random() < preparation.red_cells_only:
        thickness, _ = red_cells(canvas, rng.uniform(1.2, 3.5), preparation)
        density = thickness[..., None] * np.array(RED_CELL, np.float32) * rng.uniform(0.7, 1.5)
        path_um = preparation.red_cell_path_um * thickness
    else:
        density = _stained(picture, canvas, preparation, source_pixel_um)
        path_um = phase_um_per_density * cv2.GaussianBlur(density.mean(axis=2), (0, 0), 0.1 / grid_um)
        path_um += path_of_cells(density, grid_um, preparation)
    density = own_detail(restain(density, preparation.stain), canvas, preparation.colour_detail)
    path_um = path_um + preparation.texture_path_um * canvas.grain(rng.uniform(0.6, 2.0))
    main = spread_over_heights(Specimen(density, path_um), height_map(canvas, preparation), depth_of_field_um)
    return sorted([*main, *_others(canvas, preparation)], key=lambda layer: layer.height_um)


def _stained(picture: Path | None, canvas: Canvas, preparation: Preparation, source_pixel_um: float) -> np.ndarray:
    """Density ``(H, W, 3)`` of a picture or a drawn white cell, made periodic."""
    rng, grid_um = canvas.rng, canvas.grid_um
    if picture is None:
        kind = str(rng.choice(list(CELL_KINDS)))
        density = draw_specimen(kind, canvas.shape, grid_um / preparation.size, 0.0, rng).density
    else:
        image = read_region(picture, source_pixel_um * preparation.size / grid_um, canvas, preparation.off_centre_um)
        density = specimen_from_image(image, 0.0).density
    return periodic(np.asarray(density, np.float32), max(2, round(SEAM_UM / grid_um)))


def read_region(path: Path, scale: float, canvas: Canvas, off_centre_um: float) -> np.ndarray:
    """Read a picture at the grid's scale, turned at random and cut up to ``off_centre_um`` beside its centre."""
    rng = canvas.rng
    image = np.rot90(to_uint8(read_image(path)), int(rng.integers(4)))
    image = image[:, ::-1] if rng.random() < 0.5 else image
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image = cv2.resize(np.ascontiguousarray(image), None, fx=scale, fy=scale, interpolation=method)
    for axis in (0, 1):
        spare = max(image.shape[axis] - canvas.shape[axis], 0) / 2
        reach = min(off_centre_um / canvas.grid_um, spare)
        image = np.roll(image, round(rng.uniform(-reach, reach)), axis=axis)
    return fit_to_shape(image, canvas.shape)


def periodic(image: np.ndarray, band: int) -> np.ndarray:
    """Blend opposite edges over ``band`` points, so that the image continues where it begins anew."""
    image = image.copy()
    weight = 0.5 + 0.5 * np.arange(band, dtype=np.float32) / band
    for axis in (0, 1):
        view = np.moveaxis(image, axis, 0)
        begin, end = view[:band].copy(), view[::-1][:band].copy()
        w = weight.reshape(-1, *[1] * (view.ndim - 1))
        view[:band] = w * begin + (1 - w) * end
        view[::-1][:band] = w * end + (1 - w) * begin
    return image


def path_of_cells(density: np.ndarray, grid_um: float, preparation: Preparation) -> np.ndarray:
    """Optical path ``(H, W)`` that does not follow the stain: bodies as domes, red cells as rings, membranes.

    What is a cell, and a red one, is told by the density: haemoglobin and eosin leave red light alone.
    """
    mean = cv2.GaussianBlur(density.mean(axis=2), (0, 0), 0.15 / grid_um)
    red_light = cv2.GaussianBlur(density[..., 0], (0, 0), 0.3 / grid_um)
    green_light = cv2.GaussianBlur(density[..., 1], (0, 0), 0.3 / grid_um)
    body = mean > 0.08
    red = body & (red_light < 0.22) & (green_light > 1.4 * red_light)
    inside_um = _depth_inside_um(body, grid_um)
    path_um = preparation.body_path_um * dome(inside_um / 3.0)
    path_um += preparation.red_cell_path_um * red_cell_profile(_depth_inside_um(red, grid_um) / 3.4, preparation.dimple)
    rim = np.exp(-(((inside_um - 0.3) / 0.2) ** 2)) * body
    return cv2.GaussianBlur(path_um + preparation.membrane_path_um * rim, (0, 0), 0.08 / grid_um)


def _depth_inside_um(mask: np.ndarray, grid_um: float) -> np.ndarray:
    """Distance ``(H, W)`` to the nearest point outside, at most that of the grid's far corner: there may be none."""
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    return np.minimum(depth, sum(mask.shape)) * np.float32(grid_um)


def dome(depth: np.ndarray) -> np.ndarray:
    """Thickness of a cap from its edge (0) to its middle (1 and beyond), 1 in the middle."""
    depth = np.minimum(depth, 1)
    return np.sqrt(depth * (2 - depth))


def red_cell_profile(depth: np.ndarray, dimple: float) -> np.ndarray:
    """Thickness of a biconcave disc from its edge (0) to its middle (1), 1 where thickest without dimple."""
    return dome(depth) * (1 - dimple * np.minimum(depth, 1) ** 2)


def red_cells(canvas: Canvas, per_100_um2: float, preparation: Preparation) -> tuple[np.ndarray, int]:
    """Sum of the thickness profiles of red cells strewn over the periodic grid, ``(H, W)``, and their number."""
    rng, extent = canvas.rng, [n * canvas.grid_um for n in canvas.shape]
    thickness = np.zeros(canvas.shape, np.float32)
    count = int(rng.poisson(per_100_um2 * extent[0] * extent[1] / 100))
    for _ in range(count):
        radius_um = RED_CELL_RADIUS_UM * preparation.size * rng.uniform(0.85, 1.15)
        away = [
            (axis - rng.uniform(0, length) + length / 2) % length - length / 2
            for axis, length in zip((canvas.y, canvas.x), extent, strict=True)
        ]
        angle, flat = rng.uniform(0, np.pi), rng.uniform(0.8, 1.0)
        along, across = (
            np.cos(angle) * away[0] + np.sin(angle) * away[1],
            (np.cos(angle) * away[1] - np.sin(angle) * away[0]) / flat,
        )
        depth = np.clip(1 - np.hypot(along, across) / radius_um, 0, 1)
        thickness += red_cell_profile(depth.astype(np.float32), preparation.dimple)
    return cv2.GaussianBlur(thickness, (0, 0), 0.1 / canvas.grid_um), count


def restain(density: np.ndarray, stain: Stain) -> np.ndarray:
    """Replace a picture's stain: what takes red light away is nuclear, the rest is not."""
    colours = STAINS[stain]
    if colours is None:
        return density
    nuclear = density[..., 0]
    other = np.maximum(density[..., 1] - 1.2 * nuclear, 0) + 0.3 * np.maximum(density[..., 2] - nuclear, 0)
    nucleus, plasma = (np.array(colour, np.float32) for colour in colours)
    return nuclear[..., None] * nucleus + other[..., None] * plasma


def own_detail(density: np.ndarray, canvas: Canvas, strength: float) -> np.ndarray:
    """Give each colour detail of its own, ``strength`` of its density (standard deviation)."""
    if strength == 0:
        return density
    sizes = canvas.rng.uniform(0.5, 1.5, 3)
    detail = np.stack([canvas.grain(size) for size in sizes], axis=2)
    return density * np.exp(strength * np.clip(detail, -2.5, 2.5)).astype(np.float32)


def height_map(canvas: Canvas, preparation: Preparation) -> np.ndarray:
    """Height ``(H, W)`` of the specimen's details: hills of some micrometres' width, on a tilted slide."""
    height_um = preparation.tilt[0] * canvas.y + preparation.tilt[1] * canvas.x
    if preparation.thickness_um > 0:
        noise = canvas.rng.standard_normal(canvas.shape).astype(np.float32)
        hills = cv2.GaussianBlur(
            noise, (0, 0), canvas.rng.uniform(0.6, 1.8) / canvas.grid_um, borderType=cv2.BORDER_REFLECT
        )
        height_um = height_um + preparation.thickness_um * np.clip(hills / (4 * hills.std()), -0.5, 0.5)
    return height_um


def _others(canvas: Canvas, preparation: Preparation) -> list[Layer]:
    """Neighbours and debris, each in a layer at its own height."""
    rng, layers = canvas.rng, []
    if preparation.neighbours > 0:
        thickness, count = red_cells(canvas, preparation.neighbours, preparation)
        if count:
            density = restain(thickness[..., None] * np.array(RED_CELL, np.float32), preparation.stain)
            path_um = preparation.red_cell_path_um * thickness
            layers.append(Layer(Specimen(density, path_um), preparation.neighbour_height_um * rng.standard_normal()))
    if preparation.debris > 0:
        area = canvas.shape[0] * canvas.shape[1] * canvas.grid_um**2
        count = int(rng.poisson(preparation.debris * area / 100))
        grains = canvas.dots(np.ones(canvas.shape, np.float32), count, rng.uniform(0.15, 0.5))
        density = np.repeat((rng.uniform(0, 0.4) * grains)[..., None], 3, axis=2)
        layers.append(Layer(Specimen(density, rng.uniform(-0.08, 0.08) * grains), preparation.debris_height_um))
    return layers
