"""The reference that later images are held against: a small JSON file of quantiles and numbers, no images.

``cli.py drift --save-profile`` writes it; ``cli.py drift`` and the service read it. Light enough for a service to work
out the drift of its latest images at every scrape.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, field_validator

from focus_picker.dataset.declared import read_json
from focus_picker.dataset.files import write_text
from focus_picker.drift.statistics import (
    DriftFigure,
    binned_shares,
    effective_size,
    ks_statistic,
    population_stability,
    rounded,
)

UNSURE = "unsure"  # the one quantity that is a share and not a distribution
POINTS = 81  # quantiles of each quantity: the deciles are among them, and the file stays below 100 KB
FEWEST_IMAGES, FEWEST_GROUPS = 30, 5
FEWEST_RECENT = 30  # values below which a rolling figure says nothing
STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Distribution(BaseModel):
    """What is kept of a number.

    Attributes
    ----------
    n
        Number of reference images of which it is known.
    effective
        Number of independent images that say as much as these; see :func:`drift.statistics.effective_size`.
    quantiles
        ``POINTS`` evenly spaced ones, from the least to the greatest value.
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

    def figure(self, values: np.ndarray, effective: float) -> DriftFigure:
        """Compare finite ``values`` ``(n,)``, which say as much as ``effective`` independent ones."""
        values, sizes = rounded(values), (self.effective, effective)
        psi = population_stability(*binned_shares(self.quantiles, values, sizes), sizes)
        return DriftFigure(*psi, ks_statistic(self.quantiles, values), len(values), effective)


class Share(BaseModel):
    """What is kept of a property that an image has or has not: the share that has it, and as in ``Distribution``."""

    model_config = STRICT

    n: int = Field(ge=1)
    effective: float = Field(ge=1)
    share: float = Field(ge=0, le=1)

    def figure(self, values: np.ndarray, effective: float) -> DriftFigure:
        """Compare ``values`` ``(n,)`` of 0 and 1, which say as much as ``effective`` independent ones."""
        share = float(np.mean(values))
        reference, new = np.array([1 - self.share, self.share]), np.array([1 - share, share])
        psi = population_stability(reference, new, (self.effective, effective))
        return DriftFigure(*psi, abs(share - self.share), len(values), effective)


class Profile(BaseModel):
    """The declared content of a profile.

    Attributes
    ----------
    format
        Its number rises when a reader of older files would misread them.
    model_sha256
        SHA-256 of the model file that scored the images: scores of another model are not comparable.
    feature_version
        Fingerprint of the code that measured the features.
    n_images, n_groups
        Numbers of images, and of groups of images that belong together (fields, stacks).
    distributions
        What is kept of each quantity but one.
    unsure
        Share of the images that the model was unsure about.
    """

    model_config = STRICT

    format: Literal["focus-picker drift profile 1"] = "focus-picker drift profile 1"
    model_sha256: str
    feature_version: str
    n_images: int = Field(ge=1)
    n_groups: int = Field(ge=1)
    distributions: dict[str, Distribution] = Field(min_length=1)
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
        One array ``(n,)`` for each quantity: numbers (NaN where unknown), and booleans for ``unsure``. A quantity that
        is known of fewer than ``FEWEST_IMAGES`` images is left out.
    groups
        Label of the group that each image belongs to ``(n,)``.
    model_sha256, feature_version
        As in :class:`Profile`.
    """
    distributions = {}
    for name, column in values.items():
        known = np.isfinite(column)
        if name != UNSURE and known.sum() >= FEWEST_IMAGES:
            found = rounded(column[known])
            quantiles = rounded(np.quantile(found, np.linspace(0, 1, POINTS)))
            distributions[name] = Distribution(**_sizes(found, groups[known]), quantiles=tuple(quantiles.tolist()))
    flags = values[UNSURE].astype(float)
    return Profile(
        model_sha256=model_sha256,
        feature_version=feature_version,
        n_images=len(groups),
        n_groups=len(np.unique(groups)),
        distributions=distributions,
        unsure=Share(**_sizes(flags, groups), share=float(flags.mean())),
    )


def _sizes(values: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    return {"n": len(values), "effective": max(1.0, round(effective_size(values, groups), 1))}


def read_profile(path: str | Path) -> Profile:
    """Read a profile that ``cli.py drift --save-profile`` wrote; InputError where it is not one."""
    remedy = "make it with `cli.py drift REFERENCE --save-profile FILE`"
    return read_json(path, Profile, what="drift profile", fix=remedy)


def rolling_drift(profile: Profile, recent: Mapping[str, ArrayLike]) -> dict[str, DriftFigure]:
    """Compare the latest images with a reference, whatever quantities of them were kept.

    Parameters
    ----------
    profile
        The saved reference.
    recent
        The latest values of each quantity, ``(n,)`` each; 0 or 1 for ``unsure``. NaN is left out.

    Returns
    -------
    dict
        By quantity, in the order given; left out are those that the profile does not know and those of fewer than
        ``FEWEST_RECENT`` known values. Which of the latest images belong together is not known; they are taken to be as
        alike as those of the reference.
    """
    figures = {}
    for name, given in recent.items():
        values = np.asarray(given, dtype=np.float64)
        values = values[np.isfinite(values)]
        reference = profile.reference(name)
        if reference is not None and len(values) >= FEWEST_RECENT:
            figures[name] = reference.figure(values, max(1.0, len(values) * reference.effective / reference.n))
    return figures
