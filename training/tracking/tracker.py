"""What a command tells about its run with ``--track``; without it nothing of MLflow is imported.

Where: the server or database of ``MLFLOW_TRACKING_URI``, else ``mlflow.db`` (SQLite) and ``mlruns/`` in the current
folder. A store that cannot be used is an error before the training begins; what goes wrong with it later is one
warning, and never costs the trained run. docs/tracking.md says what is logged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from focus_picker.training.tracking.silent import Tracker
from focus_picker.training.tracking.store import open_store


@contextmanager
def tracked(command: str, output: Path, enabled: bool, **options: Any) -> Iterator[Tracker]:
    """Track what happens within the block as one MLflow run.

    The run ends as FINISHED, as KILLED after Ctrl-C, and as FAILED after any other exception, which is raised on.

    Parameters
    ----------
    command
        Name of the command, a key of ``mlflow_run.ARTIFACTS``.
    output
        Folder that the command writes; the run is named after it.
    enabled
        Whether to track; False yields a tracker that does nothing, and imports nothing.
    options
        Settings of the command, logged at once so that a failed run tells them too.

    Raises
    ------
    InputError
        The store cannot be reached or written.
    ModuleNotFoundError
        MLflow is not installed.
    """
    if not enabled:
        yield Tracker()
        return
    store = open_store()  # before the next line: MLflow must be told to be silent before it is imported
    from focus_picker.training.tracking.mlflow_run import start

    tracker = start(store, command, output, options)
    try:
        yield tracker
    except KeyboardInterrupt:
        tracker.close("KILLED")
        raise
    except BaseException as error:
        tracker.close("FAILED", f"{type(error).__name__}: {error}")
        raise
    tracker.close("FINISHED")


def finished_epochs(run: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield network and row of the epochs that an interrupted training in ``run`` has behind it, in their order."""
    from focus_picker.deep import training

    for network in ("teacher", "student"):
        for phase in ("head", "all"):
            for row in training.finished_epochs(run / "checkpoints" / network / phase):
                yield network, row
