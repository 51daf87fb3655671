"""What a worker does with one request: files in, JSON out. Nothing here knows HTTP or the service's event loop."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.memory import MemoryFile
from focus_picker.serve.answers import BatchAnswer, ModelAnswer, PickAnswer, ScoreAnswer, StackProblem
from focus_picker.serve.engine import Engine
from focus_picker.serve.forms import files_of
from focus_picker.serve.frames import Head
from focus_picker.serve.refusals import Refusal
from focus_picker.serve.settings import Settings
from focus_picker.serve.uploads import Part, declared_sizes, groups_of, only_group, parts_of, stack_of
from focus_picker.stack_inference import status

LARGE, LARGE_BYTES = "large", 16 * 2**20
"""Code of a request that is put off, and bytes of decoded images above which it is: it is worked on only while no other
large one is."""

BYTES_A_PIXEL = 3
LEAST_SIDE = 16  # pixels; noise on fewer has a peak of sharpness by chance


class Large(Exception):
    """The request is large and was not told that it is the only one."""


@dataclass(frozen=True)
class Reply:
    """One answer or part of one: the object that is sent as JSON, and what the service counts."""

    answer: BaseModel
    images: list[dict[str, Any]] = field(default_factory=list)
    stacks: list[str] = field(default_factory=list)


class Tasks:
    """The tasks of a worker by name, with the model they share.

    Parameters
    ----------
    settings
        Of the service.

    Raises
    ------
    InputError
        If the model cannot be loaded.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = Engine(settings.model)
        side = self.engine.model.side
        self.model = ModelAnswer(
            name=self.engine.path.name, version=side.version, sha256=side.sha256, calibrated=side.calibrated
        )
        self._tasks: dict[str, Callable[[Head, bytes], Iterator[Reply]]] = {
            "score": self.score,
            "score_batch": self.score_batch,
            "pick": self.pick,
            "pick_batch": self.pick_batch,
            "unpack": self.unpack,
        }

    def replies(self, head: Head, content: bytes) -> Iterator[tuple[Head, bytes]]:
        """Do the task that ``head`` names; the last head says that it is, and carries the code of a refusal."""
        waiting: tuple[Head, bytes] | None = None
        try:
            for reply in self._tasks[head["task"]](head, content):
                if waiting:
                    yield waiting
                waiting = _framed(reply)
        except Exception as error:
            code, sentence = _refused(error)
            if waiting:
                yield waiting
            waiting = {"code": code}, sentence.encode()
        if waiting:
            yield {**waiting[0], "last": True}, waiting[1]

    def score(self, head: Head, content: bytes) -> Iterator[Reply]:
        """Score the one image of a request."""
        files = self._images(head, content)
        if len(files) != 1:
            raise Refusal("not_usable", f"{len(files)} images are sent: send one, or several to /score-batch.")
        self._admit(head, files, at_once=True)
        scored = self.engine.score(files[0], self.settings.max_image_pixels, head["z_step_um"])
        answer = ScoreAnswer.of(scored, self.model)
        yield Reply(answer, [{"status": answer.status, "quantities": scored.quantities}])

    def score_batch(self, head: Head, content: bytes) -> Iterator[Reply]:
        """Score all images of a request."""
        files = self._images(head, content)
        self._admit(head, files, at_once=False)
        scored = self.engine.score_batch(files, self.settings.max_image_pixels, head["z_step_um"])
        noted = [{"status": one.row.status, "quantities": one.quantities} for one in scored]
        yield Reply(BatchAnswer.of(scored, self.model), noted)

    def pick(self, head: Head, content: bytes) -> Iterator[Reply]:
        """Find the best plane of the stack of a request."""
        name, files = only_group(self._parts(head, content, self.settings.max_files))
        answer = self._picked(head["name"] or name, files, head)
        if answer.status == status.UNREADABLE:
            raise Refusal("not_usable", f"{answer.stack}: {answer.advice}")
        yield Reply(answer, stacks=[answer.status])

    def pick_batch(self, head: Head, content: bytes) -> Iterator[Reply]:
        """Find the best plane of each stack of a request; one that cannot be used stops no other."""
        groups = self._groups(head, content)
        for _, files in groups:  # the request must not be found large after the first answer, as it then begins anew
            with suppress(Refusal, InputError):
                self._admit(head, files, at_once=True)
        for name, files in groups:
            try:
                answer = self._picked(name, files, head)
            except (Refusal, InputError) as error:
                code = error.code if isinstance(error, Refusal) else "not_usable"
                yield Reply(StackProblem(stack=name, problem=str(error), code=code), stacks=[status.UNREADABLE])
            else:
                yield Reply(answer, stacks=[answer.status])

    def unpack(self, head: Head, content: bytes) -> Iterator[Reply]:
        """Write the stacks of a request below the folder that the service gives, under names of our own."""
        folder, groups = Path(head["folder"]), self._groups(head, content)
        for _, files in groups:  # all before the first is written
            self._admit(head, files, at_once=False)
        for number, (name, files) in enumerate(groups):
            stack, below = stack_of(name, files), folder / f"stack_{number:03d}_cell_0"
            below.mkdir(parents=True)
            if stack.slices[0].page is not None:
                below.rmdir()
                below.with_suffix(".tif").write_bytes(files[0].content)
                continue
            for place, part in enumerate(stack.slices):
                (below / f"{place}{part.path.suffix.lower()}").write_bytes(part.path.read_bytes())
        yield Reply(StackCount(n_stacks=len(groups)))

    def _picked(self, name: str, files: Sequence[MemoryFile], head: Head) -> PickAnswer:
        self._admit(head, files, at_once=True)
        stack = stack_of(name, files)
        return PickAnswer.of(self.engine.pick(stack, head["method"], head["z_step_um"], head["thumbnails"]), self.model)

    def _groups(self, head: Head, content: bytes) -> list[tuple[str, list[MemoryFile]]]:
        groups = groups_of(self._parts(head, content, self.settings.max_files * self.settings.max_stacks))
        if len(groups) > self.settings.max_stacks:
            raise Refusal("too_many_files", f"{len(groups)} stacks are sent: send at most {self.settings.max_stacks}.")
        if most := [name for name, files in groups if len(files) > self.settings.max_files]:
            raise Refusal("too_many_files", f"{most[0]} has more than {self.settings.max_files} slices: send fewer.")
        return groups

    def _parts(self, head: Head, content: bytes, most: int) -> list[Part]:
        files = files_of(head["type"], content, head.get("name") or "", most)
        return parts_of(files, self.settings, most)

    def _images(self, head: Head, content: bytes) -> list[MemoryFile]:
        return [part.file for part in self._parts(head, content, self.settings.max_files)]

    def _admit(self, head: Head, files: Sequence[MemoryFile], *, at_once: bool) -> None:
        """Hold images against the limits, and give way where they are large; ``at_once``: all are decoded together."""
        sizes = declared_sizes(files, self.settings)
        pixels = [width * height for width, height in sizes]
        together = sum(pixels) if at_once else max(pixels)
        if all(0 < min(size) < LEAST_SIDE for size in sizes):
            width, height = sizes[0]
            raise Refusal(
                "not_usable", f"{files[0]} has {width} x {height} pixels, which show no cell: send larger crops."
            )
        if BYTES_A_PIXEL * together > LARGE_BYTES and not head["alone"]:
            raise Large


def _framed(reply: Reply) -> tuple[Head, bytes]:
    counted = {"images": reply.images, "stacks": reply.stacks}
    return {"last": False, **counted}, reply.answer.model_dump_json().encode()


def _refused(error: Exception) -> tuple[str, str]:
    """Code and sentence for what a task raised.

    ``MemoryError`` is where the worker's limit was met in Python; where it is met in C++ the process may end.
    """
    if isinstance(error, Large):
        return LARGE, ""
    if isinstance(error, Refusal):
        return error.code, error.sentence
    if isinstance(error, InputError):
        return "not_usable", str(error)
    if isinstance(error, MemoryError) or "Insufficient memory" in str(error):  # the latter is OpenCV's
        return "too_much_memory", "The images need more memory than one request may have: crop them to the cell."
    traceback.print_exception(error)
    return "failed", "The service has a defect here: tell its makers, with these files."


class StackCount(BaseModel):
    """How many stacks were written."""

    n_stacks: int
