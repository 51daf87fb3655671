"""The submission: model, weights, training code and report in one zip that is checked by using it."""

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import cv2

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import atomic_path, sha256_of
from focus_picker.dataset.simulation.field import FieldPlan, simulate_field
from focus_picker.dataset.simulation.instrument import load_instrument
from focus_picker.evaluation.runs import METRICS, read_run

ROOT = Path(__file__).parents[1]
MODEL = "focus_model.tflite"
RUN_FILES = {  # where it lies in the run folder -> where it lies in the zip
    MODEL: MODEL,
    "focus_model.json": "focus_model.json",
    "best_model.h5": "best_model.h5",
    METRICS: METRICS,
    "history.csv": "history.csv",
    "loss_curve.png": "results/loss_curve.png",
}
LEFT_OUT = {"tests", "benchmarks", "__pycache__"}  # of conf and the folders of Python modules
PYTHON_FILES = ("__init__.py", "cli.py", "train.py")
SINGLE_FILES = (*PYTHON_FILES, "pyproject.toml", "requirements.txt", "report.md", "README.md", "LICENSE")
SAMPLE = "sample.jpg"
CHECK_SECONDS = 120
# The command, by the folder's own cli.py; fails where a module of ours came from elsewhere, as if installed.
CHECK = """
import sys
from pathlib import Path
from cli import main
code = main(sys.argv[1:])
ours = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "focus_picker"]
foreign = [file for file in ours if not Path(file).resolve().is_relative_to(Path.cwd())]
sys.exit(f"{foreign[0]} ran in place of its own code" if foreign else code)
"""


def package_run(run: Path, name: str, output: Path) -> list[str]:
    """Write the submission of a finished ``train-cnn`` run.

    Parameters
    ----------
    run
        Run folder.
    name
        Folder name inside the zip.
    output
        Zip file to write; appears only when the check passed.

    Returns
    -------
    list of str
        Names in the zip.

    Raises
    ------
    InputError
        The run is not finished, a file is of another run, or the unpacked submission does not score the sample image.
    """
    if missing := [file for file in RUN_FILES if not (run / file).is_file()]:
        raise InputError(f"{run} lacks {', '.join(missing)}; give the folder of a finished train-cnn run")
    if missing := [file for file in SINGLE_FILES if not (ROOT / file).is_file()]:
        raise InputError(f"{ROOT} lacks {', '.join(missing)}; run package from the project's checkout")
    _check_files(run)
    if not re.fullmatch(r"\w[\w.-]{0,99}", name):
        raise InputError(f"--name {name!r} is no folder name; give one word such as focus_picker_submission")
    with atomic_path(output) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, inside in _contents(run):
                archive.write(path, f"{name}/{inside}")
            archive.writestr(f"{name}/{SAMPLE}", _sample_image())
            names = archive.namelist()
        check_package(temporary, name)
    return names


def _check_files(run: Path) -> None:
    """Hold the files against what the run noted when it had written them."""
    stated = read_run(run).metrics.files_sha256
    for file in RUN_FILES:
        if file != METRICS and sha256_of(run / file) != stated.get(file):
            raise InputError(f"{run / file} is not the file that {METRICS} was written for; train the run again")


def _contents(run: Path) -> list[tuple[Path, str]]:
    """Files and their names inside; a run's file goes before the project's own of that name."""
    files = {inside: run / file for file, inside in RUN_FILES.items()}
    for folder in (ROOT / "conf", *(init.parent for init in ROOT.glob("*/__init__.py"))):
        for path in folder.rglob("*"):
            inside = path.relative_to(ROOT)
            if path.is_file() and not LEFT_OUT & set(inside.parts):
                files.setdefault(inside.as_posix(), path)
    for picture in (ROOT / "results").glob("*.png"):
        files.setdefault(f"results/{picture.name}", picture)
    for name in SINGLE_FILES:
        files.setdefault(name, ROOT / name)
    return [(path, inside) for inside, path in sorted(files.items())]


def _sample_image() -> bytes:
    """One drawn cell near focus, so that whoever unpacks the zip has something to score."""
    instrument = load_instrument("dry50")
    stack = simulate_field(FieldPlan("sample", (None,), (0, 0)), instrument, 0.1)[0]
    image = stack.images[round(stack.best_slice)]
    return cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()


def check_package(archive_path: Path, name: str) -> dict[str, object]:
    """Unpack the zip elsewhere and score its sample image with its own code and model; return the row.

    Raises
    ------
    InputError
        The score cannot be had.
    """
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(archive_path) as archive:
            archive.extractall(folder)
        command = [sys.executable, "-c", CHECK, "score", SAMPLE, "--model", MODEL, "--json"]
        place = Path(folder) / name
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=CHECK_SECONDS, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"the unpacked submission does not score {SAMPLE} ({last}); train the run again")
        return json.loads(done.stdout)
