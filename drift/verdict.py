"""From figures to words: which quantities moved, how much, and what that usually means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from focus_picker.drift.profile import FEWEST_GROUPS, FEWEST_IMAGES, Profile
from focus_picker.drift.statistics import UNSURE, adjusted, effective_size, rounded
from focus_picker.features.measures import CUES, MEASURES

LEVELS = {"no drift": 0.0, "some drift": 0.1, "drift": 0.25}
"""Level -> the PSI from which it holds (Siddiqi 2006), where chance alone does not give more."""

SIGNIFICANT = 0.01  # adjusted p-value; 0.05 lets 2 to 6 % of halves of one data set drift, this at most 2 %

PROPORTIONAL = 0.05  # how far two factors may differ and still count as one

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

IMAGE_FAMILIES = (
    "light",
    "contrast",
    "colour",
)  # they hold still when only the focus differs (measured: docs/drift.md)
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
        Name, and kind (a key of ``FAMILIES``).
    level
        A key of ``LEVELS``.
    psi, psi_chance, ks
        As in :class:`drift.statistics.DriftFigure`.
    p_value, p_adjusted
        Of the Kolmogorov-Smirnov statistic (``unsure``: Fisher's exact test), alone and among all quantities.
    reference_typical, new_typical
        Medians; shares for ``unsure``.
    n_reference, n_new, effective_reference, effective_new
        Images with a known value, and as how many independent ones they count.
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
    """Compare measured images with a reference.

    Parameters
    ----------
    profile
        The reference.
    values
        By quantity, ``(n,)`` each: numbers (NaN where unknown), booleans for ``unsure``.
    groups
        ``(n,)``: which images belong together.

    Returns
    -------
    list of QuantityDrift
        What moved most first. Quantities that the profile does not know, or that are known of too few images, are left
        out.
    """
    rows = [row for name in FAMILY_OF if name in values and (row := _compare_one(profile, name, values[name], groups))]
    p_adjusted = adjusted([row.p_value for row in rows])
    rows = [
        replace(row, p_adjusted=float(p), level=level_of(row.psi, row.psi_chance, p))
        for row, p in zip(rows, p_adjusted, strict=True)
    ]
    return sorted(rows, key=lambda row: (-list(LEVELS).index(row.level), -row.psi))


def _compare_one(profile: Profile, name: str, column: np.ndarray, groups: np.ndarray) -> QuantityDrift | None:
    """Row of one quantity, still without regard to the others; None where too little is known."""
    reference, known = profile.reference(name), np.isfinite(column)
    if reference is None or known.sum() < FEWEST_IMAGES or len(np.unique(groups[known])) < FEWEST_GROUPS:
        return None
    found = rounded(column[known])
    effective = effective_size(found, groups[known])
    moved, p_value = reference.figure(found, effective), reference.p_value(found, effective)
    return QuantityDrift(
        quantity=name,
        family=FAMILY_OF[name],
        level="no drift",
        psi=moved.psi,
        psi_chance=moved.psi_chance,
        ks=moved.ks,
        p_value=p_value,
        p_adjusted=p_value,
        reference_typical=reference.typical,
        new_typical=float(found.mean() if name == UNSURE else np.median(found)),
        n_reference=reference.n,
        n_new=moved.n,
        effective_reference=reference.effective,
        effective_new=moved.effective,
    )


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
            f"The images themselves changed ({', '.join(changed)}), and a moved score may be the model's error: mend "
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
        names = [row.quantity for row in moved if row.family == family]
        if names:
            lines.append(f"  {_listed(names, 2)}: {meaning}")
    return "\n".join([*lines, conclusion(rows)])


def _same_cause(rows: Sequence[QuantityDrift]) -> dict[str, str]:
    """Other meanings of contrast and colour where they changed in proportion to brightness: light scales all three."""
    names = ("brightness", "contrast", "chroma")
    factor = {row.quantity: row.new_typical / row.reference_typical for row in rows if row.reference_typical > 0}
    if not set(names) <= set(factor) or any(
        abs(factor[name] / factor["brightness"] - 1) > PROPORTIONAL for name in names
    ):
        return {}
    meaning = f"in proportion to brightness (factor {factor['brightness']:.2f}), so by the same cause"
    return {"contrast": meaning, "colour": meaning}


def headline(rows: Sequence[QuantityDrift]) -> str:
    """The verdict and what moved most in one line."""
    moved = moved_rows(rows)
    names = f" ({_listed([row.quantity for row in moved], 4)})" if moved else ""
    return f"{verdict(rows)}: {len(moved)} of {len(rows)} quantities moved{names}"


def _listed(names: Sequence[str], at_most: int) -> str:
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more
