"""Make the shipped baseline again: `python -m training.make_default_baseline --crops ../shared/data/wbc_crops`.

Two minutes on two cores where the data of `training.make_default` are there, ten where they have to be simulated first.
Grows trees on the handcrafted features of the same stacks that the default network learned from, calibrates intervals
and `pick-focus` on the same validation fields, tests on the same unseen crops, and writes `models/baseline.txt`.
"""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from focus_picker.dataset.labels import read_labels, read_truth, true_scores
from focus_picker.dataset.simulation.instrument import known_instruments
from focus_picker.features.baseline import Baseline
from focus_picker.features.table import feature_table
from focus_picker.models import DEFAULT_BASELINE
from focus_picker.training.make_default import SEED, is_validation, metrics_row, simulate, write_metrics

SCORE_PER_SLICE = 0.2
# Few large trees at a high rate: 0.37 MB. Validation MAE 0.118; 1,991 trees of 15 leaves at a rate of 0.05, 3.1 MB,
# have 0.116, and 120 of 31 leaves 0.120.
TREES, LEAVES, LEARNING_RATE = 60, 63, 0.2


def main(
    crops: Annotated[Path, typer.Option(help="Folder of in-focus crops, 0.1 um a pixel.")],
    work: Annotated[Path, typer.Option(help="Folder for data and feature tables.")] = Path("data/default"),
    jobs: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Simulate what is not there yet, measure, train, test, and write models/baseline.txt."""
    simulate(crops, work, jobs)
    parts = [load(work / name, work, jobs) for name in ("real", "drawn")]
    labels, features = (pd.concat([part[kind] for part in parts], ignore_index=True) for kind in (0, 1))
    baseline = train(labels, features)
    baseline.save(DEFAULT_BASELINE, calibrated=False)  # measured in simulation, which is no user's microscope
    results = pd.DataFrame([test(baseline, name, *load(work / name, work, jobs)) for name in known_instruments()])
    write_metrics(results)
    print(results.to_string(index=False))


def load(dataset: Path, work: Path, jobs: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels with ``true_score``, and the feature table in the same order."""
    labels = read_labels(dataset)
    labels["true_score"] = true_scores(labels, read_truth(dataset))
    labels["field"] = dataset.name + labels["field"]  # fields of two sets are different fields
    paths = [dataset / path for path in labels["image_path"]]
    return labels, feature_table(paths, jobs=jobs, cache=work / "feature_cache" / dataset.name)


def train(labels: pd.DataFrame, features: pd.DataFrame) -> Baseline:
    """Grow and calibrate on the true scores; the validation fields are those of the default network."""
    validation = labels["field"].map(is_validation).to_numpy()
    score = labels["true_score"].to_numpy()
    baseline = Baseline(num_leaves=LEAVES, learning_rate=LEARNING_RATE, max_trees=TREES, seed=SEED)
    return baseline.fit(
        features[~validation],
        score[~validation],
        validation=(features[validation], score[validation]),
        score_per_slice=SCORE_PER_SLICE,
        fields=labels["field"][~validation],
    )


def test(baseline: Baseline, name: str, labels: pd.DataFrame, features: pd.DataFrame) -> dict[str, Any]:
    """Metrics on one instrument against truth, the columns of the default network's ``metrics.csv``."""
    return metrics_row(
        "baseline", name, labels["true_score"].to_numpy(), baseline.judge_features(features), SCORE_PER_SLICE
    )


if __name__ == "__main__":
    typer.run(main)
