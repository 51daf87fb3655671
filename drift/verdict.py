"""From figures to words: which quantities moved, how far, and what that usually means."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import lgamma
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control, fisher_exact, kstwo

from focus_picker.drift.profile import FEWEST_GROUPS, FEWEST_IMAGES, UNSURE, Profile, Share
from focus_picker.drift.statistics import Sizes, effective_size, rounded
from focus_picker.features.measures import CUES, MEASURES

LEVELS = {"no drift": 0.0, "some drift": 0.1, "drift": 0.25}
"""Level -> the PSI from which it holds (Siddiqi 2006), where chance alone does not give more."""

SIGNIFICANT = 0.01  # adjusted p-value; 0.05 lets 2 to 6 % of halves of one data set drift, this at most 2 %

PROPORTIONAL = 0.05  # share by which two factors of change may differ and still count as one

FAMILIES = {
    "focus": "the images lie differently about focus: another range or start of the scan",
    "certainty": "other intervals: images unlike those of the training, or at another distance from focus",
    "light": "lamp, exposure, gain or background changed",
    "contrast": "stain strength, condenser aperture or the kind of cells changed",
    "colour": "stain, white balance or lamp colour changed",
    "sharpness": "distance from focus (if the score moved too), optics, camera noise or compression",
    "asymmetry": "side of focus (if the score moved too), aberrations, condenser or colour channels",
}
"""Kind of quantity -> what its drift usually means."""

IMAGE_FAMILIES = ("light", "contrast", "colour")  # they stay when only the focus differs (measured: docs/drift.md)
FEATURE_FAMILIES = ("sharpness", "asymmetry")

MAIN_QUANTITIES = {
    "score": "focus",
    "interval_width": "certainty",
    UNSURE: "certainty",
    "brightness": "light",
    "saturated": "light",
    "contrast": "contrast",
    "chroma": "colour",
}
"""What is not a feature -> its family."""


def feature_quantity(name: str) -> str:
    """Name a feature as a quantity: ``contrast`` is an image property too, so the measure gets another name."""
    return f"{name}_measure" if name in MAIN_QUANTITIES else name


FAMILY_OF = (
    MAIN_QUANTITIES
    | {feature_quantity(name): "sharpness" for name in MEASURES}
    | {feature_quantity(name): "asymmetry" for name in CUES}
)
"""Every quantity -> its family."""


@dataclass(frozen=True)
class QuantityDrift:
    """The declared row of ``drift.csv``.

    Attributes
    ----------
    quantity, family
        Name of the quantity, and its kind (a key of ``FAMILIES``).
    level
        How far it moved (a key of ``LEVELS``).
    psi, psi_chance, ks, n_new, effective_new
        As in :class:`drift.statistics.DriftFigure`.
    p_value
        Probability of so large a difference when nothing has changed: by the Kolmogorov-Smirnov statistic, for
        ``unsure`` by Fisher's exact test.
    p_adjusted
        The same with regard to the number of quantities that were tested.
    reference_typical, new_typical
        Medians; shares for ``unsure``.
    n_reference, effective_reference
        Numbers of reference images of which it is known, and of independent images that say as much.
    """

    quantity: str
    family: str
    level: str
    psi: float
    psi_chance: float
    ks: float
    p_value: float
    p_adjusted: float
    reference_typical: float
    new_typical: float
    n_reference: int
    n_new: int
    effective_reference: float
    effective_new: float

    @property
    def limit(self) -> float:
        """The PSI from which this quantity counts as moved."""
        return max(LEVELS["some drift"], self.psi_chance)


def compare(profile: Profile, values: Mapping[str, np.ndarray], groups: np.ndarray) -> list[QuantityDrift]:
    """Compare measured images with a reference; ``values`` and ``groups`` as in :func:`drift.profile.make_profile`.

    Returns
    -------
    list of QuantityDrift
        What moved most first. Quantities that the profile does not know, or that are known of too few images, are left
        out.
    """
    found = [row for name in FAMILY_OF if name in values and (row := _compare_one(profile, name, values[name], groups))]
    # Benjamini and Hochberg (1995, J. R. Stat. Soc. B 57:289): of those below 0.01, 1 % are false.
    adjusted = false_discovery_control([row["p_value"] for row in found])
    rows = [
        QuantityDrift(**row, level=level_of(row["psi"], row["psi_chance"], p), p_adjusted=float(p))
        for row, p in zip(found, adjusted, strict=True)
    ]
    return sorted(rows, key=lambda row: (-list(LEVELS).index(row.level), -row.psi))


def _compare_one(profile: Profile, name: str, column: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """Row of one quantity, still without regard to the others; empty where too little is known."""
    reference, known = profile.reference(name), np.isfinite(column)
    if reference is None or known.sum() < FEWEST_IMAGES or len(np.unique(groups[known])) < FEWEST_GROUPS:
        return {}
    values = rounded(column[known])
    figure = reference.figure(values, effective_size(values, groups[known]))
    sizes = reference.effective, figure.effective_new
    if isinstance(reference, Share):
        before, now = reference.share, float(values.mean())
        p_value = share_p_value(before, now, sizes)
    else:
        before, now = float(np.median(reference.quantiles)), float(np.median(values))
        p_value = ks_p_value(figure.ks, sizes)
    return asdict(figure) | {
        "quantity": name,
        "family": FAMILY_OF[name],
        "p_value": p_value,
        "reference_typical": before,
        "new_typical": now,
        "n_reference": reference.n,
        "effective_reference": reference.effective,
    }


def ks_p_value(ks: float, sizes: Sizes) -> float:
    """Probability of a Kolmogorov-Smirnov distance of at least ``ks`` when nothing has changed.

    As in ``scipy.stats.ks_2samp`` (Simard and L'Ecuyer 2011, J. Stat. Softw. 39:11), with effective numbers of images.
    The approximation goes to zero with complete separation, however few they are; it is not taken for less than the
    exact probability of that, ``2 n! m! / (n + m)!``.
    """
    n, m = (max(1.0, size) for size in sizes)
    separated = 2 * np.exp(lgamma(n + 1) + lgamma(m + 1) - lgamma(n + m + 1))
    return float(min(1.0, max(kstwo.sf(ks, max(1, round(n * m / (n + m)))), separated)))


def share_p_value(reference: float, new: float, sizes: Sizes) -> float:
    """Fisher's exact test of two shares, on effective counts rounded to whole images."""
    totals = np.maximum(1, np.round(sizes)).astype(int)
    counts = np.round(np.array([reference, new]) * totals).astype(int)
    return float(fisher_exact([counts, totals - counts]).pvalue)


def level_of(psi: float, psi_chance: float, p_adjusted: float) -> str:
    """The greatest level whose threshold is passed; none without a significant p-value."""
    if p_adjusted >= SIGNIFICANT:
        return "no drift"
    return [level for level, from_psi in LEVELS.items() if not from_psi or psi >= max(from_psi, psi_chance)][-1]


def verdict(rows: Sequence[QuantityDrift]) -> str:
    """Name the level of a whole comparison: that of the quantity that moved most."""
    return max((row.level for row in rows), key=list(LEVELS).index, default="no drift")


def moved_rows(rows: Sequence[QuantityDrift]) -> list[QuantityDrift]:
    """Rows that moved: those that people know by name first, then the features, each in the order given."""
    moved = [row for row in rows if row.level != "no drift"]
    return sorted(moved, key=lambda row: row.family in FEATURE_FAMILIES)


def conclusion(rows: Sequence[QuantityDrift]) -> str:
    """Say what the pattern of moved quantities usually means, and what to do."""
    moved = moved_rows(rows)
    families = {row.family for row in moved}
    changed = [row.quantity for row in moved if row.family in IMAGE_FAMILIES]
    if not moved:
        limits = sorted(f"{row.quantity} {row.limit:.2f}" for row in rows if row.quantity in ("score", "brightness"))
        return f"With so many images a change shows from a PSI of: {', '.join(limits)}."
    if changed:
        return (
            f"The images themselves changed ({', '.join(changed)}), and a moved score may be the model's error: remove "
            "the cause, or check the picks of a few stacks by eye before trusting the scores."
        )
    if "focus" in families:
        return (
            "The score moved; brightness, contrast and chroma did not: the images lie differently about focus, which "
            "is no fault of the model. If the scan was not changed, look at the stage and the optics."
        )
    if "certainty" in families:
        return (
            "The model is differently sure of images of the same score, brightness and colour: look at those with the "
            "widest intervals."
        )
    return (
        "Sharpness moved; score, brightness and colour did not: optics (dirt, oil, cover glass), camera noise, "
        "sharpening or compression changed."
    )


def as_text(rows: Sequence[QuantityDrift], shown: int = 8) -> str:
    """Verdict, what moved most, and what that usually means, as lines of text."""
    moved = moved_rows(rows)
    lines = [headline(rows)]
    lines += [
        f"  {row.quantity:<26}{row.reference_typical:>9.4g} -> {row.new_typical:<9.4g}  "
        f"PSI {row.psi:5.2f} (limit {row.limit:.2f})  KS {row.ks:.2f}"
        for row in moved[:shown]
    ]
    lines += [f"  and {len(moved) - shown} more"] if len(moved) > shown else []
    lines += ["What this usually means:"] if moved else []
    for family, meaning in (FAMILIES | _same_cause(rows)).items():
        if names := [row.quantity for row in moved if row.family == family]:
            lines.append(f"  {_listed(names, 2)}: {meaning}")
    return "\n".join([*lines, conclusion(rows)])


def _same_cause(rows: Sequence[QuantityDrift]) -> dict[str, str]:
    """Other meanings of contrast and colour where they changed in proportion to brightness: light scales all three."""
    factor = {row.quantity: row.new_typical / row.reference_typical for row in rows if row.reference_typical > 0}
    light = factor.get("brightness", np.nan)
    both = np.array([factor.get(name, np.nan) for name in ("contrast", "chroma")])
    if not (light > 0 and np.allclose(both / light, 1, rtol=0, atol=PROPORTIONAL)):
        return {}
    return dict.fromkeys(
        ("contrast", "colour"), f"in proportion to brightness (factor {light:.2f}), so by the same cause"
    )


def headline(rows: Sequence[QuantityDrift]) -> str:
    """The verdict and what moved most in one line."""
    moved = moved_rows(rows)
    names = f" ({_listed([row.quantity for row in moved], 4)})" if moved else ""
    return f"{verdict(rows)}: {len(moved)} of {len(rows)} quantities moved{names}"


def _listed(names: Sequence[str], at_most: int) -> str:
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more
