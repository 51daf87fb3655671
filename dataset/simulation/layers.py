"""A specimen with depth: thin layers at different heights, and its image by multi-slice propagation.

A wave passes the layers in turn: each multiplies it by its transmission, the gap to the next one advances its spectrum
by exp(+i kz gap) (Cowley and Moodie 1957; in microscopy e.g. Kamilov et al. 2015). What leaves the last layer goes
through the pupil as in ``optics``. Heights are apparent ones: gaps count as filled with the immersion medium.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft

from focus_picker.dataset.simulation.instrument import Instrument
from focus_picker.dataset.simulation.optics import even_fast_length, on_camera_grid, pupil, source_points
from focus_picker.dataset.simulation.specimen import Specimen

BAND = (-1 / 3, 0.0, 1 / 3)  # wavelengths that stand for a band, as shares of its width from its middle
LEAST_GAP_DEPTHS = 0.35  # layers closer than this, in depths of field, look as one


@dataclass(frozen=True)
class Layer:
    """A thin specimen and its height over the object plane, micrometres, positive towards the objective."""

    specimen: Specimen
    height_um: float


def layer_grid(instrument: Instrument, lengths_um: Sequence[float]) -> tuple[int, int]:
    """Grid points along y and x that carry twice the aperture's frequencies at the shortest wavelength."""
    cutoff = instrument.numerical_aperture / instrument.shortest_um
    y, x = (even_fast_length(4 * cutoff * length + 2) for length in lengths_um)
    return y, x


def spread_over_heights(specimen: Specimen, height_um: np.ndarray, depth_of_field_um: float) -> list[Layer]:
    """Share a specimen out among layers so that each point's mean height is ``height_um`` ``(H, W)``.

    A point between two layers is shared by both in proportion; the layers' transmissions multiply to the specimen's.
    """
    low, high = float(height_um.min()), float(height_um.max())
    gaps = int(np.ceil((high - low) / (LEAST_GAP_DEPTHS * depth_of_field_um) - 1e-9))
    if gaps < 1:
        return [Layer(specimen, (low + high) / 2)]
    levels = np.linspace(low, high, min(gaps, 4) + 1)
    gap = levels[1] - levels[0]
    layers = []
    for level in levels:
        share = np.clip(1 - np.abs(height_um - level) / gap, 0, 1).astype(np.float32)
        layers.append(Layer(Specimen(specimen.density * share[..., None], specimen.path_um * share), float(level)))
    return layers


def through_layers(
    layers: Sequence[Layer],
    instrument: Instrument,
    z_um: np.ndarray,
    lengths_um: Sequence[float],
    shape: tuple[int, int],
    source_rings: int,
) -> np.ndarray:
    """Intensity of a layered specimen in each imaged plane and colour.

    Parameters
    ----------
    layers
        From the condenser's side to the objective's, on one grid; see :func:`layer_grid`. Treated as periodic.
    instrument
        Optics. Each condenser point has one wavelength of its channel's band, so that a band costs no more than a line.
    z_um
        Imaged planes ``(Z,)`` relative to height 0, positive on the objective's side.
    lengths_um
        Extent of the grid along y and x.
    shape
        Wanted ``(H, W)``: ``instrument.oversampling`` points a camera pixel.
    source_rings
        Rings of condenser points.

    Returns
    -------
    np.ndarray
        ``(Z, H, W, 3)`` float32, averaged over the area of a camera pixel; 1 without a specimen.
    """
    z_um = np.atleast_1d(np.asarray(z_um, dtype=float))
    stack = np.empty((len(z_um), *shape, 3), np.float32)
    for channel in range(3):
        intensity = _channel(layers, instrument, channel, z_um, np.asarray(lengths_um), shape, source_rings)
        stack[..., channel] = on_camera_grid(intensity, shape, instrument.oversampling)
    return stack


