"""A run's result in a few lines for the terminal."""

from typing import Any


def summarise(metrics: dict[str, Any]) -> str:
    """Say what a run reached on its test fields, and beside it what the controls reached.

    Parameters
    ----------
    metrics
        Contents of ``metrics.json``.
    """
    test = metrics["test"]
    lines = [
        f"test: {test['n_images']:.0f} images of {test['n_fields']} fields",
        f"  MAE {test['mae']:.4f} (median {test['median_error']:.4f}, p90 {test['p90_error']:.4f}); "
        f"a perfect model would get {test['label_floor']:.4f} against these labels",
        f"  sign right beyond one slice {_percent(test['sign_accuracy'])}; "
        f"90 % intervals hold {_percent(test['coverage'])}",
    ]
    if test.get("mae_truth") is not None:
        lines.insert(2, f"  MAE against truth {test['mae_truth']:.4f}")
    for name, control in metrics.get("controls", {}).items():
        lines.append(f"  {name}: MAE {control['mae']:.4f}, sign {_percent(control['sign_accuracy'])}")
    return "\n".join(lines)


def summarise_epoch(network: str, row: dict[str, float]) -> str:
    """One line for a finished epoch, with the time that its phase will take at most."""
    left = row["seconds"] * (row["epochs"] - row["epoch"] - 1)
    return (
        f"{network}, epoch {row['epoch'] + 1:.0f} of {row['epochs']:.0f}: loss {row['loss']:.3f}, "
        f"validation MAE {row['validation_mae']:.4f}, {left // 60:.0f}:{left % 60:02.0f} left"
    )


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.1f} %"
