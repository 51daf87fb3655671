"""The thin object: what absorbs light and what delays it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Specimen:
    """A thin stained object on the simulator's grid.

    Attributes
    ----------
    density
        Optical density in base e per colour channel, ``(H, W, 3)``: intensity transmission is ``exp(-density)``.
    path_um
        Extra optical path against the surroundings, micrometres, ``(H, W)``; positive where the index is higher.
    """

    density: np.ndarray
    path_um: np.ndarray

    def transmission(self, channel: int, wavelength_um: float) -> np.ndarray:
        """Complex amplitude transmission ``(H, W)``; waves run as exp(+ikz), so a longer path adds phase."""
        return np.exp(-0.5 * self.density[..., channel] + 2j * np.pi / wavelength_um * self.path_um)
