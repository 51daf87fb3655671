"""The walls between the packages: imports go one way, and light parts stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What each package may import of ours; the order of docs/architecture.md.
ALLOWED = {
    "dataset": set(),
    "features": {"dataset"},
    "deep": {"features", "dataset"},
    "stack_inference": {"deep", "features", "dataset"},
    "hybrid": {"deep", "features", "dataset"},
    "evaluation": {"stack_inference", "hybrid", "deep", "features", "dataset"},
    "serve": {"evaluation", "stack_inference", "deep", "features", "dataset", "models"},
}
HEAVY = {"tensorflow", "keras"}
LIGHT = ("dataset", "features", "stack_inference", "serve")
OURS = {*ALLOWED, "cli", "benchmarks", "container", "models"}


def imported(file: Path) -> set[str]:
    """Top-level names of everything that ``file`` imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: import by full name, so that the walls can be read"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        wrong = (imported(file) & OURS) - ALLOWED[package] - {package}
        assert not wrong, f"{file.relative_to(ROOT)} imports {', '.join(wrong)}"
        if package in LIGHT:
            assert not imported(file) & HEAVY, f"{file.relative_to(ROOT)} imports TensorFlow"


def test_no_pickle_anywhere():
    for file in ROOT.glob("[!.]*/**/*.py"):
        if "tests" not in file.parts:
            assert not imported(file) & {"pickle", "dill", "shelve"}, file


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import cli", {"pandas", "lightgbm", "cv2", "matplotlib", "sklearn"}),
        ("import stack_inference.pick, stack_inference.scoring", {"matplotlib", "lightgbm", "tensorflow", "pandas"}),
        ("import deep.runtime", {"tensorflow", "keras", "matplotlib", "lightgbm", "ai_edge_litert", "pandas"}),
        ("import serve.server", {"tensorflow", "keras", "matplotlib", "lightgbm", "pandas", "scipy", "mlflow"}),
        ("import dataset.images", {"tifffile", "matplotlib", "scipy", "pandas"}),
    ],
    ids=["command line", "stack inference", "light runtime", "service", "reading images"],
)
def test_what_starts_often_imports_little(statement, unwanted):
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & unwanted
