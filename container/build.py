"""Performs the steps of a Dockerfile in rooms; what each does is one line in ``STEPS``."""

import os
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path, PurePosixPath

from container.dockerfile import Step, as_words, is_ignored, read_dockerfile, read_ignore, with_variables
from container.room import Room
from dataset.errors import InputError

BASE_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
UV_IMAGE = "ghcr.io/astral-sh/uv"
WAY_TO_THE_NETWORK = re.compile(
    r"((HTTPS?|ALL|NO)_PROXY|SSL_CERT_(FILE|DIR)|UV_(SYSTEM_CERTS|(DEFAULT_|EXTRA_)?INDEX.*))$"
)
"""Variables of this machine that RUN steps get, as an engine hands its proxy on."""


@dataclass
class Image:
    """What the steps so far have made.

    Attributes
    ----------
    base
        As FROM names it.
    files
        Folder with the image's own files, at their places.
    environment, workdir, user, entrypoint, command, healthcheck
        As the instructions of these names set them.
    system_packages
        Debian packages that the Dockerfile installs; here they are looked for and never installed.
    """

    base: str
    files: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": BASE_PATH})
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    system_packages: list[str] = field(default_factory=list)

    def place(self, path: str) -> Path:
        """Where a path of the image lies on this machine; relative ones begin at the working folder."""
        return self.files / posixpath.normpath(posixpath.join(self.workdir, path)).lstrip("/")

    def user_ids(self) -> tuple[int, int]:
        """Numeric user and group; raises InputError for names, which an orchestrator cannot tell from root."""
        if not re.fullmatch(r"\d+:\d+", self.user):
            raise InputError(f"USER {self.user} is not a pair of numbers; write it such as 10001:10001")
        user, group = self.user.split(":")
        return int(user), int(group)


Run = Callable[[Image, Step], None]


class Builder:
    """Builds the last stage of ``context/Dockerfile``.

    Parameters
    ----------
    context
        Folder with Dockerfile and .dockerignore.
    scratch
        Empty folder for everything that comes about.
    run
        Performs a RUN step; :func:`in_room` unless given.
    """

    def __init__(self, context: Path, scratch: Path, run: Run | None = None) -> None:
        self.context = context
        self.scratch = scratch
        self.ignored = read_ignore(context / ".dockerignore")
        self.run = run or in_room(scratch)
        self.images: dict[str, Image] = {}

    def build(self) -> Image:
        """Perform all steps.

        Raises
        ------
        InputError
            For an instruction that is not known here, a source that does not exist, a RUN that fails.
        """
        ours = os.umask(0o022)  # an engine's, whatever this shell's is
        try:
            return self._build()
        finally:
            os.umask(ours)

    def _build(self) -> Image:
        for stage in read_dockerfile(self.context / "Dockerfile"):
            _check_python(stage.base)
            image = self.images[stage.name] = Image(stage.base, self.scratch / "images" / stage.name)
            image.files.mkdir(parents=True)
            for step in stage.steps:
                if step.name not in STEPS:
                    raise InputError(
                        f"Dockerfile, line {step.line}: {step.name} is not known here; use {', '.join(STEPS)}"
                    )
                STEPS[step.name](self, image, step)
        return image

    def workdir(self, image: Image, step: Step) -> None:
        """Change the working folder, and make it."""
        image.workdir = posixpath.join(image.workdir, step.rest)
        image.place(".").mkdir(parents=True, exist_ok=True)

    def env(self, image: Image, step: Step) -> None:
        """Set variables."""
        image.environment |= with_variables(step.words(), image.environment)

    def copy(self, image: Image, step: Step) -> None:
        """Copy files of the context, of an earlier stage or of the image that brings uv."""
        *sources, target = step.words()
        origin = step.flags.get("from")
        into = len(sources) > 1 or target.endswith("/") or image.place(target).is_dir()
        for source in sources:
            where = self._source(origin, source)
            if not (where.exists() or where.is_symlink()):
                raise InputError(f"Dockerfile, line {step.line}: {source} does not exist in {origin or self.context}")
            # Of a folder the content is copied, never the folder itself.
            place = image.place(posixpath.join(target, where.name) if into and where.is_file() else target)
            copy_tree(
                where, place, self._leaves_out if origin is None else lambda path: False, linked=origin in self.images
            )

    def _source(self, origin: str | None, source: str) -> Path:
        if origin is None:
            return self.context / source
        if origin in self.images:
            return self.images[origin].place(posixpath.join("/", source))
        if origin.startswith(f"{UV_IMAGE}:") and source == "/uv":
            return installed_uv(version=origin.partition(":")[2])
        raise InputError(f"COPY --from={origin} is neither a stage nor {UV_IMAGE}; nothing here stands for it")

    def _leaves_out(self, path: Path) -> bool:
        return is_ignored(PurePosixPath(path.relative_to(self.context)), self.ignored)

    def perform(self, image: Image, step: Step) -> None:
        """Run a command; packages of the base image's system are only noted."""
        if step.rest.startswith("apt-get"):
            image.system_packages += apt_packages(step.rest)
        else:
            self.run(image, step)

    def user(self, image: Image, step: Step) -> None:
        """Set the user of what follows."""
        image.user = step.rest

    def healthcheck(self, image: Image, step: Step) -> None:
        """Set the command that tells whether the service is well."""
        image.healthcheck = as_words(step.rest.removeprefix("CMD").strip())

    def entrypoint(self, image: Image, step: Step) -> None:
        """Set what is always run."""
        image.entrypoint = step.command()

    def cmd(self, image: Image, step: Step) -> None:
        """Set its arguments unless others are given."""
        image.command = step.command()

    def note(self, image: Image, step: Step) -> None:
        """Take no action: the step only tells people and engines something."""


