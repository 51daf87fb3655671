"""Builds and runs the image of the Dockerfile without an engine: `python -m container.clean_room [--offline]`.

Performs the Dockerfile's steps in rooms (see container/room.py), runs its command in a sealed room, asks its health
check, uses the service as the page does, and prints what was found; exits with 1 where something is not as it should
be. Needs root, and the network unless --offline.
"""

import json
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from container.build import Builder, Image, in_room
from container.imports import reached_by
from container.room import Room, Running, why_not
from dataset.errors import InputError

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
TOKEN_VARIABLE = "FOCUS_PICKER_TOKEN"
START_SECONDS = 90  # to give up; a slow start is not a fault of the image
MOST_MEMORY_MB = 350
MOST_STOP_SECONDS = 10  # after which an engine kills
WRITABLE = {"/tmp", "/dev/shm"}

BASE_PACKAGES = {
    *("libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libbz2-1.0", "liblzma5", "libffi8", "libssl3", "libexpat1"),
    *("libuuid1", "libsqlite3-0", "libreadline8", "libtinfo6", "libncursesw6", "libcrypt1", "libgdbm6", "libdb5.3"),
}
"""Debian packages with shared libraries in python:3.11-slim-bookworm: what Python itself was linked with."""


@dataclass(frozen=True)
class Findings:
    """What a run in the clean room found.

    Attributes
    ----------
    base, system_packages
        What stands in the Dockerfile and was not fetched here.
    megabytes
        Size of each top folder of the image.
    build_seconds, healthy_seconds, stop_seconds
        To make the image; from start to the first answer of /health; from SIGTERM to the end.
    status
        The kernel's account of the service, see :meth:`container.room.Running.status`.
    healthcheck
        Exit code of the HEALTHCHECK command while the service ran.
    answers, inventory
        What ``probe.py`` and ``inventory.py`` printed.
    library_packages
        Debian package of each shared library that comes from the system; empty without dpkg.
    files_left, errors
        Files below /tmp and /dev/shm at the end; what the service wrote to stderr.
    """

    base: str
    system_packages: list[str]
    megabytes: dict[str, float]
    build_seconds: float
    healthy_seconds: float
    stop_seconds: float
    status: dict[str, str]
    healthcheck: int
    answers: dict[str, Any]
    inventory: dict[str, Any]
    library_packages: dict[str, str]
    files_left: list[str]
    errors: str

    @property
    def memory_mb(self) -> float:
        """Most memory that the service had at a time."""
        return int(self.status["VmHWM"].split()[0]) * 1024 / 1e6


def find_out(context: Path = ROOT, offline: bool = False) -> Findings:
    """Build, run and use the image.

    Raises
    ------
    InputError
        If no room can be made here, a step fails, or the service does not start.
    """
    if reason := why_not():
        raise InputError(f"no clean room can be made here: {reason}")
    with tempfile.TemporaryDirectory(prefix="clean-room-") as folder:
        scratch = Path(folder)
        started = time.monotonic()
        image = Builder(context, scratch, in_room(scratch, offline)).build()
        return _use(image, context, scratch, build_seconds=time.monotonic() - started)


def _use(image: Image, context: Path, scratch: Path, build_seconds: float) -> Findings:
    token = secrets.token_hex(16)
    environment = image.environment | {"HOME": "/", TOKEN_VARIABLE: token}
    room = Room(scratch / "root", image.files, environment, image.workdir, image.user_ids(), sealed=True)
    started = time.monotonic()
    running = room.start([*image.entrypoint, *image.command], scratch / "errors.txt")
    try:
        address = running.first_line(START_SECONDS).split()[0].replace("0.0.0.0", "127.0.0.1")
        answers = _inside(running, "probe.py", address, token)
        healthcheck = running.run(image.healthcheck).returncode
        inventory = _inside(running, "inventory.py", *sorted(reached_by(context, "serve").packages))
        status, files_left = running.status(), running.files_left()
    finally:
        stop_seconds = running.stop()
    return Findings(
        base=image.base,
        system_packages=image.system_packages,
        megabytes={f"/{place.name}": _megabytes(place) for place in sorted(image.files.iterdir())},
        build_seconds=build_seconds,
        healthy_seconds=answers["healthy_at"] - started,
        stop_seconds=stop_seconds,
        status=status,
        healthcheck=healthcheck,
        answers=answers,
        inventory=inventory,
        library_packages=packages_of(inventory["libraries"]),
        files_left=files_left,
        errors=running.errors.read_text(encoding="utf-8").strip(),
    )


def _inside(running: Running, script: str, *arguments: str) -> dict[str, Any]:
    """Run a script of this folder in the room and read its JSON."""
    done = running.run(["python", "-", *arguments], text=(HERE / script).read_text(encoding="utf-8"))
    if done.returncode:
        raise InputError(f"{script} failed in the room: {done.stderr.strip()} {running.errors.read_text().strip()}")
    return json.loads(done.stdout)


