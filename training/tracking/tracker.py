"""Runs logged to MLflow for those who ask for it with ``--track``; without it nothing of MLflow is imported.

Where: the server or database of ``MLFLOW_TRACKING_URI``, else ``mlflow.db`` (SQLite) and ``mlruns/`` in the current
folder. A store that cannot be used is an error before the training begins; what goes wrong with it later is one
warning, and never costs the trained run. docs/tracking.md says what is logged.
"""

import json
import math
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from focus_picker.evaluation.runs import environment, read_run
from focus_picker.evaluation.summary import summarise
from focus_picker.training.tracking.store import must_work, open_store, reason

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from focus_picker.evaluation.compare import Comparison

# What of the output folder is logged, by command: folder among the artifacts -> names. Files and not MLflow's model
# flavours, whose log_model pickles, takes seconds, and would drop the side file that scoring needs.
ARTIFACTS: dict[str, dict[str, tuple[str, ...]]] = {
    "baseline": {
        "model": ("baseline.txt", "baseline.json", "stack_calibration.json"),
        "pictures": ("importance.png", "predicted.png", "error_by_score.png", "sign_by_score.png"),
        "tables": ("predictions.csv", "metrics.json", "config.json", "environment.json"),
    },
    "train-cnn": {
        "model": ("focus_model*", "stack_calibration.json", "best_model.h5", "teacher.keras"),
        "pictures": ("loss_curve.png", "predicted.png"),
        "tables": ("history.csv", "predictions.csv", "metrics.json", "config.json", "environment.json"),
    },
    "compare": {"pictures": ("compare.png",), "tables": ("compare.md", "compare.csv")},
}

# Limits of MLflow servers, older ones too; config.json and metrics.json are logged whole beside.
NAME_LENGTH, PARAM_LENGTH, TAG_LENGTH, DIGEST_LENGTH, BATCH = 250, 500, 5000, 36, 100
NOTE = "mlflow.note.content"  # shown as the run's description
REST_SECONDS = 60  # without an attempt after a failed one: a silent server must not slow every epoch
BIN_EDGES = {"from_slices", "to_slices"}
NOT_FIGURES = {"epoch", "epochs", "phase"}  # of an epoch's row: its step tells them


class Value(NamedTuple):
    """One entry of a nested dictionary: its path as a name that MLflow takes, and its step on an x axis."""

    name: str
    value: Any
    step: int = 0


class Tracker:
    """What a command tells about its run. This one, for a command without ``--track``, does nothing."""

    def log_epochs(self, rows: Iterable[tuple[str, Mapping[str, float]]]) -> None:
        """Log finished epochs: names of networks, and rows as ``history.csv`` has them."""

    def log_run(self, run: Path) -> None:
        """Log what a finished training left in its run folder."""

    def log_comparison(self, comparison: "Comparison", runs: Sequence[Path], output: Path) -> None:
        """Log a comparison of ``runs`` that was written to ``output``."""


@contextmanager
def tracked(command: str, output: Path, enabled: bool, **options: Any) -> Iterator[Tracker]:
    """Track what happens within the block as one MLflow run.

    The run ends as FINISHED, as KILLED after Ctrl-C, and as FAILED after any other exception, which goes on its way.

    Parameters
    ----------
    command
        Key of ``ARTIFACTS``.
    output
        Folder that the command writes; names the run.
    enabled
        False yields a tracker that does nothing, and imports nothing.
    options
        Settings of the command, logged at once so that a failed run tells them too.

    Raises
    ------
    InputError
        MLflow is not installed, or the store cannot be reached or written.
    """
    if not enabled:
        yield Tracker()
        return
    tracker = start(command, output, options)
    try:
        yield tracker
    except KeyboardInterrupt:
        tracker.close("KILLED")
        raise
    except BaseException as error:
        tracker.close("FAILED", f"{type(error).__name__}: {error}")
        raise
    tracker.close("FINISHED")


def start(command: str, output: Path, options: Mapping[str, Any]) -> "MlflowTracker":
    """Begin an MLflow run and write to it all that is known; InputError when that fails in any way."""
    store = open_store()
    title = f"{command} {output.resolve().name}"
    tags = {"command": command, "mlflow.source.name": f"cli.py {command}", "mlflow.source.type": "LOCAL"}
    with must_work(store.address):
        run_id = store.client.create_run(store.experiment_id, run_name=title, tags=tags).info.run_id
        tracker = MlflowTracker(store.client, run_id, command, store.where_to_look(run_id))
        try:
            tracker.log_start(options)
        except BaseException:
            with suppress(Exception):
                store.client.set_terminated(run_id, "FAILED")
            raise
    return tracker


