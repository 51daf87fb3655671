"""Image formation: partially coherent, by Abbe's sum over condenser source points.

Every source point lights the thin object with a tilted plane wave. Its spectrum, shifted by the tilt, passes the pupil
with defocus and aberrations, and the intensities of all source points add up (Abbe 1873; Goodman, Introduction to
Fourier Optics, 4th ed., ch. 7). Waves run as exp(+ikz): imaging the plane at +z, on the objective's side of the object,
multiplies the spectrum by exp(+i kz(f) z).
"""

import numpy as np
from scipy import fft

from focus_picker.dataset.simulation.instrument import Instrument
from focus_picker.dataset.simulation.specimen import Specimen

# 1 + 6 + 12 + 18 points: their sum differs from that of 169 points by less than the camera's noise (a test holds it).
SOURCE_RINGS = 3


def source_points(rings: int = SOURCE_RINGS) -> np.ndarray:
    """Directions that sample the unit disc of the condenser with equal areas, ``(1 + 3 r (r + 1), 2)``.

    Ring ``k`` holds ``6 k`` points at the radius that halves its area; the set is symmetric, so that defocus does not
    move the image sideways.
    """
    total = 1 + 3 * rings * (rings + 1)
    points = [(0.0, 0.0)]
    for ring in range(1, rings + 1):
        inner, outer = 1 + 3 * ring * (ring - 1), 1 + 3 * ring * (ring + 1)
        radius = np.sqrt((inner + outer) / 2 / total)
        angles = 2 * np.pi * np.arange(6 * ring) / (6 * ring)
        points += [(radius * np.sin(angle), radius * np.cos(angle)) for angle in angles]
    return np.array(points)


def pupil(
    frequency_y: np.ndarray,
    frequency_x: np.ndarray,
    instrument: Instrument,
    channel: int,
    z_um: np.ndarray,
    wavelength_um: float | None = None,
) -> np.ndarray:
    """Pupil with defocus and aberrations for each imaged plane.

    Parameters
    ----------
    frequency_y, frequency_x
        Spatial frequencies in cycles per micrometre, ``(Ky,)`` and ``(Kx,)``.
    instrument, channel
        Aperture, wavelength, aberrations.
    z_um
        Imaged planes ``(Z,)``; positive on the objective's side of the object. The channel's axial colour adds.
    wavelength_um
        Of the light, by default the channel's own; another one of its band.

    Returns
    -------
    np.ndarray
        ``(Z, Ky, Kx)`` complex64, zero outside the aperture.
    """
    wavelength_um = wavelength_um or instrument.wavelengths_um[channel]
    squared = frequency_y[:, None] ** 2 + frequency_x[None, :] ** 2
    cutoff = instrument.numerical_aperture / wavelength_um
    inside = squared <= cutoff**2
    axial = (instrument.immersion_index / wavelength_um) ** 2
    # The constant kz(0) is left out: it turns the phase of the whole field and no intensity sees it.
    kz = 2 * np.pi * (np.sqrt(np.where(inside, axial - squared, axial)) - np.sqrt(axial))
    rho2 = np.where(inside, squared / cutoff**2, 0.0)
    green_over_channel = instrument.wavelengths_um[1] / wavelength_um
    waves = instrument.spherical_waves * green_over_channel * (6 * rho2**2 - 6 * rho2 + 1)
    if any(instrument.coma_waves) or any(instrument.astigmatism_waves):
        waves = waves + green_over_channel * _off_axis_waves(frequency_y / cutoff, frequency_x / cutoff, instrument)
    z_channel = np.asarray(z_um, dtype=float) + instrument.axial_colour_um[channel]
    phase = kz[None] * z_channel[:, None, None] + 2 * np.pi * waves[None]
    return (inside * np.exp(1j * phase)).astype(np.complex64)


def _off_axis_waves(y: np.ndarray, x: np.ndarray, instrument: Instrument) -> np.ndarray:
    """Coma and astigmatism ``(Ky, Kx)`` in waves of green at relative pupil coordinates (Zernike, unnormalised)."""
    y, x = y[:, None], x[None, :]
    coma_y, coma_x = instrument.coma_waves
    astigmatism_0, astigmatism_45 = instrument.astigmatism_waves
    return (
        (3 * (y**2 + x**2) - 2) * (coma_y * y + coma_x * x) + astigmatism_0 * (x**2 - y**2) + astigmatism_45 * 2 * x * y
    )


