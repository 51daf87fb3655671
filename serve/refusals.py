"""Why a request is not answered: a stable code, its status and one sentence, as RFC 9457 asks for it."""

import http
import json
from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

CLOSE = {"Connection": "close"}
"""Header of a refusal that comes before the body is read: the rest of the body is then not received."""

MEDIA_TYPE = "application/problem+json"

CODES: dict[str, tuple[int, str]] = {
    "not_http": (400, "The request is not HTTP/1.1 that can be parsed."),
    "bad_form": (400, "The body cannot be parsed as multipart/form-data."),
    "cut_off": (400, "The connection was closed before the body was complete."),
    "no_token": (401, "The bearer token is missing or wrong."),
    "other_site": (403, "A web page of another site has sent the request."),
    "not_found": (404, "There is nothing under this path."),
    "wrong_method": (405, "The path does not take this method."),
    "slow_body": (408, "The body took too long to arrive."),
    "already_running": (409, "Another adaptation is running."),
    "stopped": (409, "The adaptation was stopped before it began."),
    "too_many_bytes": (413, "The body, or what it unpacks to, has too many bytes."),
    "too_many_files": (413, "Too many images, slices or entries."),
    "too_many_pixels": (413, "One image or all of them have too many pixels."),
    "too_much_memory": (413, "The work needs more memory than one request may have."),
    "wrong_type": (415, "Neither an image, a TIFF stack nor a zip of images."),
    "wrong_host": (421, "The service is not known under the name in the header Host."),
    "bad_parameter": (422, "A parameter of the query cannot be used."),
    "not_usable": (422, "An image, stack or archive is damaged or not what is asked for."),
    "several_stacks": (422, "More than one stack where one is asked for."),
    "not_decodable": (422, "The files brought down the process that decoded them."),
    "head_too_large": (431, "The head of the request is too large."),
    "failed": (500, "A defect of the service."),
    "busy": (503, "Too many requests or bytes at once; try again later."),
    "too_slow": (503, "The answer took longer than the service gives to one request."),
}
"""Code of a refusal: the status it is answered with, and what it means."""


ANY = ("no_token", "other_site", "wrong_host", "busy", "failed")
"""Codes that any guarded route may answer with."""

UPLOAD = (
    *("bad_form", "cut_off", "slow_body", "too_many_bytes", "too_many_files", "too_many_pixels", "too_much_memory"),
    *("wrong_type", "bad_parameter", "not_usable", "not_decodable", "too_slow", *ANY),
)
"""Codes that a route may answer with which takes files."""


class Refusal(Exception):
    """An answer other than 200.

    Parameters
    ----------
    code
        Of ``CODES``.
    sentence
        What is wrong, where, and how to fix it.
    headers
        That the answer carries.
    """

    def __init__(self, code: str, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        """HTTP status."""
        return CODES[self.code][0]

    def as_json(self) -> bytes:
        """Body of the answer."""
        return json.dumps(problem(self.code, self.sentence)).encode()


class Problem(BaseModel):
    """What every answer other than 200 holds: RFC 9457, and a code."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "detail": "5.jpg is truncated: its JPEG data cannot be decoded; copy or export it again.",
                    "code": "not_usable",
                }
            ]
        }
    )

    type: str = Field("about:blank", description="The title is that of the status.")
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="One sentence: what is wrong, where, and how to fix it.")
    code: str = Field(description="Stable name of the reason, for programs.")


def problem(code: str, sentence: str) -> dict[str, Any]:
    """Body of a refusal."""
    status = CODES[code][0]
    title = http.HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": status, "detail": " ".join(sentence.split()), "code": code}


def answer(code: str, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Make the answer of a refusal."""
    return JSONResponse(problem(code, sentence), CODES[code][0], dict(headers or {}), media_type=MEDIA_TYPE)


def responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Describe codes for OpenAPI: one entry a status, one example a code."""
    described: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        status, meaning = CODES[code]
        entry = described.setdefault(status, {"model": Problem, "description": "", "content": {MEDIA_TYPE: {}}})
        entry["description"] = " ".join(filter(None, [entry["description"], meaning]))
        example = {"summary": meaning, "value": problem(code, meaning)}
        entry["content"][MEDIA_TYPE].setdefault("examples", {})[code] = example
    return described


def raw_answer(code: str, sentence: str, headers: Mapping[bytes, bytes]) -> bytes:
    """The same as bytes of HTTP/1.1, for what is refused before there is a request."""
    status = CODES[code][0]
    body = json.dumps(problem(code, sentence)).encode()
    lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}".encode()]
    own = {b"content-type": MEDIA_TYPE.encode(), b"content-length": str(len(body)).encode(), b"connection": b"close"}
    lines += [name + b": " + value for name, value in {**headers, **own}.items()]
    return b"\r\n".join([*lines, b"", body])
