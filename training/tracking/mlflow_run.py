"""One command as a run of MLflow: settings, epochs, figures and files through MLflow's own functions.

Imported by ``tracker.tracked`` alone, after ``store.open_store`` has made MLflow ready.
"""

import json
import math
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Dataset, DatasetInput

from focus_picker.evaluation.compare import Comparison, to_markdown
from focus_picker.evaluation.runs import environment, read_run
from focus_picker.evaluation.summary import summarise
from focus_picker.training.tracking.silent import Tracker
from focus_picker.training.tracking.store import Store, must_work, reason

# What of the output folder is logged, by command: folder among the artifacts -> names. Files and not MLflow's model
# flavours, whose log_model pickles, takes seconds, and would drop the side file that scoring needs.
ARTIFACTS: dict[str, dict[str, tuple[str, ...]]] = {
    "baseline": {
        "model": ("baseline.txt", "baseline.json"),
        "pictures": ("importance.png", "predicted.png", "error_by_score.png", "sign_by_score.png"),
        "tables": ("predictions.csv", "metrics.json", "config.json", "environment.json"),
    },
    "train-cnn": {
        "model": ("focus_model*", "best_model.h5", "teacher.keras"),
        "pictures": ("loss_curve.png", "predicted.png"),
        "tables": ("history.csv", "predictions.csv", "metrics.json", "config.json", "environment.json"),
    },
    "compare": {"pictures": ("compare.png",), "tables": ("compare.md", "compare.csv")},
}

NAME_LENGTH, DIGEST_LENGTH = 250, 36  # longer ones MLflow refuses; long values it cuts by itself
NOTE = "mlflow.note.content"  # shown as the run's description
REST_SECONDS = 60  # without an attempt after a failed one: a silent server must not slow every epoch
BIN_EDGES = {"from_slices", "to_slices"}
NOT_FIGURES = {"epoch", "epochs", "phase"}  # of an epoch's row: its step tells them


def start(store: Store, command: str, output: Path, options: Mapping[str, Any]) -> "MlflowTracker":
    """Begin an MLflow run and write to it all that is known; InputError when that fails in any way."""
    title = f"{command} {output.resolve().name}"
    tags = {"command": command, "mlflow.source.name": f"cli.py {command}", "mlflow.source.type": "LOCAL"}
    with must_work(store.address):
        # The client makes the run: start_run alone would also note the user's name and the git commit.
        run_id = mlflow.MlflowClient().create_run(store.experiment_id, run_name=title, tags=tags).info.run_id
        mlflow.start_run(run_id)
        tracker = MlflowTracker(command, store.where_to_look(run_id))
        try:
            tracker.log_start(options)
        except BaseException:
            with suppress(Exception):
                mlflow.end_run("FAILED")
            raise
    return tracker


