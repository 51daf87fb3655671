"""Runs inside the service's room and prints as JSON what is there: `python inventory.py MODULE...`.

Imports all the modules, and tells which fail, what this loads from the system, which programs are on the PATH, what can
be written, and whether modules are there that must not be.
"""

import importlib
import importlib.util
import json
import os
import sys
import sysconfig
import tempfile
from importlib.metadata import distributions
from pathlib import Path

UNWANTED = ("tensorflow", "keras", "mlflow", "pytest")


def failures(modules: list[str]) -> dict[str, str]:
    """Import modules; gives what those that fail say."""
    failed = {}
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            failed[module] = f"{type(error).__name__}: {error}"
    return failed


def libraries() -> list[str]:
    """Shared libraries in this process from neither the image's folders nor Python's."""
    mapped = {line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines()}
    ours = ("/opt/", "/app/", "/usr/local/", sysconfig.get_path("platstdlib"))
    return sorted(path for path in mapped if ".so" in path and path.startswith("/") and not path.startswith(ours))


def programs() -> list[str]:
    """Programs on the PATH, but for what comes with Python and with the packages."""
    folders = (folder for folder in os.environ["PATH"].split(":") if not folder.startswith(("/opt/", "/usr/local/")))
    return sorted({file.name for folder in folders if os.path.isdir(folder) for file in Path(folder).iterdir()})


def writable() -> list[str]:
    """Folders in which a file can be made."""
    found = []
    for folder in ("/", ".", sys.prefix, sys.base_prefix, "/etc", "/root", "/tmp", "/dev/shm"):
        try:
            with tempfile.TemporaryFile(dir=folder):
                found.append(folder)
        except OSError:
            continue
    return found


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "failed": failures(sys.argv[1:]),
                "libraries": libraries(),
                "programs": programs(),
                "writable": writable(),
                "unwanted": [name for name in UNWANTED if importlib.util.find_spec(name)],
                "packages": len(list(distributions())),
            }
        )
    )
