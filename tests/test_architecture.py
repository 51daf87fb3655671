"""The walls between the packages: imports go one way, and light parts stay light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What each room may import of ours: whatever stands before it here, but for what is named (docs/architecture.md).
ALLOWED = {
    "dataset": set(),
    "models": {"dataset"},
    "features": {"models", "dataset"},
    "deep": {"features", "models", "dataset"},
    "stack_inference": {"deep", "features", "models", "dataset"},
    "hybrid": {"deep", "features", "models", "dataset"},
    "autofocus": {"stack_inference", "deep", "features", "models", "dataset"},
    "evaluation": {"models", "dataset"},
    "explain": {"stack_inference", "evaluation", "deep", "features", "models", "dataset"},
    "drift": {"stack_inference", "evaluation", "deep", "features", "models", "dataset"},
    "training": {"evaluation", "hybrid", "stack_inference", "deep", "features", "models", "dataset"},
    "adaptation": {
        "training",
        "evaluation",
        "hybrid",
        "stack_inference",
        "deep",
        "features",
        "models",
        "dataset",
    },
    "serve": {"drift", "stack_inference", "deep", "features", "models", "dataset"},
}
ALLOWED["benchmarks"] = set(ALLOWED)  # measures all of them, and none of them knows it
HEAVY = {"tensorflow", "keras"}
LIGHT = ("dataset", "models", "features", "stack_inference", "autofocus", "evaluation", "drift", "serve")
OURS = {*ALLOWED, "cli"}


def imported(file: Path) -> tuple[set[str], set[str]]:
    """Rooms of ours and top-level names of others that ``file`` imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: import by full name, so that the walls can be read"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = [name.split(".") for name in names]
    rooms = {part[1] for part in parts if part[0] == "focus_picker" and len(part) > 1}
    others = {part[0] for part in parts} - {"focus_picker"}
    assert not others & OURS - ({"benchmarks"} if "benchmarks" in file.parts else set()), (
        f"{file}: import ours as focus_picker"
    )
    return rooms, others


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        rooms, others = imported(file)
        wrong = rooms - ALLOWED[package] - {package}
        assert not wrong, f"{file.relative_to(ROOT)} imports {', '.join(wrong)}"
        if package in LIGHT:
            assert not others & HEAVY, f"{file.relative_to(ROOT)} imports TensorFlow"


def test_only_its_bindings_know_a_microscope_library():
    for file in (ROOT / "autofocus").rglob("*.py"):
        if "micromanager" not in file.parts:
            rooms, others = imported(file)
            assert not others & {"pymmcore", "pymmcore_plus", "useq"}, file
            assert "micromanager" not in {part for room in rooms for part in room.split(".")}


def test_documents_name_files_that_are_there():
    rooms = "|".join([*ALLOWED, "conf", "tests"])
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]
    named = {(doc, name) for doc in documents for name in re.findall(rf"`((?:{rooms})/[\w/.-]+)`", doc.read_text())}
    assert len(named) > 30
    assert not [(doc.name, name) for doc, name in named if not (ROOT / name).exists()]


def test_no_pickle_anywhere():
    for room in ALLOWED:
        for file in (ROOT / room).rglob("*.py"):
            assert not imported(file)[1] & {"pickle", "dill", "shelve"}, file


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import focus_picker.cli", {"pandas", "lightgbm", "cv2", "matplotlib", "sklearn"}),
        (
            "import focus_picker.stack_inference.pick, focus_picker.stack_inference.scoring",
            {"matplotlib", "lightgbm", "tensorflow", "pandas"},
        ),
        (
            "import focus_picker.deep.runtime",
            {"tensorflow", "keras", "matplotlib", "lightgbm", "ai_edge_litert", "pandas"},
        ),
        (
            "import focus_picker.serve.server",
            {"tensorflow", "keras", "matplotlib", "lightgbm", "pandas", "scipy", "mlflow"},
        ),
        ("import focus_picker.dataset.images", {"tifffile", "matplotlib", "scipy", "pandas"}),
    ],
    ids=["command line", "stack inference", "light runtime", "service", "reading images"],
)
def test_what_starts_often_imports_little(statement, unwanted):
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & unwanted
