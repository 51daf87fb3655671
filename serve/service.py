"""What the routes share: settings, workers, figures; and the way of one request through them."""

import asyncio
import secrets
from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

from fastapi import Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import Receive, Scope, Send

from focus_picker.dataset.errors import InputError
from focus_picker.drift.profile import Profile, read_profile
from focus_picker.serve.frames import Head
from focus_picker.serve.intake import Intake
from focus_picker.serve.pool import Pool
from focus_picker.serve.refusals import CLOSE, Refusal
from focus_picker.serve.settings import Settings
from focus_picker.serve.telemetry import Telemetry
from focus_picker.stack_inference.loading import find_model

WATCH_AFTER_SECONDS = 0.25  # an answer that is there sooner needs nobody to see whether it is still wanted
LINES = "application/x-ndjson"

Result = TypeVar("Result")


class Service:
    """One service.

    Parameters
    ----------
    settings
        Of the service.
    trusted
        Whether whoever can reach it may count in the drift figures without a token: on loopback.

    Raises
    ------
    InputError
        If the model or the reference cannot be loaded.
    """

    def __init__(self, settings: Settings, trusted: bool) -> None:
        self.settings = settings
        self.path = find_model(settings.model)
        reference = None if settings.reference is None else read_profile(settings.reference)
        self.pool = Pool(settings)
        try:
            self._check_reference(reference)
        except InputError:
            self.pool.close()
            raise
        self.telemetry = Telemetry(settings.rolling_images, self.pool, reference)
        self.intake = Intake(settings)
        self._rolls = trusted or settings.token is not None

    def _check_reference(self, profile: Profile | None) -> None:
        if profile and profile.model_sha256 != self.pool.model.sha256:
            raise InputError(
                f"{self.settings.reference} was made with another model than {self.path}, and their scores cannot be "
                "compared; make it again with this one: cli.py drift --save-profile"
            )

    async def answer(self, request: Request, task: str, drift: bool = True, **options: Any) -> Response:
        """Receive the body of a request and answer with what a worker makes of it."""
        async with self.intake.body(request) as chunks:
            head, content = await _while_wanted(request, self.pool.ask(self._head(request, task, options), chunks))
        self._count(head, drift)
        return Response(content, media_type="application/json")

    def lines(self, request: Request, task: str, **options: Any) -> Response:
        """The same, each part of the answer as a line as soon as it is there."""
        return _Lines(self, request, self._head(request, task, options))

    def _head(self, request: Request, task: str, options: dict[str, Any]) -> Head:
        return {"task": task, "type": request.headers.get("content-type", ""), **options}

    def _count(self, head: Head, drift: bool) -> None:
        for image in head.get("images", ()):
            self.telemetry.count_image(image["status"], image["quantities"] if drift and self._rolls else {})
        for state in head.get("stacks", ()):
            self.telemetry.count_stack(state)

    def check_token(
        self, given: Annotated[HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False))]
    ) -> None:
        """Compare the bearer token in constant time; a dependency of the routes that ask for it."""
        if self.settings.token is None:
            return
        wanted = self.settings.token.get_secret_value().encode()
        if given is None or not secrets.compare_digest(given.credentials.encode(), wanted):
            raise Refusal(
                "no_token",
                "Send the service's token as 'Authorization: Bearer ...'.",
                {"WWW-Authenticate": "Bearer", **CLOSE},
            )


class _Lines(Response):
    """Answers of a worker as NDJSON; a refusal after the first line is a line itself."""

    def __init__(self, service: Service, request: Request, head: Head) -> None:
        self.service, self.request, self.head = service, request, head
        self.background, self.status_code = None, 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def line(head: Head, content: bytes) -> None:
            nonlocal started
            if not started:
                headers = [(b"content-type", LINES.encode())]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                started = True
            self.service._count(head, drift=False)
            await send({"type": "http.response.body", "body": content + b"\n", "more_body": True})

        try:
            async with self.service.intake.body(self.request) as chunks:
                asked = self.service.pool.ask(self.head, chunks, line)
                await line(*await _while_wanted(self.request, asked))
        except Refusal as refusal:
            if not started:
                raise
            await line({}, refusal.as_json())
        await send({"type": "http.response.body", "body": b""})


async def _while_wanted(request: Request, work: Awaitable[Result]) -> Result:
    """Wait for an answer, and cancel the work where the client goes away."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=WATCH_AFTER_SECONDS)
        if done:
            return task.result()
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
        if task.done():
            return task.result()
        raise Refusal("cut_off", "The connection was closed before the answer was ready.")
    finally:
        task.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
