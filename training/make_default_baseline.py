"""Make the shipped baseline again: `python -m training.make_default_baseline --crops ../shared/data/wbc_crops`.

Some minutes where the windows of `training.make_default` are there. Grows trees on the handcrafted features of the same
windows that the default network learned from, with the same stacks held back, tests on the same unseen crops, and
writes `models/baseline.txt`. It is there for `explain`, beside the network.
"""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from focus_picker.dataset.labels import read_labels, read_truth, true_scores
from focus_picker.dataset.simulation.instrument import known_instruments
from focus_picker.features.baseline import Baseline
from focus_picker.features.table import COLUMNS, feature_table
from focus_picker.models import DEFAULT_BASELINE
from focus_picker.training.default_data import SCORE_PER_SLICE, Windows
from focus_picker.training.make_default import (
    SEED,
    held_back,
    make_windows,
    metrics_row,
    simulated,
    write_metrics,
)

# Few large trees at a high rate: 0.4 MB; ten times as many bytes brought next to nothing.
TREES, LEAVES, LEARNING_RATE = 60, 63, 0.2


def main(
    crops: Annotated[Path, typer.Option(help="Folder of in-focus crops, 0.1 um a pixel.")],
    work: Annotated[Path, typer.Option(help="Folder of the shards.")] = Path("data/default"),
    stacks: Annotated[int, typer.Option(help="Stacks to simulate.")] = 10_000,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Simulate what is not there yet, measure, train, test, and write models/baseline.txt."""
    windows = make_windows(crops, work, stacks, jobs)
    baseline = train(windows, pd.DataFrame(windows.features, columns=list(COLUMNS)))
    baseline.save(DEFAULT_BASELINE, calibrated=False)  # measured in simulation, which is no user's microscope
    rows = [test(baseline, name, simulated(name, crops, work, jobs), jobs) for name in known_instruments()]
    results = pd.DataFrame(rows)
    write_metrics(results)
    print(results.to_string(index=False))


def train(windows: Windows, features: pd.DataFrame) -> Baseline:
    """Grow and calibrate on the true scores; the stacks held back are those of the default network."""
    validation = held_back(windows)
    baseline = Baseline(num_leaves=LEAVES, learning_rate=LEARNING_RATE, max_trees=TREES, seed=SEED)
    return baseline.fit(
        features[~validation],
        windows.score[~validation],
        validation=(features[validation], windows.score[validation]),
        score_per_slice=SCORE_PER_SLICE,
        fields=windows.stack[~validation],
    )


def test(baseline: Baseline, name: str, dataset: Path, jobs: int) -> dict[str, object]:
    """Metrics on one instrument against truth, the columns of the default network's ``metrics.csv``."""
    labels = read_labels(dataset)
    features = feature_table([dataset / path for path in labels["image_path"]], jobs=jobs)
    truth = true_scores(labels, read_truth(dataset)).to_numpy()
    return metrics_row("baseline", name, truth, baseline.judge_features(features), SCORE_PER_SLICE)


if __name__ == "__main__":
    typer.run(main)
