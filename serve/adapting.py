"""A model of one's own from uploaded stacks: one job at a time, in a process that is killed when its time is over.

The process loads TensorFlow, which the service never does; it works in a temporary folder and tells its progress in
lines of JSON (``adaptation.job``).
"""

import asyncio
import importlib.util
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from focus_picker.dataset.errors import InputError
from focus_picker.serve.answers import AdaptAnswer
from focus_picker.serve.forms import BODY
from focus_picker.serve.refusals import ANY, UPLOAD, Refusal, responses
from focus_picker.serve.service import Service

COMMAND = (sys.executable, "-m", "focus_picker.adaptation.job")
"""Followed by the folder of the stacks and the run folder to write."""

MODEL_FILES = ("focus_model.tflite", "focus_model.json", "metrics.json")
FEWEST_STACKS = 5  # fewer cannot be learned from and tested on


class Adaptation:
    """The one job of a service, for its event loop.

    Raises
    ------
    InputError
        If TensorFlow is not installed.
    """

    def __init__(self, service: Service) -> None:
        if importlib.util.find_spec("tensorflow") is None:
            raise InputError("--adapt needs TensorFlow, which is not installed: pip install 'focus-picker[train]'")
        self._service = service
        self._folder: Path | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self.answer = AdaptAnswer(state="none")

    async def start(self, request: Request) -> AdaptAnswer:
        """Receive stacks and begin; the job before, if it has ended, is forgotten."""
        if self.answer.state in ("receiving", "running"):
            raise Refusal("already_running", "A model is being adapted: wait for it, or stop it with DELETE /adapt.")
        self.close()
        self.answer = AdaptAnswer(state="receiving")
        self._folder = folder = Path(tempfile.mkdtemp(prefix="focus_adapt_"))
        try:
            count = await self._receive(request, folder)
        except BaseException:
            if self._folder == folder:  # else it was stopped, and may be another's turn
                self.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self.answer = AdaptAnswer(state="running", n_stacks=count)
        self._task = asyncio.get_running_loop().create_task(self._run(folder))
        return self.answer

    async def _receive(self, request: Request, folder: Path) -> int:
        """Write the stacks of a request into the folder and return their number."""
        told = await self._service.answer(request, "unpack", folder=str(folder / "stacks"), name=None)
        count: int = json.loads(bytes(told.body))["n_stacks"]
        if self._folder != folder:
            raise Refusal("stopped", "The adaptation was stopped while its stacks were received: send them again.")
        if count < FEWEST_STACKS:
            raise Refusal("not_usable", f"{count} stacks are too few to learn from: send 10 or more.")
        return count

    async def _run(self, folder: Path) -> None:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *(str(folder / "stacks"), str(folder / "run")),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # so that its own processes can be killed with it
        )
        self._process = process
        try:
            async with asyncio.timeout(self._service.settings.adapt_seconds):
                assert process.stdout is not None
                async for line in process.stdout:
                    self._take(line)
                code = await process.wait()
        except TimeoutError:
            self._kill()
            self._end("failed", problem="The adaptation took too long: send fewer stacks.")
            return
        if code == 0:
            self._end("done")
        else:
            self._end(
                "failed", problem=self.answer.problem or "The adaptation failed: try cli.py adapt with these stacks."
            )

    def _take(self, line: bytes) -> None:
        with suppress(ValueError):
            self.answer = self.answer.model_copy(update=json.loads(line))

    def _end(self, state: str, **changes: Any) -> None:
        self.answer = self.answer.model_copy(update={"state": state, **changes})

    def model(self) -> bytes:
        """Zip of the adapted model, its side file and its figures."""
        if self.answer.state != "done" or self._folder is None:
            raise Refusal("not_found", "No model has been adapted: send stacks to POST /adapt first.")
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in MODEL_FILES:
                archive.write(self._folder / "run" / name, name)
        return packed.getvalue()

    def close(self) -> AdaptAnswer:
        """End the job, whatever it does, and remove its folder; one that a worker writes to goes with its request."""
        if self._task:
            self._task.cancel()
        self._kill()
        if self._folder and self.answer.state != "receiving":
            shutil.rmtree(self._folder, ignore_errors=True)
        self._task = self._process = self._folder = None
        self.answer = AdaptAnswer(state="none")
        return self.answer

    def _kill(self) -> None:
        if self._process and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def adapt_routes(service: Service, guards: list[Any]) -> tuple[APIRouter, Adaptation]:
    """Make the routes of ``--adapt``."""
    router, job = APIRouter(prefix="/adapt", tags=["adapt"], dependencies=guards), Adaptation(service)
    refused, stack_refused = responses(*ANY), responses(*UPLOAD, "several_stacks", "already_running", "stopped")

    @router.post(
        "",
        operation_id="startAdapt",
        summary="Adapt a model to 10 or more stacks",
        status_code=202,
        responses=stack_refused,
        openapi_extra=BODY,
    )
    async def start(request: Request) -> AdaptAnswer:
        return await job.start(request)

    @router.get(
        "",
        operation_id="adaptState",
        summary="How far it is, and what the model can be expected to do",
        responses=refused,
    )
    async def state() -> AdaptAnswer:
        return job.answer

    @router.delete("", operation_id="stopAdapt", summary="Stop it, and forget its model", responses=refused)
    async def stop() -> AdaptAnswer:
        return job.close()

    @router.get(
        "/model",
        operation_id="adaptedModel",
        summary="The adapted model as a zip: unpack it and give its folder to --model",
        response_class=Response,
        responses={200: {"content": {"application/zip": {}}}, **responses(*ANY, "not_found")},
    )
    async def model() -> Response:
        name = "attachment; filename=focus_model.zip"
        content = await asyncio.to_thread(job.model)
        return Response(content, media_type="application/zip", headers={"Content-Disposition": name})

    return router, job