def _megabytes(folder: Path) -> float:
    """Disk that a folder takes, in blocks."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*")) / 1e6


def packages_of(libraries: Sequence[str]) -> dict[str, str]:
    """Find the Debian package of each library, "none" where none has it; nothing where there is no dpkg."""
    if not shutil.which("dpkg-query"):
        return {}
    owners = {}
    for library in libraries:
        # Its list has the paths from before /lib became a link to /usr/lib.
        paths = {library, library.removeprefix("/usr"), f"/usr{library}", str(Path(library).resolve())}
        done = subprocess.run(["dpkg-query", "--search", *sorted(paths)], capture_output=True, text=True)
        owners[library] = re.split(r"[:,]", done.stdout)[0].removesuffix("t64") or "none"  # newer Debian's new name
    return owners


def faults(found: Findings) -> list[str]:
    """Say, a sentence each, what is not as it should be."""
    inventory, answers, status = found.inventory, found.answers, found.status
    known = BASE_PACKAGES | set(found.system_packages)
    strange = sorted({package for package in found.library_packages.values() if package not in known})
    statements = {
        f"/score answered {answers['score']}": answers["score"][0] != 200,
        f"/pick-focus answered {answers['pick']}": answers["pick"][0] != 200 or answers["pick"][1]["status"] != "ok",
        f"the page answered {answers['page']}": answers["page"] != 200,
        f"/metrics answered {answers['metrics']}": answers["metrics"] != 200,
        f"without the token {answers['without_token']} was answered": answers["without_token"] != 401,
        f"the health check ended with {found.healthcheck}": found.healthcheck != 0,
        f"modules cannot be imported: {inventory['failed']}": bool(inventory["failed"]),
        f"the image holds {inventory['unwanted']}": bool(inventory["unwanted"]),
        f"programs were there to be used: {inventory['programs']}": bool(inventory["programs"]),
        f"can be written: {inventory['writable']}": not set(inventory["writable"]) <= WRITABLE,
        f"files were left behind: {found.files_left}": bool(found.files_left),
        f"the user is {status['Uid']}": "0" in status["Uid"].split(),
        f"the service has the capabilities {status['CapEff']}": int(status["CapEff"], 16) != 0,
        f"libraries come from {strange}, which the Dockerfile does not install": bool(strange),
        f"the service took {found.memory_mb:.0f} MB": found.memory_mb > MOST_MEMORY_MB,
        f"it ended only {found.stop_seconds:.0f} s after SIGTERM": found.stop_seconds > MOST_STOP_SECONDS,
        f"stderr says: {found.errors}": bool(found.errors),
    }
    return [sentence for sentence, wrong in statements.items() if wrong]


def describe(found: Findings) -> str:
    """Tell the findings in some lines."""
    score, pick = found.answers["score"][1], found.answers["pick"][1]
    sizes = ", ".join(f"{place} {size:.0f} MB" for place, size in found.megabytes.items())
    libraries = ", ".join(sorted(set(found.library_packages.values()))) or "not looked for: no dpkg here"
    left_out = f"; apt-get did not install {', '.join(found.system_packages)}" if found.system_packages else ""
    return "\n".join(
        [
            f"base       Python {sys.version.split()[0]} of this machine stands for {found.base}{left_out}",
            f"built      {found.inventory['packages']} packages in {found.build_seconds:.0f} s: {sizes}",
            f"started    /health answered after {found.healthy_seconds:.1f} s by {found.answers['health']['model']}",
            f"answered   one image: {score.get('focus_score')} ({score.get('status')}); "
            f"a stack: {pick.get('best_position')} ± {pick.get('standard_error')} ({pick.get('status')}); "
            f"without the token: {found.answers['without_token']}",
            f"ran        as {found.status['Uid'].split()[0]}, capabilities {found.status['CapEff']}, "
            f"{found.status['Threads']} threads, {found.memory_mb:.0f} MB at most",
            f"writable   {', '.join(found.inventory['writable'])}; left there: {found.files_left or 'nothing'}",
            f"libraries  of the system: {libraries}",
            f"health     HEALTHCHECK ended with {found.healthcheck}; stopped {found.stop_seconds:.1f} s after SIGTERM",
        ]
    )


def main(
    offline: Annotated[
        bool, typer.Option("--offline", help="Packages from uv's cache only, in this environment's versions; quick.")
    ] = False,
) -> None:
    """Build, run and use the image without an engine; exit 1 where something is not as it should be."""
    try:
        found = find_out(offline=offline)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    print(describe(found))
    wrong = faults(found)
    print("\n".join(f"FAULT      {sentence}" for sentence in wrong) or "all is as it should be")
    raise typer.Exit(1 if wrong else 0)


if __name__ == "__main__":
    typer.run(main)
