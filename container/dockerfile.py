"""Reads a Dockerfile and a .dockerignore into plain values; what it does not know it refuses.

Instructions as in https://docs.docker.com/reference/dockerfile/, without heredocs, escape directives and ONBUILD.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from string import Template

from dataset.errors import InputError


@dataclass(frozen=True)
class Step:
    """One instruction.

    Attributes
    ----------
    name
        In capitals, such as ``COPY``.
    flags
        Value by name of what is written as ``--name=value``.
    rest
        What follows the flags, on one line.
    line
        Where it begins, from 1.
    """

    name: str
    flags: Mapping[str, str]
    rest: str
    line: int

    def words(self) -> list[str]:
        """Split the rest: a JSON array as such, anything else as a shell would."""
        return as_words(self.rest)

    def command(self) -> list[str]:
        """Command that the rest stands for: a JSON array runs as it is, anything else by a shell."""
        return as_words(self.rest) if self.rest.startswith("[") else ["/bin/sh", "-c", self.rest]


@dataclass(frozen=True)
class Stage:
    """What one FROM begins; ``name`` is what later stages call it, its number where it has none."""

    base: str
    name: str
    steps: tuple[Step, ...]

    def named(self, name: str) -> list[Step]:
        """All steps of a name, in order."""
        return [step for step in self.steps if step.name == name]


def read_dockerfile(path: str | Path) -> list[Stage]:
    """Read the stages of a Dockerfile.

    Raises
    ------
    InputError
        If there is none, or it has an instruction before the first FROM.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the folder that holds the Dockerfile")
    stages: list[Stage] = []
    for step in _steps(path.read_text(encoding="utf-8")):
        if step.name == "FROM":
            base, *name = re.split(r"\s+as\s+", step.rest, flags=re.IGNORECASE)
            stages.append(Stage(base, name[0] if name else str(len(stages)), ()))
        elif not stages:
            raise InputError(f"{path}, line {step.line}: {step.name} stands before the first FROM; move it below")
        else:
            last = stages.pop()
            stages.append(Stage(last.base, last.name, (*last.steps, step)))
    if not stages:
        raise InputError(f"{path} has no FROM; it describes no image")
    return stages


def _steps(text: str) -> list[Step]:
    """Join continued lines, leave comments out, and take the flags off."""
    steps: list[Step] = []
    parts: list[str] = []
    begins = 0
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        begins = begins if parts else number
        parts.append(line.removesuffix("\\").strip())
        if not line.endswith("\\"):
            steps.append(_step(" ".join(parts), begins))
            parts = []
    return steps


def _step(text: str, line: int) -> Step:
    name, _, rest = text.partition(" ")
    flags: dict[str, str] = {}
    while found := re.match(r"--([a-z-]+)=(\S+)\s+", rest):
        if found[1] in flags:
            raise InputError(f"Dockerfile, line {line}: --{found[1]} is given twice; only one is understood")
        flags[found[1]] = found[2]
        rest = rest[found.end() :]
    return Step(name.upper(), flags, rest, line)


def as_words(text: str) -> list[str]:
    """Split a JSON array as such, anything else as a shell would."""
    return json.loads(text) if text.startswith("[") else shlex.split(text)


def with_variables(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Read ``NAME=value`` words; ``$NAME`` in a value is taken from ``environment``."""
    pairs = (word.partition("=") for word in words)
    return {name: Template(value).safe_substitute(environment) for name, _, value in pairs}


def read_ignore(path: str | Path) -> list[str]:
    """Read the patterns of a .dockerignore; none if there is no such file."""
    path = Path(path)
    if not path.is_file():
        return []
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def is_ignored(path: str | PurePosixPath, patterns: Sequence[str]) -> bool:
    """Whether the engine leaves a file of the context out: the last pattern that meets it or a parent decides."""
    path = PurePosixPath(path)
    family = [str(path), *(str(parent) for parent in path.parents if parent.name)]
    verdict = False
    for pattern in patterns:
        meets = _expression(pattern.removeprefix("!"))
        if any(meets.fullmatch(one) for one in family):
            verdict = not pattern.startswith("!")
    return verdict


def _expression(pattern: str) -> re.Pattern[str]:
    """Turn a pattern, anchored at the context, into an expression: ``*`` stays in a folder, ``**`` does not."""
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.findall(r"\*\*/|\*\*|\*|\?|[^*?]+", pattern.strip("/"))
    return re.compile("".join(meaning.get(part) or re.escape(part) for part in parts))