STEPS: dict[str, Callable[[Builder, Image, Step], None]] = {
    "WORKDIR": Builder.workdir,
    "ENV": Builder.env,
    "COPY": Builder.copy,
    "RUN": Builder.perform,
    "USER": Builder.user,
    "HEALTHCHECK": Builder.healthcheck,
    "ENTRYPOINT": Builder.entrypoint,
    "CMD": Builder.cmd,
    "LABEL": Builder.note,
    "EXPOSE": Builder.note,
}


def in_room(scratch: Path, offline: bool = False) -> Run:
    """Make the function that performs RUN steps.

    Parameters
    ----------
    scratch
        Folder for roots and temporary files.
    offline
        Take packages only from uv's cache, in the versions of the running environment, and write no bytecode. It is
        quick and needs no network, and shows the same but for the time to start.
    """
    root, temporary = scratch / "root", scratch / "tmp"
    extra = {name: value for name, value in os.environ.items() if WAY_TO_THE_NETWORK.match(name.upper())}
    extra["HOME"] = "/root"
    for folder in (root, temporary):
        folder.mkdir(parents=True, exist_ok=True)
    if offline:
        versions = {one.name: one.version for one in reversed(list(distributions()))}  # the first found is the one used
        pins = "".join(f"{name}=={version}\n" for name, version in versions.items())
        (temporary / "installed.txt").write_text(pins, encoding="utf-8")
        extra |= {"UV_OFFLINE": "1", "UV_COMPILE_BYTECODE": "0", "UV_CONSTRAINT": "/tmp/installed.txt"}

    def run(image: Image, step: Step) -> None:
        mounts = {"/tmp": temporary, **_caches(step, scratch)}
        room = Room(root, image.files, image.environment | extra, image.workdir, mounts=mounts)
        done = room.run(step.command())
        if done.returncode:
            words = " ".join(done.stderr.split())
            raise InputError(f"Dockerfile, line {step.line}: RUN ended with {done.returncode}: {words[-600:]}")

    return run


def _caches(step: Step, scratch: Path) -> Mapping[str, Path]:
    """Folders for ``--mount=type=cache``: uv's own on this machine, or an empty one."""
    if "mount" not in step.flags:
        return {}
    options = dict(part.partition("=")[::2] for part in step.flags["mount"].split(","))
    if options.get("type") != "cache" or "target" not in options:
        raise InputError(f"Dockerfile, line {step.line}: only --mount=type=cache,target=FOLDER is known here")
    folder = uv_cache() if options["target"].endswith("/uv") else scratch / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    return {options["target"]: folder}


def installed_uv(version: str) -> Path:
    """Return uv's program in this environment; raises InputError where it is of another version."""
    from uv import find_uv_bin

    program = Path(find_uv_bin())
    found = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    if found != version:
        raise InputError(f"the Dockerfile names uv {version} and this environment has {found}; make them the same")
    return program


def uv_cache() -> Path:
    """Return the folder of uv's cache on this machine."""
    from uv import find_uv_bin

    return Path(
        subprocess.run([find_uv_bin(), "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    )


def apt_packages(command: str) -> list[str]:
    """Read the packages that a shell command installs with apt-get."""
    found = re.findall(r"apt-get (?:-\S+ )*install ([^&;|]*)", command)
    return [word for words in found for word in words.split() if not word.startswith("-")]


def _check_python(base: str) -> None:
    """Hold the base image against the Python that stands for it; raises InputError where they differ."""
    ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not base.startswith(f"python:{ours}."):
        raise InputError(f"FROM {base}: Python {ours} of this machine cannot stand for it")


def copy_tree(source: Path, target: Path, leaves_out: Callable[[Path], bool], linked: bool) -> None:
    """Copy a file, or the content of a folder, without what is left out; ``linked`` shares the content on disk."""
    if source.is_file() or source.is_symlink():
        if not leaves_out(source):
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy_file(source, target, linked)
        return
    if not leaves_out(source):
        target.mkdir(parents=True, exist_ok=True)
    for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
        copy_tree(Path(entry.path), target / entry.name, leaves_out, linked)


def _copy_file(source: Path, target: Path, linked: bool) -> None:
    if linked and not source.is_symlink():
        os.link(source, target)
    else:
        shutil.copy2(source, target, follow_symlinks=False)
