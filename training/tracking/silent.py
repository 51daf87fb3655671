"""What a command may tell about its run, and the tracker that passes over it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from focus_picker.evaluation.compare import Comparison


class Tracker:
    """What a command tells about its run. This one, for a command without ``--track``, does nothing."""

    def log_epochs(self, rows: Iterable[tuple[str, Mapping[str, float]]]) -> None:
        """Log finished epochs: names of networks, and rows as ``history.csv`` has them."""

    def log_run(self, run: Path) -> None:
        """Log what a finished training left in its run folder."""

    def log_comparison(self, comparison: "Comparison", runs: Sequence[Path], output: Path) -> None:
        """Log a comparison of ``runs`` that was written to ``output``."""
