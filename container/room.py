"""A room: what a container engine makes for a command, made of util-linux's unshare, mount and nsenter instead.

A root of its own with the image's folders in it, processes, host name and semaphores of its own. In place of the base
image stand the shared libraries and the Python of this machine. While the image is built the room has this machine's
programs and network too; the service's room is sealed: it has no program but Python, no network but its own loopback,
nothing can be written except below /tmp and /dev/shm, and its user has no capability.
"""

import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dataset.errors import InputError

TOOLS = ("unshare", "nsenter", "mount", "setpriv")
DEVICES = ("null", "zero", "full", "random", "urandom")
BASE = frozenset({"bin", "dev", "etc", "lib", "lib64", "proc", "root", "sbin", "sys", "tmp", "usr"})
"""Folders that the room takes from this machine or makes, and that an image can put nothing into here."""

SHARED = ("/etc", "/sys", "/lib", "/lib64")
LIBRARIES, PROGRAMS = ("/usr/lib", "/usr/lib64"), ("/usr", "/bin", "/sbin")

LOOPBACK_UP = (  # SIOCSIFFLAGS with IFF_UP; a new network begins with its loopback down
    "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sH14x', b'lo', 1))"
)


def why_not() -> str:
    """Tell why no room can be made on this machine; empty where it can."""
    if not sys.platform.startswith("linux"):
        return f"rooms are made of Linux namespaces, and this is {sys.platform}"
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        return f"{', '.join(missing)} of util-linux is not installed"
    if os.geteuid() != 0:
        return "only root may make namespaces and mounts"
    done = subprocess.run(["unshare", "--mount", "--pid", "--net", "--fork", "true"], capture_output=True, text=True)
    return done.stderr.strip()


@dataclass(frozen=True)
class Room:
    """What a command is run in.

    Attributes
    ----------
    root
        Empty folder; the room's root is mounted over it, seen only from inside.
    files
        The image's own folders, by their names in the image.
    environment
        All variables that the command gets.
    workdir
        Where it is run.
    user
        Numeric user and group.
    sealed
        Whether it is the service's room, see above.
    mounts
        Folders of this machine by their place in the room, writable.
    python
        Prefix of the Python that becomes ``/usr/local``, as in the python images.
    """

    root: Path
    files: Path
    environment: Mapping[str, str]
    workdir: str
    user: tuple[int, int] = (0, 0)
    sealed: bool = False
    mounts: Mapping[str, Path] = field(default_factory=dict)
    python: Path = Path(sys.base_prefix)

    def entering(self, command: Sequence[str]) -> list[str]:
        """Extend a command by what makes the room first; it becomes process 1 there, as in a container."""
        network = ["--net"] if self.sealed else []
        made = " && ".join(shlex.join(step) for step in self._steps())
        enter = [*self._restricted(), "unshare", f"--root={self.root}", f"--wd={self.workdir}", *self._as_user()]
        script = f'umask 022 && {made} && exec {shlex.join(enter)} -- "$@"'
        spaces = ["unshare", "--mount", "--pid", "--ipc", "--uts", *network, "--fork", "--kill-child"]
        return [*spaces, "sh", "-c", script, "sh", *command]

    def _restricted(self) -> list[str]:
        """Begin a command that enters the room; Python's own library is found where the base image's cache has it."""
        return ["env", "LD_LIBRARY_PATH=/usr/local/lib", *(["setpriv", "--no-new-privs"] if self.sealed else [])]

    def _as_user(self) -> list[str]:
        return [f"--setgid={self.user[1]}", f"--setuid={self.user[0]}"]

    def _steps(self) -> list[list[str]]:
        """List the commands that mount everything."""
        root = str(self.root)
        steps = [_tmpfs(root, "mode=755"), ["mkdir", *(f"{root}/{name}" for name in ("dev", "proc", "root", "tmp"))]]
        for path in (*SHARED, *(LIBRARIES if self.sealed else PROGRAMS)):
            steps += _lend(path, root)
        steps += self._python(root) + _devices(root) + [["mount", "-t", "proc", "proc", f"{root}/proc"]]
        for place in sorted(self.files.iterdir()):
            if place.name in BASE:
                raise InputError(f"the image writes to /{place.name}, which stands for the base image here; use /opt")
            steps += _bind(place, f"{root}/{place.name}", read_only=self.sealed)
        for target, folder in self.mounts.items():
            steps += _bind(folder, root + target, read_only=False)
        if self.sealed:
            lo = [sys.executable, "-I", "-c", LOOPBACK_UP]
            steps += [_tmpfs(f"{root}/tmp", "mode=1777,size=64m,noexec"), lo, ["mount", "-o", "remount,ro", root]]
        return steps

    def _python(self, root: str) -> list[list[str]]:
        """Put Python at /usr/local; a Debian Python lies in /usr, and its program alone is put there."""
        local = f"{root}/usr/local"
        if self.python != Path("/usr"):
            return _bind(self.python, local, read_only=True)
        program = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        copied = ["cp", f"/usr/bin/{program}", f"{local}/bin/python"]
        return [["mkdir", "-p", local], _tmpfs(local, "mode=755"), ["mkdir", f"{local}/bin"], copied]

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(self.entering(command), env=dict(self.environment), capture_output=True, text=True)

    def start(self, command: Sequence[str], errors: Path) -> "Running":
        """Start a command that goes on; ``errors`` is the file that its stderr goes to."""
        with errors.open("w") as stream:
            process = subprocess.Popen(
                self.entering(command), env=dict(self.environment), stdout=subprocess.PIPE, stderr=stream, text=True
            )
        return Running(self, process, errors)


