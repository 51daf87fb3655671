"""A clean environment beside the tests' own, filled by uv from its cache: no network is asked."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def copy_project(folder: Path) -> Path:
    """Copy what .dockerignore lets through, which is what the package is built from."""
    names = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def make_environment(folder: Path) -> Path:
    """Make an environment without packages and return its Python."""
    uv("venv", "--python", sys.executable, str(folder))
    return folder / "bin" / "python"


def uv(*arguments: str, cwd: Path = ROOT, **environment: str) -> None:
    """Run uv offline; skips where its cache lacks a package or uv is not there."""
    command = [sys.executable, "-m", "uv", "--offline", "--quiet", *arguments]
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True)
    for reason in ("network was disabled", "No module named uv"):
        if reason in done.stderr:
            pytest.skip(f"no clean environment can be made here ({reason}); make setup fills uv's cache")
    assert done.returncode == 0, done.stderr
