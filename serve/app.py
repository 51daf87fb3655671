"""The routes of the service; each receives, hands over to a worker process, and answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from focus_picker.dataset.version import VERSION
from focus_picker.serve.adapting import adapt_routes
from focus_picker.serve.answers import BatchAnswer, Health, PickAnswer, ScoreAnswer, StackProblem, State
from focus_picker.serve.forms import BODY
from focus_picker.serve.guard import Guard
from focus_picker.serve.origins import own_names
from focus_picker.serve.refusals import UPLOAD, Refusal, answer, responses
from focus_picker.serve.service import LINES, Service
from focus_picker.serve.settings import Settings
from focus_picker.stack_inference.decide import METHODS

PAGE = Path(__file__).parent / "page"
REFUSED = responses(*UPLOAD)
LIMITS = (
    "max_request_bytes",
    "max_unpacked_bytes",
    "max_files",
    "max_stacks",
    "max_image_pixels",
    "max_request_pixels",
)
"""Settings that /health tells, so that a client can keep to them."""

REFUSED_STACK = responses(*UPLOAD, "several_stacks")

Method = StrEnum("Method", {name: name for name in METHODS})  # type: ignore[misc]
ZStep = Annotated[
    float | None, Query(gt=0, le=1000, allow_inf_nan=False, description="Distance of two slices in micrometres.")
]
Chosen = Annotated[Method | None, Query(description="How to find the plane; fused if not given.")]
Thumbnails = Annotated[int, Query(ge=0, le=256, description="Side of previews in pixels, 0 for none.")]
Named = Annotated[str | None, Query(max_length=200, description="Name in the answer.")]
Drift = Annotated[bool, Query(description="Whether the image counts in the rolling figures of /metrics.")]


def create_app(settings: Settings, *, trusted: bool = True) -> FastAPI:
    """Make the service; ``trusted`` as ``Service`` takes it.

    Raises
    ------
    InputError
        If the model or the reference cannot be loaded.
    """
    service = Service(settings, trusted)

    ends: list[Callable[[], Any]] = [service.pool.close]

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        for end in ends:
            end()

    app = FastAPI(
        title="Focus Picker",
        version=VERSION,
        description="Signed focus scores of white-blood-cell images, and the best plane of a z-stack.",
        docs_url=None,  # both pages of FastAPI load their code from other hosts; /docs is our own
        redoc_url=None,
        lifespan=life,
    )
    app.state.service = service
    app.add_middleware(
        Guard,
        telemetry=service.telemetry,
        names=own_names(settings.allowed_hosts),
        max_in_flight=settings.max_in_flight,
    )
    install_handlers(app)
    _add_open_routes(app, service)
    guards = [Depends(service.check_token)]
    _add_guarded_routes(app, service, guards)
    if settings.adapt:
        router, job = adapt_routes(service, guards)
        app.include_router(router)
        app.state.adaptation = job
        ends.insert(0, job.close)
    app.mount("/static", StaticFiles(directory=PAGE), name="static")
    service.telemetry.paths = frozenset(route.path for route in app.routes if hasattr(route, "path"))
    return app


def install_handlers(app: FastAPI) -> None:
    """Give every refusal, whoever raises it, the one shape."""

    @app.exception_handler(Refusal)
    async def _refused(request: Request, refusal: Refusal) -> JSONResponse:
        return answer(refusal.code, refusal.sentence, refusal.headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"][1:]) or "request"
        return answer("bad_parameter", f"{where}: {fault['msg']}.")

    @app.exception_handler(HTTPException)
    async def _no_route(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 405:
            return answer("wrong_method", f"{request.url.path} does not take {request.method}.", error.headers)
        return answer("not_found", "There is nothing under this path: /docs lists what there is.")


def _add_open_routes(app: FastAPI, service: Service) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(PAGE / "docs.html")

    @app.get(
        "/health",
        operation_id="health",
        tags=["health"],
        summary="Whether the service answers, and with which model",
        responses=responses("wrong_host"),
    )
    async def health() -> Health:
        model, settings = service.pool.model, service.settings
        return Health(
            status="ok",
            version=VERSION,
            model_loaded=True,
            model=model.name,
            model_version=model.version,
            model_sha256=model.sha256,
            calibrated=model.calibrated,
            adapt=settings.adapt,
            limits={name: getattr(settings, name) for name in LIMITS},
        )

    @app.get(
        "/health/live",
        operation_id="live",
        tags=["health"],
        summary="Whether the process lives; restart it where it does not",
        responses=responses("wrong_host"),
    )
    async def live() -> State:
        return State(status="ok")

    @app.get(
        "/health/ready",
        operation_id="ready",
        tags=["health"],
        summary="Whether a worker can take requests; send none where it cannot",
        responses=responses("wrong_host", "busy"),
    )
    async def ready() -> State:
        if not service.pool.ready:
            raise Refusal("busy", "No worker process is running: try again in a moment.", {"Retry-After": "1"})
        return State(status="ok")


def _add_guarded_routes(app: FastAPI, service: Service, guards: list[Any]) -> None:
    shared: dict[str, Any] = {"openapi_extra": BODY, "dependencies": guards}

    @app.post(
        "/score",
        operation_id="score",
        tags=["images"],
        summary="Score one image",
        response_model=ScoreAnswer,
        responses=REFUSED,
        **shared,
    )
    async def score(request: Request, z_step_um: ZStep = None, name: Named = None, drift: Drift = True) -> Response:
        return await service.answer(request, "score", drift, z_step_um=z_step_um, name=name)

    @app.post(
        "/score-batch",
        operation_id="scoreBatch",
        tags=["images"],
        summary="Score many images",
        response_model=BatchAnswer,
        responses=REFUSED,
        **shared,
    )
    async def score_batch(request: Request, z_step_um: ZStep = None, drift: Drift = True) -> Response:
        return await service.answer(request, "score_batch", drift, z_step_um=z_step_um)

    @app.post(
        "/pick-focus",
        operation_id="pickFocus",
        tags=["stacks"],
        summary="Find the best plane of a z-stack",
        description="Slices as files (ordered by the numbers in their names), one multi-page TIFF, or a zip of slices.",
        response_model=PickAnswer,
        responses=REFUSED_STACK,
        **shared,
    )
    async def pick_focus(
        request: Request,
        z_step_um: ZStep = None,
        method: Chosen = None,
        name: Named = None,
        thumbnails: Thumbnails = 0,
    ) -> Response:
        options: dict[str, Any] = {"method": method and str(method), "z_step_um": z_step_um, "thumbnails": thumbnails}
        return await service.answer(request, "pick", name=name, **options)

    @app.post(
        "/pick-focus-batch",
        operation_id="pickFocusBatch",
        tags=["stacks"],
        summary="Find the best planes of many z-stacks",
        description="Zips of folders, several zips or several multi-page TIFF files. Each line of the answer is the "
        "JSON object of one stack, sent as soon as it is there: that of /pick-focus, or why the stack cannot be used.",
        response_class=Response,
        responses={
            **REFUSED_STACK,
            200: {"content": {LINES: {"schema": {"type": "string"}, "example": _line_example()}}},
        },
        **shared,
    )
    async def pick_focus_batch(
        request: Request, z_step_um: ZStep = None, method: Chosen = None, thumbnails: Thumbnails = 0
    ) -> Response:
        options: dict[str, Any] = {"method": method and str(method), "z_step_um": z_step_um, "thumbnails": thumbnails}
        return service.lines(request, "pick_batch", name=None, **options)

    @app.get(
        "/metrics",
        operation_id="metrics",
        tags=["health"],
        summary="Figures for Prometheus",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"example": 'focus_picker_images_total{status="in_focus"} 12.0\n'}}},
            **responses("no_token", "wrong_host", "failed"),
        },
        dependencies=guards,
    )
    async def metrics() -> Response:
        text = await asyncio.to_thread(service.telemetry.exposition)
        return Response(text, media_type=CONTENT_TYPE_LATEST)


def _line_example() -> str:
    return "\n".join(
        kind.model_validate(kind.model_config["json_schema_extra"]["examples"][0]).model_dump_json()  # type: ignore[index]
        for kind in (PickAnswer, StackProblem)
    )