class MlflowTracker(Tracker):
    """Logs to one MLflow run; after :meth:`log_start` no trouble of MLflow's is raised."""

    def __init__(self, client: "MlflowClient", run_id: str, command: str, where: str) -> None:
        self.client, self.run_id, self.command, self.where = client, run_id, command, where
        self.epochs: dict[str, int] = {}  # of each network, all phases together, as loss_curve.png counts them
        self.waiting: list[tuple[Value, int]] = []  # metrics not yet sent, with their time in milliseconds
        self.rest_until = -math.inf
        self.warned = self.lost = False

    def log_start(self, options: Mapping[str, Any]) -> None:
        """Log options and environment; raise what goes wrong."""
        about = environment()
        self._write(params=flattened({"option": options, "environment": about}))
        # Also shows before the training whether files can be stored: that may be another server than the database.
        self.client.log_dict(self.run_id, about, "tables/environment.json")

    def log_epochs(self, rows: Iterable[tuple[str, Mapping[str, float]]]) -> None:
        """Log epochs as metrics ``NETWORK/column``; what cannot be sent now waits for a later attempt."""
        for network, row in rows:
            step = self.epochs[network] = self.epochs.get(network, 0) + 1
            figures = {name: value for name, value in row.items() if name not in NOT_FIGURES}
            self.waiting += stamped(value._replace(step=step) for value in flattened({network: figures}))
        if time.monotonic() >= self.rest_until:
            self._send_waiting()

    def log_run(self, run: Path) -> None:
        """Log ``config.json`` as parameters, ``metrics.json`` as metrics and tags, and the files."""
        with self._no_trouble():
            read = read_run(run)
            self._write(params=flattened(read.config))
            self._log_data(read.config)
            self._log_figures(read.metrics)
            self._write(tags=[Value(NOTE, f"```\n{summarise(read.metrics)}\n```")])
            self._log_files(run)

    def log_comparison(self, comparison: "Comparison", runs: Sequence[Path], output: Path) -> None:
        """Log the table as metrics ``column/run`` and as the run's description, and the files."""
        from focus_picker.evaluation.compare import to_markdown

        with self._no_trouble():
            columns = comparison.table.set_index("name").drop(columns="is_run").astype(float)
            self._log_data(read_run(runs[0]).config)
            self._log_figures({name: column.dropna().to_dict() for name, column in columns.items()})
            self._write(tags=[Value(NOTE, to_markdown(comparison))])
            self._log_files(output)

    def close(self, status: str, problem: str = "") -> None:
        """End the run as ``status``, and say on stdout where it is to be seen."""
        self._send_waiting()
        with self._no_trouble():
            if problem:
                self._write(tags=[Value("error", problem)])
            self.client.set_terminated(self.run_id, status)
        gaps = " (with gaps)" if self.waiting or self.lost else ""
        print(f"tracked run{gaps}: {self.where}", flush=True)

    def _send_waiting(self) -> None:
        lost = self.lost
        with self._no_trouble():
            self._write(metrics=self.waiting)
            self.waiting = []
        self.lost = lost  # what could not be sent is still waiting

    def _log_data(self, config: Mapping[str, Any]) -> None:
        """Log which data set it was, as MLflow's kind of input and as the tags by which runs on it are found."""
        from mlflow.entities import Dataset, DatasetInput

        name, fingerprint = (str(config.get(key, "unknown")) for key in ("dataset", "dataset_fingerprint"))
        data = Dataset(name, fingerprint[:DIGEST_LENGTH], source_type="local", source=json.dumps({"uri": name}))
        self.client.log_inputs(self.run_id, datasets=[DatasetInput(data)])
        self._write(tags=[Value("dataset", name), Value("dataset_fingerprint", fingerprint)])

    def _log_figures(self, figures: Mapping[str, Any]) -> None:
        values = list(flattened(figures))
        self._write(
            metrics=stamped(value for value in values if is_number(value.value)),
            tags=(value for value in values if isinstance(value.value, str | bool)),
        )

    def _log_files(self, folder: Path) -> None:
        for place, patterns in ARTIFACTS[self.command].items():
            for path in (path for pattern in patterns for path in sorted(folder.glob(pattern))):
                self.client.log_artifact(self.run_id, str(path), place)

    def _write(
        self,
        metrics: Iterable[tuple[Value, int]] = (),
        params: Iterable[Value] = (),
        tags: Iterable[Value] = (),
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        sent = [Metric(name, float(value), when, step) for (name, value, step), when in metrics]
        settings = [Param(name, as_text(value)[:PARAM_LENGTH]) for name, value, _ in params]
        words = [RunTag(name, as_text(value)[:TAG_LENGTH]) for name, value, _ in tags]
        for i in range(0, max(len(sent), len(settings), len(words)), BATCH):
            part = slice(i, i + BATCH)
            self.client.log_batch(self.run_id, metrics=sent[part], params=settings[part], tags=words[part])

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


def finished_epochs(run: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield network and row of the epochs that an interrupted training in ``run`` has behind it, in their order.

    From the histories in its checkpoints (``deep.training``), of teacher and student as in ``history.csv``.
    """
    for network in ("teacher", "student"):
        for phase in ("head", "all"):
            path = run / "checkpoints" / network / phase / "checkpoint.npz"
            if path.is_file():
                with np.load(path, allow_pickle=False) as saved:
                    yield from ((network, row) for row in json.loads(str(saved["history"])))


def flattened(values: Mapping[str, Any], path: tuple[str, ...] = (), step: int = 0) -> Iterator[Value]:
    """Walk a nested dictionary: names joined by ``/``, the entries of a list of dictionaries as steps."""
    for key, value in values.items():
        here = (*path, clean(str(key)))
        if isinstance(value, dict):
            yield from flattened(value, here, step)
        elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
            for index, entry in enumerate(value):
                inside = {name: item for name, item in entry.items() if name not in BIN_EDGES}
                # A bin by distance from focus is drawn at its first whole slice, as in error_by_score.png.
                yield from flattened(inside, here, math.ceil(entry.get("from_slices", index)))
        else:
            yield Value("/".join(here)[:NAME_LENGTH], value, step)


def clean(key: str) -> str:
    """Make one part of a name that MLflow takes on every system: words, dots, dashes, single spaces."""
    text = key.replace("%", " percent").replace("/", "-")
    text = " ".join(re.sub(r"[^\w.\- ]", " ", text).split())
    return text if text.strip(".") else "_"  # a name is also a path: no empty part, no ".."


def is_number(value: Any) -> bool:
    """Tell whether MLflow takes a value as a metric."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def stamped(values: Iterable[Value]) -> list[tuple[Value, int]]:
    """Put the time of day in milliseconds beside each value."""
    now = int(1000 * time.time())
    return [(value, now) for value in values]


def as_text(value: Any) -> str:
    """Write a setting as on the command line; a list with commas."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
