"""A run's result in a few lines for the terminal."""

from collections.abc import Mapping
from typing import Any

from focus_picker.evaluation.run_metrics import Figures, RunMetrics


def summarise(metrics: RunMetrics | Mapping[str, Any]) -> str:
    """Say what a run reached on its test fields, and below it what the controls reached."""
    known = RunMetrics.model_validate(metrics)
    test = known.test
    lines = [
        f"test: {test.n_images} images of {test.n_fields} fields",
        f"  MAE {_errors(test)} (median {_score(test.median_error)}, p90 {_score(test.p90_error)}); "
        f"a perfect model would get {_score(test.label_floor)} against these labels",
        *([f"  MAE against truth {_score(test.mae_truth)}"] if test.mae_truth is not None else []),
        f"  sign right beyond one slice {_sign(test)}; 90 % intervals hold {_percent(test.coverage)}",
    ]
    for name, control in known.controls.items():
        lines.append(f"  {name}: MAE {_errors(control)}, sign {_percent(control.sign_accuracy)}")
    return "\n".join(lines)


def summarise_epoch(network: str, row: dict[str, float]) -> str:
    """One line for a finished epoch, with the time that its phase will take at most."""
    left = row["seconds"] * (row["epochs"] - row["epoch"] - 1)
    return (
        f"{network}, epoch {row['epoch'] + 1:.0f} of {row['epochs']:.0f}: loss {row['loss']:.3f}, "
        f"validation MAE {row['validation_mae']:.4f}, {left // 60:.0f}:{left % 60:02.0f} left"
    )


def _errors(figures: Figures) -> str:
    """The MAE, and that of predictions rounded to the labels' grid where they have one."""
    rounded = "" if figures.mae_rounded is None else f", rounded as the labels are {_score(figures.mae_rounded)}"
    return _score(figures.mae) + rounded


def _sign(figures: Figures) -> str:
    one_sided = "not told (no labels beyond one slice on both sides of focus)"
    return one_sided if figures.sign_accuracy is None else _percent(figures.sign_accuracy)


def _score(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.1f} %"
