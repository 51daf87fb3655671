"""Instruments: the optics, stage and camera that a simulated stack is seen through, read from YAML."""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from focus_picker.dataset.declared import names_in, read_named
from focus_picker.dataset.simulation.preparation import Preparation
from focus_picker.dataset.simulation.processing import Processing

INSTRUMENT_FOLDER = Path(__file__).parents[2] / "conf" / "instruments"

Wavelength = Annotated[float, Field(ge=0.2, le=2)]
Bandwidth = Annotated[float, Field(ge=0, le=0.3)]
ShiftUm = Annotated[float, Field(ge=-50, le=50)]
Waves = Annotated[float, Field(ge=-1, le=1)]
MOST_GRID_POINTS = 4096  # along a crop
Positive = Annotated[float, Field(gt=0)]


class Camera(BaseModel):
    """What happens between the intensity image and the file.

    Pairs are ranges from which each field draws one value: two fields of one microscope differ in lamp level, white
    balance and vignetting, the slices of one stack do not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    full_well_e: Annotated[float, Field(ge=100, le=1e7)] = 10_000
    read_noise_e: Annotated[float, Field(ge=0, le=1000)] = 4
    background_level: tuple[Positive, Annotated[float, Field(lt=1)]] = (0.78, 0.92)
    white_balance_spread: Annotated[float, Field(ge=0, lt=0.5)] = 0.04
    vignetting: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(lt=1)]] = (0.0, 0.08)
    lamp_flicker: Annotated[float, Field(ge=0, lt=0.5)] = 0.004
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 92
    processing: Processing | None = None


class Instrument(BaseModel):
    """A microscope as the simulator needs it. Colours are in the order red, green, blue.

    Attributes
    ----------
    numerical_aperture, immersion_index
        Of the objective; the aperture must stay below the index.
    pixel_um
        Camera pixel in the object plane, micrometres.
    condenser_sigma
        Condenser aperture over objective aperture, 0 (coherent) to 1.
    wavelengths_um
        One vacuum wavelength a colour channel, the middle of its band.
    bandwidth_um
        Width of each channel's band: some 0.03 um of a coloured LED, 0.08 um of a camera's filter in halogen light.
    spherical_waves
        Primary spherical aberration, Zernike coefficient in waves of green.
    coma_waves, astigmatism_waves
        The same for coma (along y and x) and astigmatism (at 0 and 45 degrees).
    axial_colour_um
        Defocus added to each channel; an under-corrected objective has blue above green.
    phase_um_per_density
        Optical path that goes with one unit of optical density (base e) in stained cells.
    z_step_um, n_slices, score_per_slice
        Of the recorded stacks; a slice's label is ``score_per_slice`` times its distance from the sharpest slice.
    best_slice
        Range from which the true best plane of a field is drawn, as fractions of the stack from first to last slice.
    crop_um
        Range of crop widths and heights, micrometres.
    preparation
        What lies on the slide; without one, thin cells whose phase follows their stain.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    numerical_aperture: Annotated[float, Field(ge=0.05, le=1.7)]
    immersion_index: Annotated[float, Field(ge=1, le=2)]
    pixel_um: Annotated[float, Field(ge=0.01, le=10)]
    condenser_sigma: Annotated[float, Field(ge=0, le=1)]
    wavelengths_um: tuple[Wavelength, Wavelength, Wavelength] = (0.62, 0.54, 0.46)
    bandwidth_um: tuple[Bandwidth, Bandwidth, Bandwidth] = (0.0, 0.0, 0.0)
    spherical_waves: Waves = 0.0
    coma_waves: tuple[Waves, Waves] = (0.0, 0.0)
    astigmatism_waves: tuple[Waves, Waves] = (0.0, 0.0)
    axial_colour_um: tuple[ShiftUm, ShiftUm, ShiftUm] = (0.0, 0.0, 0.0)
    phase_um_per_density: Annotated[float, Field(ge=0, le=0.5)] = 0.06
    z_step_um: Annotated[float, Field(ge=0.01, le=100)]
    n_slices: Annotated[int, Field(ge=3, le=201)] = 11
    score_per_slice: Annotated[float, Field(ge=1e-3, le=100)] = 0.2
    best_slice: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(le=1)]] = (0.3, 0.7)
    crop_um: tuple[Annotated[float, Field(ge=4)], Annotated[float, Field(le=60)]] = (14.0, 19.0)
    camera: Camera = Camera()
    preparation: Preparation | None = None

    @model_validator(mode="after")
    def _physically_possible(self) -> "Instrument":
        if self.numerical_aperture >= self.immersion_index:
            raise ValueError(
                f"numerical_aperture {self.numerical_aperture:g} is not below immersion_index "
                f"{self.immersion_index:g}; check which of the two is wrong"
            )
        for name in ("best_slice", "crop_um"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} runs from {low:g} down to {high:g}; write the smaller number first")
        if self.crop_um[1] / self.pixel_um * self.oversampling > MOST_GRID_POINTS:
            raise ValueError(f"crop_um {self.crop_um[1]:g} at pixel_um {self.pixel_um:g} is more than can be simulated")
        return self

    @property
    def oversampling(self) -> int:
        """Grid points per camera pixel, the smallest integer at which the intensity's bandwidth 2 NA / lambda fits."""
        return int(np.ceil(4 * self.numerical_aperture * self.pixel_um / self.shortest_um))

    @property
    def shortest_um(self) -> float:
        """Shortest wavelength of any channel's band, micrometres."""
        bands = zip(self.wavelengths_um, self.bandwidth_um, strict=True)
        return min(middle - width / 3 for middle, width in bands)

    @property
    def depth_of_field_um(self) -> float:
        """Classical depth of field n lambda / NA^2 in green, micrometres."""
        return self.immersion_index * self.wavelengths_um[1] / self.numerical_aperture**2