class MlflowTracker(Tracker):
    """Logs to MLflow's active run; after :meth:`log_start` no trouble of MLflow's is raised."""

    def __init__(self, command: str, where: str) -> None:
        self.command, self.where = command, where
        self.epochs: dict[str, int] = {}  # of each network, all phases together, as loss_curve.png counts them
        # Figures, step and time in milliseconds of epochs that could not be sent: MLflow itself would drop them.
        self.waiting: list[tuple[dict[str, float], int, int]] = []
        self.rest_until = -math.inf
        self.warned = self.lost = False

    def log_start(self, options: Mapping[str, Any]) -> None:
        """Log options and environment; raise what goes wrong."""
        about = environment()
        log_params({"option": options, "environment": about})
        # Also shows before the training whether files can be stored: that may be another server than the database.
        mlflow.log_dict(about, "tables/environment.json")

    def log_epochs(self, rows: Iterable[tuple[str, Mapping[str, float]]]) -> None:
        """Log epochs as metrics ``NETWORK/column``; what cannot be sent now waits for a later attempt."""
        for network, row in rows:
            step = self.epochs[network] = self.epochs.get(network, 0) + 1
            figures = {f"{clean(network)}/{name}": value for name, value in row.items() if name not in NOT_FIGURES}
            self.waiting.append((figures, step, int(1000 * time.time())))
        if time.monotonic() >= self.rest_until:
            self._send_waiting()

    def log_run(self, run: Path) -> None:
        """Log ``config.json`` as parameters, ``metrics.json`` as metrics and tags, and the files."""
        with self._no_trouble():
            read = read_run(run)
            log_params(read.config)
            log_data(read.config)
            log_figures(read.metrics.model_dump(exclude_unset=True, exclude={"files_sha256"}))
            mlflow.set_tags({NOTE: f"```\n{summarise(read.metrics)}\n```"})
            self._log_files(run)

    def log_comparison(self, comparison: Comparison, runs: Sequence[Path], output: Path) -> None:
        """Log the table as metrics ``column/run`` and as the run's description, and the files."""
        with self._no_trouble():
            columns = comparison.table.set_index("name").drop(columns="is_run").astype(float)
            log_data(read_run(runs[0]).config)
            log_figures({name: column.dropna().to_dict() for name, column in columns.items()})
            mlflow.set_tags({NOTE: to_markdown(comparison)})
            self._log_files(output)

    def close(self, status: str, problem: str = "") -> None:
        """End the run as ``status``, and say on stdout where it is to be seen."""
        self._send_waiting()
        with self._no_trouble():
            if problem:
                mlflow.set_tags({"error": problem})
            mlflow.end_run(status)
        gaps = " (with gaps)" if self.waiting or self.lost else ""
        print(f"tracked run{gaps}: {self.where}", flush=True)

    def _send_waiting(self) -> None:
        lost = self.lost
        with self._no_trouble():
            while self.waiting:
                figures, step, when = self.waiting[0]
                mlflow.log_metrics(figures, step=step, timestamp=when)
                del self.waiting[0]
        self.lost = lost  # what could not be sent is still waiting

    def _log_files(self, folder: Path) -> None:
        for place, patterns in ARTIFACTS[self.command].items():
            for path in (path for pattern in patterns for path in sorted(folder.glob(pattern))):
                mlflow.log_artifact(str(path), place)

    @contextmanager
    def _no_trouble(self) -> Iterator[None]:
        """Keep what goes wrong with MLflow away from the command; the first time is one warning on stderr."""
        try:
            yield
        except Exception as error:  # whatever a server, a database or a network does: hours of training come first
            if not self.warned:
                print(f"warning: tracking has trouble ({reason(error)}); the command goes on", file=sys.stderr)
            self.warned = self.lost = True
            self.rest_until = time.monotonic() + REST_SECONDS


def log_params(values: Mapping[str, Any]) -> None:
    """Log nested settings as parameters."""
    mlflow.log_params({name: as_text(value) for name, value, _ in flattened(values)})


def log_figures(figures: Mapping[str, Any]) -> None:
    """Log nested figures: numbers as metrics, texts and flags as tags."""
    values = list(flattened(figures))
    by_step: dict[int, dict[str, float]] = defaultdict(dict)
    for name, value, step in values:
        if isinstance(value, int | float) and not isinstance(value, bool):
            by_step[step][name] = value
    for step, part in by_step.items():
        mlflow.log_metrics(part, step=step)
    mlflow.set_tags({name: value for name, value, _ in values if isinstance(value, str | bool)})


def log_data(config: Mapping[str, Any]) -> None:
    """Log which data set it was, as MLflow's kind of input and as the tags by which runs on it are found."""
    import mlflow

    name, fingerprint = (str(config.get(key, "unknown")) for key in ("dataset", "dataset_fingerprint"))
    # mlflow.log_input takes the data themselves or an address that they can be fetched from.
    data = Dataset(name, fingerprint[:DIGEST_LENGTH], source_type="local", source=json.dumps({"uri": name}))
    run = mlflow.active_run()
    assert run is not None
    mlflow.MlflowClient().log_inputs(run.info.run_id, datasets=[DatasetInput(data)])
    mlflow.set_tags({"dataset": name, "dataset_fingerprint": fingerprint})


def flattened(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any, int]]:
    """Walk a nested dictionary: names joined by ``/``, values, and steps that count the entries of a list."""
    for key, value in values.items():
        here = (*path, clean(str(key)))
        if isinstance(value, dict):
            yield from flattened(value, here)
        elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
            for index, entry in enumerate(value):
                # A bin by distance from focus is drawn at its first whole slice, as in error_by_score.png.
                step = math.ceil(entry.get("from_slices", index))
                inside = {name: item for name, item in entry.items() if name not in BIN_EDGES}
                yield from ((name, item, step) for name, item, _ in flattened(inside, here))
        else:
            yield "/".join(here)[:NAME_LENGTH], value, 0


def clean(key: str) -> str:
    """Make one part of a name that MLflow takes on every system: words, dots, dashes, single spaces."""
    text = key.replace("%", " percent").replace("/", "-")
    text = " ".join(re.sub(r"[^\w.\- ]", " ", text).split())
    return text if text.strip(".") else "_"  # a name is also a path: no empty part, no ".."


def as_text(value: Any) -> str:
    """Write a setting as on the command line; a list with commas."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
