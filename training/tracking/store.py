"""Where runs are logged: MLflow, imported and checked so that trouble shows before the work begins."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from focus_picker.dataset.errors import InputError

EXPERIMENT = "focus-picker"  # unless MLFLOW_EXPERIMENT_NAME says otherwise
DEFAULT_STORE = "sqlite:///mlflow.db"
SETTINGS = {  # MLflow's own environment variables; one that the user has set stays as it is
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # its 7 would wait four minutes for a server that is not there
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
DATABASES = {  # what MLflow can use -> how its driver calls the longest wait for a connection
    "sqlite": "timeout",
    "postgresql": "connect_timeout",
    "mysql": "connect_timeout",
    "mssql": "timeout",
}
CONNECT_SECONDS = 10
LOCAL_PAGES = "http://127.0.0.1:5000"  # where `mlflow ui` serves unless told otherwise
VIEW = "?workflowType=machine_learning"  # MLflow 3 opens its pages for language models otherwise


@dataclass(frozen=True)
class Store:
    """An MLflow store that answered: its address, and the experiment that runs go to."""

    address: str
    experiment_id: str

    def where_to_look(self, run_id: str) -> str:
        """Tell where a run is to be seen: its page on a server, for a database after the command that serves it."""
        shown, served = without_password(self.address), self.address.startswith("http")
        page = f"{shown.rstrip('/') if served else LOCAL_PAGES}/#/experiments/{self.experiment_id}/runs/{run_id}{VIEW}"
        return page if served else f"mlflow ui --backend-store-uri {shown}, then {page}"


def open_store() -> Store:
    """Make the store of ``MLFLOW_TRACKING_URI``, else the one in the current folder, the one that MLflow logs to.

    Raises
    ------
    InputError
        The store cannot be reached or written.
    ModuleNotFoundError
        MLflow is not installed.
    """
    mlflow = import_mlflow()
    address = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    with must_work(address):
        check_database(address)
        mlflow.set_tracking_uri(address)
        return Store(address, mlflow.set_experiment(experiment).experiment_id)


@contextmanager
def must_work(address: str) -> Iterator[None]:
    """Make an InputError of whatever goes wrong with the store."""
    try:
        yield
    except Exception as error:  # of MLflow, SQLAlchemy, a database driver, or the client of a remote file store
        raise InputError(
            f"cannot track in {without_password(address)} ({reason(error)}); put that right, name another store in "
            "MLFLOW_TRACKING_URI, or leave --track out"
        ) from error


def import_mlflow() -> ModuleType:
    """Import MLflow so that it reports to nobody and keeps its log lines to itself."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    for variable, value in SETTINGS.items():
        os.environ.setdefault(variable, value)
    import mlflow

    for library in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(library).setLevel(logging.ERROR)
    return mlflow


def check_database(store: str) -> None:
    """Open a database once, SQLite for writing; raise what goes wrong. MLflow itself would try for two minutes."""
    kind = re.split(r"[+:]", store, maxsplit=1)[0]
    if kind not in DATABASES:
        return
    import sqlalchemy

    url = sqlalchemy.make_url(store)
    if kind == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    wait = {DATABASES[kind]: CONNECT_SECONDS}
    engine = sqlalchemy.create_engine(url, connect_args=wait, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        if kind == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")


def reason(error: BaseException) -> str:
    """Return the first line of what lies at the bottom of an exception: MLflow wraps it in several layers."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return without_password(lines[0])[:200]


def without_password(text: str) -> str:
    """Hide user and password of addresses."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)
