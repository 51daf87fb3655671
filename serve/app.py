"""The routes of the service; each receives, hands over to the engine in a worker thread, and answers."""

import asyncio
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Query, Response, Security
from fastapi.responses import FileResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.memory import MemoryFile
from focus_picker.dataset.version import VERSION
from focus_picker.drift.profile import Profile, read_profile
from focus_picker.serve.answers import BatchAnswer, Health, PickAnswer, ScoreAnswer
from focus_picker.serve.engine import Engine, Picked, Scored
from focus_picker.serve.guard import Guard
from focus_picker.serve.refusals import CLOSE, Refusal, install_handlers, responses
from focus_picker.serve.settings import Settings
from focus_picker.serve.telemetry import Telemetry
from focus_picker.serve.uploads import BODY, Intake, images_of, stack_of
from focus_picker.stack_inference import status
from focus_picker.stack_inference.decide import METHODS

PAGE = Path(__file__).parent / "page"
REFUSED = responses(400, 401, 408, 413, 415, 422, 503)
Result = TypeVar("Result")

Method = StrEnum("Method", {name: name for name in METHODS})  # type: ignore[misc]
ZStep = Annotated[
    float | None, Query(gt=0, le=1000, allow_inf_nan=False, description="Distance of two slices in micrometres.")
]


class Service:
    """What the routes share: settings, engine, figures, and the threads that work."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = Engine(settings.model, settings.workers)
        self.telemetry = Telemetry(settings.rolling_images, self._reference())
        self.intake = Intake(settings)
        self._threads = ThreadPoolExecutor(settings.workers, thread_name_prefix="score")

    def _reference(self) -> Profile | None:
        path = self.settings.reference
        if path is None:
            return None
        profile = read_profile(path)
        if profile.model_sha256 != self.engine.sha256:
            raise InputError(
                f"{path} was made with another model than {self.engine.path}, and their scores cannot be compared; "
                "make it again with this one: cli.py drift --save-profile"
            )
        return profile

    async def work(self, function: Callable[[Callable[[], None]], Result]) -> Result:
        """Run ``function`` in a worker thread; it gets a function that raises once the request's time is over.

        A thread cannot be stopped from outside: when the time is over the request is answered, and its thread goes on
        to the next check, and takes no other work until then. The limits on pixels bound how long that is.
        """
        seconds = self.settings.work_seconds
        late = Refusal(503, f"The answer took longer than {seconds:g} s: send fewer images.", {"Retry-After": "5"})
        end = time.monotonic() + seconds

        def go_on() -> None:
            if time.monotonic() > end:
                raise late

        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._threads.submit(function, go_on)), seconds)
        except TimeoutError:
            raise late from None

    def score(self, files: list[MemoryFile], z_step_um: float | None, go_on: Callable[[], None]) -> Scored:
        """Score the one image of a request."""
        images = images_of(files, self.settings)
        if len(images) != 1:
            raise Refusal(422, f"{len(images)} images are sent: send one, or several to /score-batch.")
        go_on()
        return self.engine.score(images[0], self.settings.max_image_pixels, z_step_um)

    def score_batch(self, files: list[MemoryFile], z_step_um: float | None, go_on: Callable[[], None]) -> list[Scored]:
        """Score all images of a request."""
        images = images_of(files, self.settings)
        return self.engine.score_batch(images, self.settings.max_image_pixels, z_step_um, go_on)

    def pick(
        self, files: list[MemoryFile], name: str | None, options: dict[str, Any], go_on: Callable[[], None]
    ) -> Picked:
        """Find the best plane of the stack of a request."""
        stack = stack_of(images_of(files, self.settings), name)
        go_on()
        picked = self.engine.pick(stack, **options)
        if picked.pick.status == status.UNREADABLE:
            raise Refusal(422, f"{stack.name}: {picked.pick.advice}")
        return picked


def create_app(settings: Settings) -> FastAPI:
    """Make the service.

    Raises
    ------
    InputError
        If the model or the reference cannot be loaded.
    """
    service = Service(settings)
    app = FastAPI(
        title="Focus Picker",
        version=VERSION,
        description="Signed focus scores of white-blood-cell images, and the best plane of a z-stack.",
        docs_url=None,  # both pages of FastAPI load their code from other hosts
        redoc_url=None,
    )
    app.state.service = service
    app.add_middleware(Guard, telemetry=service.telemetry, max_in_flight=settings.max_in_flight)
    install_handlers(app)
    _add_open_routes(app, service)
    _add_guarded_routes(app, service, [Depends(_token_check(settings))])
    app.mount("/static", StaticFiles(directory=PAGE), name="static")
    return app


def _token_check(settings: Settings) -> Callable[..., None]:
    """Make the dependency that compares the bearer token in constant time."""
    wanted = settings.token.get_secret_value().encode() if settings.token else None

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False))]) -> None:
        if wanted is None:
            return
        if given is None or not secrets.compare_digest(given.credentials.encode(), wanted):
            raise Refusal(
                401, "Send the service's token as 'Authorization: Bearer ...'.", {"WWW-Authenticate": "Bearer", **CLOSE}
            )

    return check


def _add_open_routes(app: FastAPI, service: Service) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    @app.get("/health", summary="Whether the service answers, and with which model")
    async def health() -> Health:
        engine = service.engine
        return Health(
            status="ok",
            version=VERSION,
            model_loaded=True,
            model=engine.path.name,
            model_version=engine.version,
            model_sha256=engine.sha256,
        )


def _add_guarded_routes(app: FastAPI, service: Service, guards: list[Any]) -> None:
    files_sent = Annotated[list[MemoryFile], Depends(service.intake.files)]

    @app.post("/score", summary="Score one image", responses=REFUSED, openapi_extra=BODY, dependencies=guards)
    async def score(files: files_sent, z_step_um: ZStep = None) -> ScoreAnswer:
        scored = await service.work(lambda go_on: service.score(files, z_step_um, go_on))
        service.telemetry.count_images([scored])
        return ScoreAnswer.of(scored)

    @app.post("/score-batch", summary="Score many", responses=REFUSED, openapi_extra=BODY, dependencies=guards)
    async def score_batch(files: files_sent, z_step_um: ZStep = None) -> BatchAnswer:
        scored = await service.work(lambda go_on: service.score_batch(files, z_step_um, go_on))
        service.telemetry.count_images(scored)
        return BatchAnswer.of(scored)

    @app.post(
        "/pick-focus",
        summary="Find the best plane of a z-stack",
        description="Slices as files (ordered by the numbers in their names), one multi-page TIFF, or a zip of slices.",
        responses=REFUSED,
        openapi_extra=BODY,
        dependencies=guards,
    )
    async def pick_focus(
        files: files_sent,
        z_step_um: ZStep = None,
        method: Annotated[Method | None, Query(description="How to find the plane; fused if not given.")] = None,
        name: Annotated[str | None, Query(max_length=200, description="Name of the stack in the answer.")] = None,
        thumbnails: Annotated[int, Query(ge=0, le=256, description="Side of previews in pixels, 0 for none.")] = 0,
    ) -> PickAnswer:
        options = {"method": method and str(method), "z_step_um": z_step_um, "thumbnail_px": thumbnails}
        picked = await service.work(lambda go_on: service.pick(files, name, options, go_on))
        service.telemetry.count_stack(picked)
        return PickAnswer.of(picked)

    @app.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **responses(401)},
        dependencies=guards,
    )
    async def metrics() -> Response:
        text = await asyncio.to_thread(service.telemetry.exposition)
        return Response(text, media_type=CONTENT_TYPE_LATEST)
