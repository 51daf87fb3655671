"""Connections before there is a request: limits on heads, idle and unread time, and on how many there may be.

uvicorn's parser takes heads of any size for any time, and its limit on connections would refuse ``/health`` too.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from focus_picker.serve.guard import HEADERS
from focus_picker.serve.refusals import raw_answer
from focus_picker.serve.settings import Settings

LINGER_SECONDS = 5.0  # for a refused client to read why
TICKS = 10  # of uvicorn's tenth of a second, between two looks at all connections
MOST_WAITING = 16  # requests of one connection; common clients wait for each answer
FRAMING = 11  # bytes of a chunk's frame for each of its own that are no head: "1\r\nx\r\n" has five


class LimitedProtocol(HttpToolsProtocol):
    """One connection; ``limited`` makes the class that a server is given."""

    settings: ClassVar[Settings]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, and close another where there are too many."""
        super().connection_made(transport)
        self.overhead = 0  # bytes received that are neither body nor a head that was taken
        self.receiving = self.refused = False  # a body; an answer without a request was sent
        self.since = time.monotonic()  # it idles, a head is being sent, or an answer is left unread
        others = [one for one in self.connections if one is not self and isinstance(one, LimitedProtocol)]
        same = [one for one in others if one.client and self.client and one.client[0] == self.client[0]]
        settings = self.settings
        for some, most in ((same, settings.max_connections_per_client), (others, settings.max_connections)):
            if len(some) >= most and not _close_least_active(some):
                self._refuse("busy", "Too many connections are open: close some, or try again later.")

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the parser, unless what is no body grows beyond its limit."""
        if self.refused:
            return
        if not self.receiving and not self.overhead:
            self.since = time.monotonic()
        self.overhead += len(data)
        super().data_received(data)
        if self.overhead > self.settings.max_head_bytes:
            self._refuse("head_too_large", f"The head is larger than {self.settings.max_head_bytes} bytes: send less.")

    def on_headers_complete(self) -> None:
        """Take the request, or give the connection up where too many are sent before the first is answered."""
        if len(self.pipeline) >= MOST_WAITING:
            self.drop()
            raise ValueError("too many requests at once on one connection")
        self.overhead, self.receiving = 0, True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body, with the frames of its chunks."""
        self.overhead = max(0, self.overhead - FRAMING * len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect the next head."""
        self.overhead, self.receiving = 0, False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self.since = time.monotonic()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Note since when the client does not read."""
        self.since = time.monotonic()
        super().pause_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP in the form of all other refusals."""
        self._refuse("not_http", "The request cannot be parsed as HTTP/1.1: send it with a common client.")

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or (self.cycle.response_complete and not self.pipeline)

    def is_over(self, now: float) -> bool:
        """Whether the client has had its time: to send a head, to read an answer, or to close."""
        seconds = now - self.since
        if self.refused:
            return seconds > LINGER_SECONDS
        if self.flow.write_paused or self.transport.is_closing():
            return seconds > self.settings.write_seconds
        waits_for_head = self.cycle is None or (self.overhead > 0 and not self.receiving)
        return waits_for_head and seconds > self.settings.head_seconds

    def drop(self) -> None:
        """Close at once, whatever is still to be sent; the requests of the connection are told that it is gone."""
        self.pipeline.clear()
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.flow.resume_writing()
        self.transport.abort()

    def _refuse(self, code: str, sentence: str) -> None:
        """Answer once without a request, and close."""
        if self.refused or self.transport.is_closing():
            return
        self.refused, self.since = True, time.monotonic()
        self._unset_keepalive_if_required()
        self.transport.write(raw_answer(code, sentence, HEADERS))
        self.transport.close()


def _close_least_active(connections: Iterable[LimitedProtocol]) -> bool:
    """Close the connection that has longest been idle or not read; False where all are at work."""
    inactive = [one for one in connections if (one.idle or one.flow.write_paused) and not one.transport.is_closing()]
    if not inactive:
        return False
    min(inactive, key=lambda one: one.since).drop()
    return True


def limited(settings: Settings) -> type[LimitedProtocol]:
    """Protocol class of a server with these settings."""
    return type("Protocol", (LimitedProtocol,), {"settings": settings})


class LimitedServer(uvicorn.Server):
    """A server that closes the connections whose time is over.

    Parameters
    ----------
    config
        Of uvicorn.
    on_second
        Called once a second for as long as the event loop goes round.
    """

    def __init__(self, config: uvicorn.Config, on_second: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_second = on_second

    async def on_tick(self, counter: int) -> bool:
        """Look at all connections once a second."""
        if counter % TICKS == 0:
            self._on_second()
            now, connections = time.monotonic(), set[Any](self.server_state.connections)
            for one in connections:
                if isinstance(one, LimitedProtocol) and one.is_over(now):
                    one.drop()
        return await super().on_tick(counter)
