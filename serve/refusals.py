"""Why a request is not answered: a status and one sentence, in one shape for all of them."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from focus_picker.dataset.errors import InputError

CLOSE = {"Connection": "close"}
"""Header of a refusal that comes before the body is read: the rest of the body is then not received."""


class Refusal(HTTPException):
    """An answer other than 200: the status, and a sentence that says what, where and how to fix it."""


class Problem(BaseModel):
    """What every answer other than 200 holds."""

    detail: str = Field(description="One sentence: what is wrong, where, and how to fix it.")


MEANINGS = {
    400: "The body cannot be parsed as multipart/form-data.",
    401: "The bearer token is missing or wrong.",
    408: "The body took too long to arrive.",
    413: "Too many bytes, pixels or files.",
    415: "Not an image, TIFF stack or zip of images.",
    422: "An image, stack, archive or parameter that cannot be used.",
    503: "Too many requests at once, or the answer took too long; try again later.",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe statuses for OpenAPI."""
    return {status: {"model": Problem, "description": MEANINGS[status]} for status in statuses}


def answer(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Make the answer of a refusal."""
    return JSONResponse({"detail": sentence}, status, dict(headers or {}))


def install_handlers(app: FastAPI) -> None:
    """Give every refusal, whoever raises it, the one shape."""

    @app.exception_handler(InputError)
    async def _unusable(request: Request, error: InputError) -> JSONResponse:
        return answer(422, " ".join(str(error).split()))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"][1:]) or "request"
        return answer(422, f"{where}: {fault['msg']}.")
