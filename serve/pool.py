"""The worker processes: each does one request at a time, is killed when its time is over, and is replaced.

What strangers send is decoded in them only. A file that takes forever, or all memory, or brings a decoder down, costs
its sender an answer and nobody else anything but the moment until the worker is replaced.
"""

import asyncio
import logging
import multiprocessing
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from focus_picker.dataset.errors import InputError
from focus_picker.serve.answers import ModelAnswer
from focus_picker.serve.frames import Channel, Head, receive
from focus_picker.serve.refusals import Refusal
from focus_picker.serve.settings import MIB, Settings
from focus_picker.serve.tasks import LARGE, LARGE_BYTES
from focus_picker.serve.worker import work
from focus_picker.stack_inference.loading import find_model

log = logging.getLogger(__name__)

LEAST_SECONDS, SECONDS_A_MIB = 10.0, 5.0
"""Time that any request gets, and more by its size, up to the settings' ``work_seconds``. An image takes a millisecond,
a megabyte of JPEG slices a tenth of a second."""

START_SECONDS = 60  # for a process to load the model, on a busy machine
RETRY = {"Retry-After": "2"}

Emit = Callable[[Head, bytes], Awaitable[None]]
"""Takes an answer of a worker that is not its last."""

# A worker is forked from a process that has imported everything: it is ready in a twentieth of a second.
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
CONTEXT = multiprocessing.get_context(METHOD)
PRELOADED = ["focus_picker.cli", "focus_picker.serve.worker"]
RUNTIMES = {".tflite": ["focus_picker.deep.runtime"], ".txt": ["focus_picker.features.baseline"]}
"""Modules that a worker judges with, by the suffix of the model; what is imported before the fork is shared."""


class Worker:
    """One process and the socket to it."""

    def __init__(self, settings: Settings) -> None:
        self.connection, theirs = socket.socketpair()
        self.process = CONTEXT.Process(target=work, args=(theirs, settings), daemon=True)  # type: ignore[attr-defined]
        self.process.start()
        theirs.close()
        self.channel = Channel(self.connection)

    def greet(self) -> ModelAnswer:
        """Wait until the model is loaded; blocks. Raises InputError where it cannot be."""
        self.connection.settimeout(START_SECONDS)
        try:
            head, _ = receive(self.connection)
        except (EOFError, TimeoutError):
            raise InputError("a worker process ended while it loaded the model: is there enough memory?") from None
        if "problem" in head:
            raise InputError(head["problem"])
        self.connection.setblocking(False)
        return ModelAnswer(**head)

    async def greet_later(self) -> None:
        """The same without blocking, for a worker that replaces another."""
        self.connection.setblocking(False)
        async with asyncio.timeout(START_SECONDS):
            head, _ = await self.channel.receive()
        if "problem" in head:
            raise InputError(head["problem"])

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        self.connection.close()
        self.process.kill()


