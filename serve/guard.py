"""What stands before every request: a limit on how many there are at once, figures, and headers for browsers."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from focus_picker.serve.refusals import CLOSE, answer
from focus_picker.serve.telemetry import Telemetry

ALWAYS_ANSWERED = ("/health", "/metrics")
"""Paths that are answered however busy the service is: those who watch it ask for them."""

HEADERS = {
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    b"connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
}


class Guard:
    """ASGI middleware; written against the protocol itself, as it is on the path of every request.

    Parameters
    ----------
    app
        What it stands before.
    telemetry
        Where requests are counted.
    max_in_flight
        Requests at a time; further ones are told to come back.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry, max_in_flight: int) -> None:
        self.app = app
        self.telemetry = telemetry
        self.max_in_flight = max_in_flight
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *HEADERS.items()]
            await send(message)

        self._in_flight += 1
        self.telemetry.in_flight.set(self._in_flight)
        try:
            if self._in_flight > self.max_in_flight and scope["path"] not in ALWAYS_ANSWERED:
                busy = answer(503, "Too many requests at once: try again in a moment.", {"Retry-After": "1", **CLOSE})
                await busy(scope, receive, send_noting)
            else:
                await self.app(scope, receive, send_noting)
        finally:
            self._in_flight -= 1
            self.telemetry.in_flight.set(self._in_flight)
            self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """Count by the route's path, as paths of visitors' choosing would be figures without end."""
        path = getattr(scope.get("route"), "path", "other")
        self.telemetry.requests.labels(path, str(status)).inc()
        self.telemetry.seconds.labels(path).observe(seconds)