def known_instruments() -> list[str]:
    """Names of the instruments that come with the project."""
    return names_in(INSTRUMENT_FOLDER)


def load_instrument(name_or_file: str) -> Instrument:
    """Read an instrument by its name in ``conf/instruments`` or from a YAML file, which may leave its name out.

    Raises
    ------
    InputError
        Unknown name, unreadable YAML, unknown or missing keys, or values that no microscope can have.
    """
    return read_named(name_or_file, INSTRUMENT_FOLDER, Instrument, what="instrument", name=Path(name_or_file).stem)


def vary(instrument: Instrument, amount: float, rng: np.random.Generator) -> Instrument:
    """Draw a relative of ``instrument``: every optical parameter moved at random.

    Parameters
    ----------
    instrument
        The middle of the range.
    amount
        Relative half width: 0.2 draws aperture, condenser, phase and pixel within +-20 %. Aberrations, which may be
        zero, move by up to ``amount`` times a quarter wave and a depth of field. 0 returns the instrument.
    rng
        Source of randomness.

    Returns
    -------
    Instrument
        With ``z_step_um`` in the same proportion to the depth of field, so that a slice stays an equally hard step.
    """
    if amount == 0:
        return instrument

    def factor() -> float:
        return float(1 + amount * rng.uniform(-1, 1))

    # 95 % of the index: at grazing angles the paraxial depth of field loses its meaning.
    widest = min(instrument.numerical_aperture * (1 + amount), 0.95 * instrument.immersion_index)
    aperture = float(rng.uniform(instrument.numerical_aperture * (1 - amount), widest))
    depth = instrument.immersion_index * instrument.wavelengths_um[1] / aperture**2
    red, green, blue = (colour + amount * depth * rng.uniform(-1, 1) for colour in instrument.axial_colour_um)
    return instrument.model_copy(
        update={
            "numerical_aperture": aperture,
            "pixel_um": instrument.pixel_um * factor(),
            "condenser_sigma": min(instrument.condenser_sigma * factor(), 1.0),
            "spherical_waves": instrument.spherical_waves + 0.25 * amount * float(rng.uniform(-1, 1)),
            "axial_colour_um": (red - green, 0.0, blue - green),
            "phase_um_per_density": instrument.phase_um_per_density * factor(),
            "z_step_um": instrument.z_step_um * depth / instrument.depth_of_field_um,
        }
    )