def through_focus(
    specimen: Specimen, instrument: Instrument, z_um: np.ndarray, source_rings: int = SOURCE_RINGS
) -> np.ndarray:
    """Intensity of the specimen in each imaged plane and colour.

    Parameters
    ----------
    specimen
        On a grid of ``pixel_um / oversampling``; treated as periodic, so leave a margin for the blur and cut it off.
    instrument
        Optics.
    z_um
        Imaged planes ``(Z,)`` relative to the object, positive on the objective's side.
    source_rings
        Rings of condenser points.

    Returns
    -------
    np.ndarray
        ``(Z, H, W, 3)`` float32 on the specimen's grid, averaged over the area of a camera pixel; 1 without a specimen.
    """
    z_um = np.atleast_1d(np.asarray(z_um, dtype=float))
    height, width = specimen.path_um.shape
    stack = np.empty((len(z_um), height, width, 3), np.float32)
    for channel in range(3):
        stack[..., channel] = _channel_through_focus(specimen, instrument, channel, z_um, source_rings)
    return stack


def _channel_through_focus(
    specimen: Specimen, instrument: Instrument, channel: int, z_um: np.ndarray, source_rings: int
) -> np.ndarray:
    """Intensity ``(Z, H, W)`` of one colour channel."""
    wavelength_um = instrument.wavelengths_um[channel]
    grid_um = instrument.pixel_um / instrument.oversampling
    shape = specimen.path_um.shape
    lengths_um = np.array(shape) * grid_um
    cutoff_bins = instrument.numerical_aperture / wavelength_um * lengths_um
    # The field fills the aperture only, its intensity twice that: a coarser grid than the camera's carries both.
    bins = [min(even_fast_length(4 * cutoff + 2), size) for cutoff, size in zip(cutoff_bins, shape, strict=True)]
    frequency_y, frequency_x = (
        (np.arange(count) - count // 2) / length for count, length in zip(bins, lengths_um, strict=True)
    )
    transfer = pupil(frequency_y, frequency_x, instrument, channel, z_um)
    # Tilts are moved to the nearest frequency bin, which makes a tilt a shift of indices.
    tilts = np.rint(source_points(source_rings) * instrument.condenser_sigma * cutoff_bins).astype(int)
    margin = int(np.abs(tilts).max())
    amplitude = specimen.transmission(channel, wavelength_um).astype(np.complex64)
    spectrum = np.pad(fft.fftshift(fft.fft2(amplitude, norm="forward")), margin)
    intensity = np.zeros((len(z_um), *bins), np.float32)
    top, left = (margin + size // 2 - count // 2 for size, count in zip(shape, bins, strict=True))
    for tilt_y, tilt_x in tilts:
        window = spectrum[top - tilt_y :, left - tilt_x :][: bins[0], : bins[1]]
        # The spectrum stays centred: that only multiplies the field by signs, which the intensity does not see.
        field = fft.ifft2(transfer * window, norm="forward", overwrite_x=True)
        intensity += field.real**2
        intensity += field.imag**2
    return on_camera_grid(intensity / len(tilts), shape, instrument.oversampling)


def on_camera_grid(intensity: np.ndarray, shape: tuple[int, int], oversampling: int) -> np.ndarray:
    """Interpolate the band-limited ``intensity`` to ``shape`` and average it over one camera pixel."""
    height, width = shape
    small_h, small_w = intensity.shape[1:]
    small = fft.fftshift(fft.rfft2(intensity, norm="forward"), axes=1)
    spectrum = np.zeros((len(intensity), height, width // 2 + 1), small.dtype)
    top = height // 2 - small_h // 2
    spectrum[:, top : top + small_h, : small_w // 2 + 1] = small
    spectrum = fft.ifftshift(spectrum, axes=1)
    # A pixel averages over its own width: a sinc in frequency (cycles per grid point times points per pixel).
    spectrum *= np.sinc(fft.fftfreq(height) * oversampling)[:, None].astype(np.float32)
    spectrum *= np.sinc(fft.rfftfreq(width) * oversampling).astype(np.float32)
    return fft.irfft2(spectrum, s=shape, norm="forward")


def even_fast_length(least: float) -> int:
    """Smallest even length of at least ``least`` that the FFT likes."""
    return 2 * fft.next_fast_len(int(np.ceil(least / 2)))
