"""What stands before every request: who may ask, how many at once, figures, and headers for browsers."""

import logging
import re
import secrets
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from focus_picker.serve.origins import check_host, check_origin
from focus_picker.serve.refusals import CLOSE, Refusal, answer
from focus_picker.serve.telemetry import Telemetry

log = logging.getLogger(__name__)

ALWAYS_ANSWERED = ("/health", "/health/live", "/health/ready", "/metrics")
"""Paths that are answered however busy the service is: those who watch it ask for them."""

HEADERS = {
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    b"connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cache-control": b"no-store",
}

REQUEST_ID = b"x-request-id"


class Guard:
    """ASGI middleware; written against the protocol itself, as it is on the path of every request.

    Parameters
    ----------
    app
        What it stands before.
    telemetry
        Where requests are counted.
    names
        Under which the service may be asked for (``origins.own_names``).
    max_in_flight
        Requests at a time; further ones are told to come back.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry, names: frozenset[str], max_in_flight: int) -> None:
        self.app = app
        self.telemetry = telemetry
        self.names = names
        self.max_in_flight = max_in_flight
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a defect becomes an answer too, and goes to the log with the request's number."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, headers = time.perf_counter(), 0, Headers(scope=scope)
        number = _request_id(headers)
        if bodiless := scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *HEADERS.items(), (REQUEST_ID, number)]
            elif bodiless:
                message = {**message, "body": b""}
            await send(message)

        self._in_flight += 1
        self.telemetry.in_flight.set(self._in_flight)
        try:
            self._check(scope, headers)
            await self.app(scope, receive, send_noting)
        except Refusal as refusal:
            await answer(refusal.code, refusal.sentence, refusal.headers)(scope, receive, send_noting)
        except Exception:
            log.exception("request %s failed: %s %s", number.decode(), scope["method"], scope["path"])
            if status:
                raise
            sentence = f"The service has a defect here: tell its makers the number {number.decode()} and what you sent."
            await answer("failed", sentence, CLOSE)(scope, receive, send_noting)
        finally:
            self._in_flight -= 1
            self.telemetry.in_flight.set(self._in_flight)
            self._note(scope, status or 500, time.perf_counter() - started)

    def _check(self, scope: Scope, headers: Headers) -> None:
        check_host(headers, self.names)
        check_origin(scope["method"], headers)
        if self._in_flight > self.max_in_flight and scope["path"] not in ALWAYS_ANSWERED:
            raise Refusal("busy", "Too many requests at once: try again in a moment.", {"Retry-After": "1", **CLOSE})

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """Count by the route's path, as paths of visitors' choosing would be figures without end."""
        known = scope["path"] if scope["path"] in self.telemetry.paths else "other"
        path = getattr(scope.get("route"), "path", known)
        self.telemetry.requests.labels(path, str(status)).inc()
        self.telemetry.seconds.labels(path).observe(seconds)


def _request_id(headers: Headers) -> bytes:
    """The number that a proxy has given the request, or a new one."""
    given = headers.get("x-request-id", "")
    return given.encode() if re.fullmatch(r"[\w.-]{1,64}", given, re.ASCII) else secrets.token_hex(8).encode()
