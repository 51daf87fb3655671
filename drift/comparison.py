"""Two sets of images held against each other: what moved, in words, as a table, as JSON."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import atomic_path, sha256_of
from focus_picker.drift.profile import Profile, make_profile, read_profile
from focus_picker.drift.samples import Sample, count_sentence, measure_sample
from focus_picker.drift.verdict import QuantityDrift, as_text, compare, conclusion, verdict
from focus_picker.features.table import feature_version
from focus_picker.stack_inference.loading import find_model


@dataclass(frozen=True)
class Comparison:
    """Outcome of a comparison.

    Attributes
    ----------
    profile, new
        The reference, and the new images.
    rows
        One row a quantity, what moved most first.
    problems
        One sentence for whatever is wrong with the reference or with single images.
    """

    profile: Profile
    new: Sample
    rows: list[QuantityDrift]
    problems: tuple[str, ...]

    def as_text(self) -> str:
        """Verdict, what moved most, what that usually means, and the numbers of images, as lines of text."""
        reference = count_sentence(self.profile.n_images, self.profile.n_groups)
        return f"{as_text(self.rows)}\nnew: {self.new}; reference: {reference}"

    def as_json(self) -> dict[str, Any]:
        """Return the verdict and all rows as what JSON can hold."""
        return {
            "verdict": verdict(self.rows),
            "conclusion": conclusion(self.rows),
            "reference_images": self.profile.n_images,
            "reference_groups": self.profile.n_groups,
            "new_images": len(self.new.groups),
            "new_groups": self.new.n_groups,
            "new_unreadable": len(self.new.problems),
            "quantities": [asdict(row) for row in self.rows],
        }

    def write_table(self, output: str | Path) -> None:
        """Write ``drift.csv``, one row a quantity."""
        with atomic_path(output) as temporary:
            pd.DataFrame(self.rows).to_csv(temporary, index=False, float_format="%.6g")


def run_drift(reference: Path, new: Path, *, model: Path, group_by: str = "auto", jobs: int = 2) -> Comparison:
    """Compare the images below ``new`` with a reference.

    Parameters
    ----------
    reference
        Data set, folder of images or of stacks, or a profile that :func:`read_reference` made before.
    new
        Data set, folder of images or of stacks.
    model
        Model file that scores the images, or the run folder that holds it.
    group_by
        Which images count as one group (a key of ``samples.GROUPINGS``).
    jobs
        Number of processes that measure images.

    Raises
    ------
    InputError
        Nothing there, too few readable images or groups, no such model or grouping, or a profile made with another
        model. Single unreadable images are told in ``problems``.
    """
    profile, problems = read_reference(reference, model=model, group_by=group_by, jobs=jobs)
    sample = measure_sample(new, model=model, group_by=group_by, jobs=jobs)
    rows = compare(profile, sample.quantities, sample.groups)
    return Comparison(profile, sample, rows, (*problems, *sample.problems))


def read_reference(
    path: Path, *, model: Path, group_by: str = "auto", jobs: int = 2
) -> tuple[Profile, tuple[str, ...]]:
    """Read a profile, or make one of the images below ``path``; parameters and errors as in :func:`run_drift`.

    Also returns one sentence for whatever is wrong with the profile or with its images.
    """
    sha256 = sha256_of(find_model(model))
    if not path.is_file():
        sample = measure_sample(path, model=model, group_by=group_by, jobs=jobs)
        profile = make_profile(sample.quantities, sample.groups, model_sha256=sha256, feature_version=feature_version())
        return profile, sample.problems
    profile = read_profile(path)
    if profile.model_sha256 != sha256:
        raise InputError(f"{path} was made with another model than {model}; give that one, or make the profile again")
    if profile.feature_version != feature_version():
        return profile, (f"{path} was made by another version of the feature code: features may differ for that",)
    return profile, ()