def _channel(
    layers: Sequence[Layer],
    instrument: Instrument,
    channel: int,
    z_um: np.ndarray,
    lengths_um: np.ndarray,
    shape: tuple[int, int],
    source_rings: int,
) -> np.ndarray:
    """Intensity ``(Z, H, W)`` of one channel on the layers' grid or, where its wavelength allows, a coarser one."""
    width = instrument.bandwidth_um[channel]
    lines = [instrument.wavelengths_um[channel] + offset * width for offset in (BAND if width else (0.0,))]
    grid = layers[0].specimen.path_um.shape
    aperture = instrument.numerical_aperture
    bins = [
        min(even_fast_length(4 * aperture / min(lines) * length + 2), points, wanted - wanted % 2)
        for length, points, wanted in zip(lengths_um, grid, shape, strict=True)
    ]
    points, line_of = source_points(source_rings), _lines_of_points(source_rings, len(lines))
    intensity = np.zeros((len(z_um), *bins), np.float32)
    for number, wavelength_um in enumerate(lines):
        y, x = (fft.fftfreq(n, length / n) for n, length in zip(bins, lengths_um, strict=True))
        transfer = pupil(y, x, instrument, channel, z_um - layers[-1].height_um, wavelength_um)
        tilts = np.rint(points[line_of == number] * instrument.condenser_sigma * aperture / wavelength_um * lengths_um)
        wave = _Wave(layers, channel, wavelength_um, instrument.immersion_index, lengths_um)
        for tilt in tilts.astype(int):
            spectrum = _middle(fft.fft2(wave.leaving(tilt), norm="forward"), bins)
            field = fft.ifft2(transfer * spectrum, norm="forward", overwrite_x=True)
            intensity += field.real**2
            intensity += field.imag**2
    return intensity / len(points)


class _Wave:
    """One wavelength's way through the layers."""

    def __init__(
        self, layers: Sequence[Layer], channel: int, wavelength_um: float, index: float, lengths_um: np.ndarray
    ) -> None:
        self.transmissions = [
            layer.specimen.transmission(channel, wavelength_um).astype(np.complex64) for layer in layers
        ]
        shape = self.transmissions[0].shape
        self.coordinates = [np.arange(n) / n for n in shape]
        y, x = (fft.fftfreq(n, length / n) for n, length in zip(shape, lengths_um, strict=True))
        squared = y[:, None] ** 2 + x[None, :] ** 2
        axial = (index / wavelength_um) ** 2
        kz = 2 * np.pi * (np.sqrt(np.maximum(axial - squared, 0)) - np.sqrt(axial))
        heights = [layer.height_um for layer in layers]
        self.gaps = [(np.exp(1j * kz * gap) * (squared < axial)).astype(np.complex64) for gap in np.diff(heights)]

    def leaving(self, tilt: np.ndarray) -> np.ndarray:
        """Field ``(H, W)`` that leaves the last layer when light comes in at ``tilt`` (frequency bins in y and x)."""
        y, x = (np.exp(2j * np.pi * bins * at) for bins, at in zip(tilt, self.coordinates, strict=True))
        field = self.transmissions[0] * (y[:, None] * x[None, :]).astype(np.complex64)
        for gap, transmission in zip(self.gaps, self.transmissions[1:], strict=True):
            field = fft.ifft2(fft.fft2(field) * gap, overwrite_x=True) * transmission
        return field


def _middle(spectrum: np.ndarray, bins: Sequence[int]) -> np.ndarray:
    """Low frequencies of an unshifted spectrum: ``bins`` of them along each axis, both even."""
    for axis, count in enumerate(bins):
        keep = np.r_[0 : count // 2, spectrum.shape[axis] - count // 2 : spectrum.shape[axis]]
        if count < spectrum.shape[axis]:
            spectrum = np.take(spectrum, keep, axis=axis)
    return spectrum


def _lines_of_points(rings: int, lines: int) -> np.ndarray:
    """Which wavelength each condenser point has; opposite points share theirs, so that a band moves no image."""
    own = [0, *(point % (3 * ring) % lines for ring in range(1, rings + 1) for point in range(6 * ring))]
    return np.array(own)