class Pool:
    """The workers of a service; its methods but for the constructor are for the event loop.

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
        self._settings = settings.model_copy(update={"token": None})
        if METHOD == "forkserver":
            CONTEXT.set_forkserver_preload([*PRELOADED, *RUNTIMES.get(find_model(settings.model).suffix, [])])
        self._workers = {Worker(self._settings) for _ in range(settings.workers)}
        try:
            (self.model, *_) = [worker.greet() for worker in self._workers]
        except InputError:
            self.close()
            raise
        self._free = list(self._workers)
        self._count = asyncio.Semaphore(settings.workers)
        self._alone = asyncio.Lock()
        self._batches = asyncio.Semaphore(max(1, settings.workers - 1))  # one worker is left to short requests
        self.replaced = 0
        self._replacing: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """Whether any worker is alive."""
        return any(worker.process.is_alive() for worker in self._workers)

    @property
    def pids(self) -> list[int]:
        """Process numbers of the workers."""
        return [worker.process.pid for worker in self._workers if worker.process.pid]

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.kill()

    async def ask(self, task: Head, chunks: Sequence[bytes], emit: Emit | None = None) -> tuple[Head, bytes]:
        """Give a request to a worker and return its last answer; those before it go to ``emit``.

        A request of many decoded bytes waits until it is the only such one, so that their memory does not add up; one
        of many answers waits for another such where it would take the last worker. The worker is killed where this is
        cancelled, which ends its work, or where its time is over.

        Raises
        ------
        Refusal
            What the worker refuses; ``busy`` where no worker came free in time; ``too_slow``; ``not_decodable`` where
            the worker died.
        """
        if emit is None:
            return await self._in_turn(task, chunks, None)
        await _in_time(self._batches.acquire(), self._settings.work_seconds)
        try:
            return await self._in_turn(task, chunks, emit)
        finally:
            self._batches.release()

    async def _in_turn(self, task: Head, chunks: Sequence[bytes], emit: Emit | None) -> tuple[Head, bytes]:
        """Ask, and once more alone where the request turns out to be large."""
        if sum(map(len, chunks)) <= LARGE_BYTES:
            head, content = await self._ask(task | {"alone": False}, chunks, emit)
            if head.get("code") != LARGE:
                return head, content
        await _in_time(self._alone.acquire(), self._settings.work_seconds)
        try:
            return await self._ask(task | {"alone": True}, chunks, emit)
        finally:
            self._alone.release()

    async def _ask(self, task: Head, chunks: Sequence[bytes], emit: Emit | None) -> tuple[Head, bytes]:
        await _in_time(self._count.acquire(), self._settings.work_seconds)
        worker, whole = self._free.pop(), False
        seconds = self._settings.work_seconds if emit else seconds_for(chunks, self._settings)
        try:
            async with asyncio.timeout(seconds):
                await worker.channel.send(task, chunks)
            while True:
                async with asyncio.timeout(seconds):
                    head, content = await worker.channel.receive()
                if head.get("last"):
                    break
                if emit:
                    await emit(head, content)
            whole = True
        except TimeoutError:
            raise Refusal(
                "too_slow", f"The answer took longer than {seconds:g} s: send fewer or smaller images.", RETRY
            ) from None
        except (EOFError, OSError, ValueError):
            raise Refusal(
                "not_decodable",
                "The files need more memory than one request may have, or break a decoder: crop or export them again.",
            ) from None
        finally:
            self._give_back(worker, whole)
        if head.get("code") not in (None, LARGE):
            raise Refusal(str(head["code"]), content.decode(errors="replace"))
        return head, content

    def _give_back(self, worker: Worker, whole: bool) -> None:
        """Put a worker back among the free, or kill it and start another where it is still at work."""
        if whole:
            self._free.append(worker)
            self._count.release()
            return
        worker.kill()
        self.replaced += 1
        self._workers.discard(worker)
        task = asyncio.get_running_loop().create_task(self._replace(worker))
        self._replacing.add(task)  # the loop itself keeps no reference
        task.add_done_callback(self._replacing.discard)

    async def _replace(self, killed: Worker) -> None:
        """Start a worker in place of a killed one, and again where that fails."""
        await asyncio.to_thread(killed.process.join)
        while not (worker := await self._start()):
            await asyncio.sleep(1)
        self._free.append(worker)
        self._count.release()

    async def _start(self) -> Worker | None:
        """Start a worker; None where that fails."""
        worker = None
        try:
            worker = Worker(self._settings)
            self._workers.add(worker)
            await worker.greet_later()
        except (InputError, EOFError, OSError, TimeoutError) as error:
            log.error("a worker process did not start: %r", error)
            if worker:
                worker.kill()
                self._workers.discard(worker)
            return None
        return worker


async def _in_time(waited_for: Awaitable[Any], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await waited_for
    except TimeoutError:
        raise Refusal("busy", "Every worker is busy: try again in a moment.", RETRY) from None


def seconds_for(chunks: Sequence[bytes], settings: Settings) -> float:
    """Time that a request may take, by the size of its body."""
    return min(settings.work_seconds, LEAST_SECONDS + SECONDS_A_MIB * sum(map(len, chunks)) / MIB)
