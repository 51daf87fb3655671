"""The reference that later images are held against: a small JSON file of quantiles and numbers, no images.

``cli.py drift --save-profile`` writes it, ``cli.py drift`` and the service read it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from focus_picker.dataset.declared import read_json
from focus_picker.dataset.files import write_text
from focus_picker.drift.statistics import (
    UNSURE,
    DriftFigure,
    distribution_figure,
    effective_size,
    ks_p_value,
    ks_statistic,
    rounded,
    share_figure,
    share_p_value,
)

POINTS = 81  # quantiles of each quantity: the deciles are among them, and the file stays below 100 KB
FEWEST_IMAGES, FEWEST_GROUPS = 30, 5
STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Distribution(BaseModel):
    """What is kept of one quantity.

    Attributes
    ----------
    n
        Images with a known value.
    effective
        As how many independent images they count; see :func:`drift.statistics.effective_size`.
    quantiles
        ``POINTS`` evenly spaced ones from the least to the greatest value.
    """

    model_config = STRICT

    n: int = Field(ge=1)
    effective: float = Field(ge=1)
    quantiles: tuple[float, ...] = Field(min_length=POINTS, max_length=POINTS)

    @field_validator("quantiles")
    @classmethod
    def _rising(cls, quantiles: tuple[float, ...]) -> tuple[float, ...]:
        if np.any(np.diff(quantiles) < 0):
            raise ValueError("quantiles must not fall")
        return quantiles

    @property
    def typical(self) -> float:
        """The median."""
        return self.quantiles[POINTS // 2]

    def figure(self, values: np.ndarray, effective: float) -> DriftFigure:
        """Compare finite ``values`` ``(n,)``, which count as ``effective`` independent ones."""
        return distribution_figure(self.quantiles, values, (self.effective, effective))

    def p_value(self, values: np.ndarray, effective: float) -> float:
        """Probability of values as different as these when nothing has changed."""
        return ks_p_value(ks_statistic(self.quantiles, values), (self.effective, effective))


class Share(BaseModel):
    """Share of the images that have a property; ``n`` and ``effective`` as in :class:`Distribution`."""

    model_config = STRICT

    n: int = Field(ge=1)
    effective: float = Field(ge=1)
    share: float = Field(ge=0, le=1)

    @property
    def typical(self) -> float:
        """The share."""
        return self.share

    def figure(self, values: np.ndarray, effective: float) -> DriftFigure:
        """Compare flags ``(n,)``, which count as ``effective`` independent ones."""
        return share_figure(self.share, values, (self.effective, effective))

    def p_value(self, values: np.ndarray, effective: float) -> float:
        """Probability of a share as different as that of these flags when nothing has changed."""
        return share_p_value(self.share, float(np.mean(values)), (self.effective, effective))


class Profile(BaseModel):
    """The declared content of a profile.

    Attributes
    ----------
    model_sha256
        Of the model file that scored the images: scores of another model are not comparable.
    feature_version
        Of the code that measured them.
    n_images, n_groups
        Images, and groups of images that belong together (fields, stacks).
    distributions
        By quantity.
    unsure
        Share of the images that the model was unsure about.
    """

    model_config = STRICT

    # The number rises when a reader of older files would misread them.
    format: Literal["focus-picker drift profile 1"] = "focus-picker drift profile 1"
    model_sha256: str
    feature_version: str
    n_images: int = Field(ge=1)
    n_groups: int = Field(ge=1)
    distributions: dict[str, Distribution]
    unsure: Share

    def reference(self, name: str) -> Distribution | Share | None:
        """What is kept of a quantity; None for one that the profile does not know."""
        return self.unsure if name == UNSURE else self.distributions.get(name)

    def write(self, path: str | Path) -> None:
        """Write the profile as JSON, whole or not at all."""
        write_text(path, self.model_dump_json() + "\n")


def make_profile(
    values: Mapping[str, np.ndarray], groups: np.ndarray, *, model_sha256: str, feature_version: str
) -> Profile:
    """Make a profile of measured images.

    Parameters
    ----------
    values
        By quantity, ``(n,)`` each: numbers (NaN where unknown), and booleans for ``unsure``. A quantity that is known
        of fewer than ``FEWEST_IMAGES`` images is left out.
    groups
        ``(n,)``: which images belong together.
    model_sha256, feature_version
        As in :class:`Profile`.
    """
    distributions = {}
    for name, column in values.items():
        known = np.isfinite(column)
        if name != UNSURE and known.sum() >= FEWEST_IMAGES:
            distributions[name] = _distribution(rounded(column[known]), groups[known])
    flags = values[UNSURE].astype(float)
    return Profile(
        model_sha256=model_sha256,
        feature_version=feature_version,
        n_images=len(groups),
        n_groups=len(np.unique(groups)),
        distributions=distributions,
        unsure=Share(n=len(flags), effective=_short(effective_size(flags, groups)), share=float(flags.mean())),
    )


def _distribution(values: np.ndarray, groups: np.ndarray) -> Distribution:
    quantiles = rounded(np.quantile(values, np.linspace(0, 1, POINTS)))
    effective = _short(effective_size(values, groups))
    return Distribution(n=len(values), effective=effective, quantiles=tuple(quantiles.tolist()))


def _short(effective: float) -> float:
    return max(1.0, round(effective, 1))


def read_profile(path: str | Path) -> Profile:
    """Read a profile that ``cli.py drift --save-profile`` wrote.

    Raises
    ------
    InputError
        The file cannot be read or is not such a profile.
    """
    remedy = "make it with `cli.py drift REFERENCE --save-profile FILE`"
    return read_json(path, Profile, what="drift profile", fix=remedy)
