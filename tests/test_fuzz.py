"""Bad input of every kind: exit 0, 2 or 130, one sentence, no input changed, no traceback.

``FUZZ_CASES=500 python -m pytest tests/test_fuzz.py`` runs that many of each kind; without it, a few.
"""

import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from focus_picker.cli import main
from focus_picker.models import DEFAULT_MODEL
from tests.made_cells import made_cell

CASES = int(os.environ.get("FUZZ_CASES", "0"))
PICTURE = made_cell(1)[:48, :56]
ODD = ["", "-1", "nan", "inf", "1e308", "-0,4", "9" * 40, "a" * 300, "\0", "%s", "$\\frac$", "../x", "\udcff", "=1+1"]


def cases(few: int) -> Callable:
    """The decorator of a test that runs ``few`` cases, the same each time, or as many as the environment asks for."""
    return settings(
        max_examples=CASES or few, deadline=None, derandomize=not CASES, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )  # fmt: skip


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, kind)
    return file.getvalue()


WHOLE = {".jpg": encoded("JPEG"), ".png": encoded("PNG"), ".bmp": encoded("BMP"), ".tif": encoded("TIFF")}


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A picture's file, whole, cut, with bytes changed, or of bytes alone; its suffix may lie."""
    suffix, content = draw(st.sampled_from(list(WHOLE.items())))
    name = draw(st.sampled_from([".jpg", ".png", ".tif", suffix, suffix, suffix]))
    data = bytearray(content)
    how = draw(st.sampled_from(["whole", "cut", "changed", "zeroed", "bytes"]))
    if how == "cut":
        del data[draw(st.integers(0, len(data))) :]
    elif how == "bytes":
        data = bytearray(draw(st.binary(max_size=100)))
    elif how != "whole":
        for _ in range(draw(st.integers(1, 8))):
            at = draw(st.integers(0, len(data) - 1))
            data[at] = 0 if how == "zeroed" else draw(st.integers(0, 255))
    return name, bytes(data)


def holds(folder: Path, arguments: list[str]) -> None:
    """Run a command within ``folder`` and hold what must hold of every command."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(arguments)
    assert code in (0, 2), (code, err.getvalue())
    assert code == 0 or err.getvalue().splitlines()[-1].startswith("error: ")
    for path, content in before.items():
        assert path.read_bytes() == content, f"{path} was changed"


@pytest.fixture(scope="module")
def place():
    """A folder that each case empties: making one a case would take longer than the case."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def emptied(place: Path) -> Path:
    shutil.rmtree(place)
    place.mkdir()
    return place


@cases(30)
@given(st.lists(files(), min_size=1, max_size=4), st.sampled_from(["z-{}", "z{}", "{}", "s_{}.5", "x"]))
def test_images_and_stack_folders(place, found, pattern):
    folder = emptied(place) / "stack"
    folder.mkdir()
    for index, (suffix, content) in enumerate(found):
        (folder / f"{pattern.format(index)}{suffix}").write_bytes(content)
    holds(folder, ["score", str(folder), "--json"])
    holds(folder, ["pick-focus", str(folder), "--json", "--jobs", "1"])


@cases(25)
@given(
    st.sampled_from(["image_path,focus_score", "focus_score;image_path", "\ufeffimage_path,focus_score,x", ""]),
    st.lists(
        st.tuples(st.sampled_from(["cell_stacks/s/0.png", "cell_stacks/s/1.png", "/etc/passwd", "..", ""]),
                  st.one_of(st.sampled_from(ODD), st.floats().map(str))),
        max_size=4,
    ),
)  # fmt: skip
def test_label_files(place, header, rows):
    stack = emptied(place) / "cell_stacks" / "s"
    stack.mkdir(parents=True)
    for index in range(2):
        (stack / f"{index}.png").write_bytes(WHOLE[".png"])
    text = "\n".join([header, *(f"{path},{score}" for path, score in rows)])
    (place / "focus_labels.csv").write_text(text, encoding="utf-8", errors="surrogateescape")
    holds(place, ["inspect", str(place), "--jobs", "1", "--output", str(place / "sheet.png")])


SIDE = json.loads(DEFAULT_MODEL.with_suffix(".json").read_text())
VALUES = st.one_of(st.none(), st.floats(), st.integers(), st.text(max_size=5), st.lists(st.floats(), max_size=3))


@cases(15)
@given(st.sampled_from(sorted(SIDE)), VALUES)
def test_side_files(place, key, value):
    weights = emptied(place) / DEFAULT_MODEL.name
    weights.symlink_to(DEFAULT_MODEL)
    weights.with_suffix(".json").write_text(json.dumps(SIDE | {key: value}))
    (place / "a.png").write_bytes(WHOLE[".png"])
    holds(place, ["score", str(place / "a.png"), "--model", str(place)])


OPTIONS = [
    "--output",
    "--plot",
    "--sheet",
    "--model",
    "--method",
    "--measure",
    "--z-step-um",
    "--jobs",
    "--seed",
    "--json",
]
WORDS = st.one_of(st.sampled_from([*OPTIONS, *ODD, "s", "s/0.png", "s/new.png", "new.csv", "."]), st.text(max_size=6))


@cases(60)
@given(st.sampled_from(["score", "pick-focus", "drift", "compare", "package"]), st.lists(WORDS, max_size=5))
def test_command_lines(place, command, words):
    stack = emptied(place) / "s"
    stack.mkdir()
    for index in range(2):
        (stack / f"{index}.png").write_bytes(WHOLE[".png"])
    here = os.getcwd()
    os.chdir(place)
    try:
        holds(place, [command, *(word for word in words if word != "--help")])
    finally:
        os.chdir(here)
