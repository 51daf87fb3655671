"""The package as users install it: one name, all its data, a lock that is pyproject.toml's, a light plain install."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from focus_picker import cli
from focus_picker.dataset.version import VERSION
from tests.clean_install import copy_project, make_environment, uv

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
PLAIN = [Requirement(line) for line in PROJECT["dependencies"]]
OPTIONAL = {extra: [Requirement(line) for line in lines] for extra, lines in PROJECT["optional-dependencies"].items()}
PACKAGES = {name: ROOT.joinpath(*name.split(".")[1:]) for name in PYPROJECT["tool"]["setuptools"]["packages"]}
LOCKS = {"requirements.txt": ("train", "serve"), "requirements-dev.txt": ("dev",)}  # and the extras they are for
EXAMPLE = ROOT / "serve" / "page" / "example"
HEAVY = {"tensorflow", "tensorflow-cpu", "keras", "lightgbm", "scikit-learn", "scipy", "pandas", "mlflow", "fastapi"}


def of_extras(*extras: str) -> Iterator[Requirement]:
    """Requirements of extras, and of the extras of this project that they name in turn."""
    for requirement in (line for extra in extras for line in OPTIONAL[extra]):
        if requirement.name == PROJECT["name"]:
            yield from of_extras(*requirement.extras)
        else:
            yield requirement


def entries(lock: str) -> list[Requirement]:
    lines = (ROOT / lock).read_text().splitlines()
    return [Requirement(line.rstrip(" \\")) for line in lines if line and line[0].isalnum()]


def with_all_they_need(requirements: Iterable[Requirement]) -> set[str]:
    """Names of ``requirements`` and of what the packages installed here need for them, down to the last."""
    needed: set[tuple[str, str]] = set()
    waiting = [(requirement, "") for requirement in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            for part in {(name, extra) for extra in ("", *requirement.extras)} - needed:
                needed.add(part)
                waiting += [(Requirement(line), part[1]) for line in needs_of(name)]
    return {name for name, _ in needed}


def needs_of(name: str) -> list[str]:
    """What an installed package asks for; skips where the environment is older than the lock."""
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed here: make setup brings what the lock holds")


def test_a_lock_holds_what_pyproject_asks_for_and_nothing_else():
    held: dict[str, str] = {}  # the second file goes on where the first ends
    for lock, extras in LOCKS.items():
        asked = [*PLAIN, *of_extras(*extras)]
        here = [entry for entry in entries(lock) if entry.marker is None or entry.marker.evaluate()]
        assert not {entry.name for entry in entries(lock)} & set(held), "one version each"
        held |= {entry.name: next(iter(entry.specifier)).version for entry in here}
        assert set(held) == with_all_they_need(asked), "make lock"
        for requirement in asked:
            if requirement.marker is None or requirement.marker.evaluate():
                assert requirement.specifier.contains(held[requirement.name]), f"{requirement}: make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_hashes_and_no_address(lock):
    text = (ROOT / lock).read_text()
    for entry in re.split(r"\n(?=\w)", text)[1:]:
        assert re.fullmatch(r"[\w.-]+==\S+( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n?", entry), entry
    assert "://" not in text
    assert "make lock" in text.splitlines()[1]


def test_every_module_that_is_imported_is_asked_for():
    brought_by = metadata.packages_distributions()
    imported = set()
    for file in (path for folder in PACKAGES.values() for path in folder.glob("*.py") if path.name != "train.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    if absent := imported - set(sys.stdlib_module_names) - {"focus_picker"} - set(brought_by):
        pytest.skip(f"not installed here: {', '.join(sorted(absent))}; make setup brings what the lock holds")
    extra_of = {module: extra for extra, modules in cli.EXTRAS.items() for module in modules}
    for module in imported - set(sys.stdlib_module_names) - {"focus_picker"}:
        asked = of_extras(extra_of[module]) if module in extra_of else PLAIN
        assert {requirement.name for requirement in asked} & {canonicalize_name(name) for name in brought_by[module]}
    assert set(extra_of) <= imported


def test_packages_are_the_folders_of_modules():
    others = {"tests", "benchmarks", "build"}
    folders = {path.parent for path in ROOT.glob("[!.]*/**/__init__.py")} | {ROOT}
    assert set(PACKAGES.values()) == {path for path in folders if not others & set(path.relative_to(ROOT).parts[:1])}


def test_a_defect_of_ours_is_no_missing_package(monkeypatch):
    def broken(**_):
        raise ModuleNotFoundError("No module named 'focus_picker.gone'", name="focus_picker.gone")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["score", "x"])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    project, output = copy_project(tmp_path_factory.mktemp("project")), tmp_path_factory.mktemp("wheel")
    uv("build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(output), str(project))
    return next(output.glob("*.whl"))


def test_the_wheel_has_one_top_level_name_and_every_file_of_the_folders(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    assert wheel.name == f"focus_picker-{VERSION}-py3-none-any.whl"
    assert {name.split("/")[0] for name in names} == {"focus_picker", f"focus_picker-{VERSION}.dist-info"}
    for folder in {ROOT / "conf", *PACKAGES.values()} - {ROOT}:
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix not in (".pyc", ".md", ".csv"):
                assert f"focus_picker/{path.relative_to(ROOT).as_posix()}" in names


@pytest.fixture(scope="module")
def plain(wheel, tmp_path_factory) -> Path:
    """Folder of the programs of an environment with the plain install."""
    python = make_environment(tmp_path_factory.mktemp("plain") / "environment")
    uv("pip", "install", "--python", str(python), "--constraint", "requirements.txt", str(wheel))
    return python.parent


def run(program: Path, *arguments: str, folder: Path, code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


def assert_alike(found: str, expected: str) -> None:
    """Same text, and figures equal to what sums in another order of memory leave (1e-10 of them was seen)."""
    number = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
    assert number.sub("#", found) == number.sub("#", expected) != ""
    assert [*map(float, number.findall(found))] == pytest.approx([*map(float, number.findall(expected))], abs=1e-5)


def test_the_plain_install_scores_and_picks_from_another_folder(plain, tmp_path):
    """As the checkout does, and without TensorFlow, LightGBM and the like."""
    shutil.copytree(EXAMPLE, tmp_path / "stack", ignore=shutil.ignore_patterns("*.md"))
    listed = "import importlib.metadata as m, json; print(json.dumps([d.name.lower() for d in m.distributions()]))"
    assert not set(json.loads(run(plain / "python", "-c", listed, folder=tmp_path).stdout)) & HEAVY
    command = plain / "focus-picker"
    assert "pick-focus" in run(command, "--help", folder=tmp_path).stdout
    for arguments in (["score", "stack", "--json"], ["score", "stack"], ["pick-focus", "stack", "--json"]):
        checkout = run(Path(sys.executable), str(ROOT / "cli.py"), *arguments, folder=tmp_path)
        assert_alike(run(command, *arguments, folder=tmp_path).stdout, checkout.stdout)
    interface = "import focus_picker; print(focus_picker.pick_focus('stack').as_json())"
    assert_alike(run(plain / "python", "-c", interface, folder=tmp_path).stdout, checkout.stdout)
    run(command, "pick-focus", "stack", "--plot", "pick.png", folder=tmp_path)
    assert (tmp_path / "pick.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("baseline", "x", "--output", "y"), "baseline"),
        (("train-cnn", "x", "--output", "y"), "train"),
        (("serve",), "serve"),
    ],
)
def test_a_command_that_lacks_packages_names_the_extra(plain, tmp_path, arguments, extra):
    error = run(plain / "focus-picker", *arguments, folder=tmp_path, code=2).stderr
    assert error.startswith("error: this needs ")
    assert f"[{extra}]" in error
    assert error.count("\n") == 1