@dataclass(frozen=True)
class Running:
    """A command that goes on in a room."""

    room: Room
    process: subprocess.Popen[str]
    errors: Path

    @property
    def pid(self) -> int:
        """Number, on this machine, of the room's process 1; raises InputError where it has ended."""
        pid = self.process.pid
        if not (children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            raise InputError(f"the service has ended: {self.errors.read_text(encoding='utf-8').strip()}")
        return int(children[0])

    def first_line(self, seconds: float) -> str:
        """Wait for the first line on stdout.

        Raises
        ------
        InputError
            If it ends before, or the time is over.
        """
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            why = self.errors.read_text(encoding="utf-8").strip() or f"nothing was printed for {seconds:g} s"
            raise InputError(f"the service did not start: {why}")
        return line.strip()

    def run(self, command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a further command in the same room as the same user, as an engine's exec does; ``text`` is its stdin."""
        spaces = ["--mount", "--pid", "--ipc", "--uts", "--net", "--root", "--wd"]
        enter = [*self.room._restricted(), "nsenter", f"--target={self.pid}", *spaces, *self.room._as_user()]
        return subprocess.run(
            [*enter, "--", *command], env=dict(self.room.environment), input=text, capture_output=True, text=True
        )

    def status(self) -> dict[str, str]:
        """Read the kernel's account of process 1: VmHWM, Threads, Uid, CapEff, NoNewPrivs and so on."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def files_left(self) -> list[str]:
        """List what lies where the room can be written."""
        inside = Path(f"/proc/{self.pid}/root")
        found = (path for place in ("tmp", "dev/shm") for path in (inside / place).rglob("*"))
        return [f"/{path.relative_to(inside)}" for path in found]

    def stop(self, seconds: float = 15) -> float:
        """Send SIGTERM as an engine does and wait; gives the seconds it took, and kills what does not end in time."""
        started = time.monotonic()
        with suppress(InputError, OSError):  # it may have ended by itself
            os.kill(self.pid, signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return time.monotonic() - started


def _tmpfs(place: str, options: str) -> list[str]:
    return ["mount", "-t", "tmpfs", "-o", f"{options},nosuid,nodev", "tmpfs", place]


def _bind(source: Path | str, place: str, read_only: bool) -> list[list[str]]:
    steps = [["mkdir", "-p", place], ["mount", "--bind", str(source), place]]
    return [*steps, ["mount", "-o", "remount,bind,ro", place]] if read_only else steps


def _lend(path: str, root: str) -> list[list[str]]:
    """Show a folder of this machine in the room, not to be written; a link stays one (/lib is usually one)."""
    if os.path.islink(path):
        return [["ln", "-s", os.readlink(path), root + path]]
    return _bind(path, root + path, read_only=True) if os.path.isdir(path) else []


def _devices(root: str) -> list[list[str]]:
    steps = []
    for name in DEVICES:
        steps += [["touch", f"{root}/dev/{name}"], ["mount", "--bind", f"/dev/{name}", f"{root}/dev/{name}"]]
    return [*steps, ["mkdir", f"{root}/dev/shm"], _tmpfs(f"{root}/dev/shm", "mode=1777,size=64m,noexec")]
