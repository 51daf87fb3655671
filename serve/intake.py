"""Receives the bodies of requests: never more bytes, nor for longer, than the settings allow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from focus_picker.serve.forms import check_type
from focus_picker.serve.refusals import CLOSE, Refusal
from focus_picker.serve.settings import Settings


class Intake:
    """Holds the bodies of all requests; one instance serves them all, and lives on the event loop.

    Attributes
    ----------
    buffered
        Bytes of the bodies that are being received or worked on.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.buffered = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[list[bytes]]:
        """Give the pieces of a body; what they occupy counts until the request is over.

        Raises
        ------
        Refusal
            ``wrong_type``, ``too_many_bytes``, ``busy``, ``slow_body`` or ``cut_off``.
        """
        check_type(request.headers.get("content-type", ""))
        limit, budget = self.settings.max_request_bytes, self.settings.max_buffered_bytes
        _check_announced(request, limit)
        received, chunks = 0, []
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                async for chunk in request.stream():
                    received += len(chunk)
                    self.buffered += len(chunk)
                    if received > limit:
                        raise Refusal(
                            "too_many_bytes",
                            f"The body is larger than {limit} bytes: send fewer or smaller images.",
                            CLOSE,
                        )
                    if self.buffered > budget:
                        raise Refusal(
                            "busy", "Too many bytes are being received: try again later.", {"Retry-After": "1", **CLOSE}
                        )
                    chunks.append(chunk)
            yield chunks
        except TimeoutError:
            seconds = self.settings.body_seconds
            sentence = f"The body did not arrive within {seconds:g} s: send it faster, or less."
            raise Refusal("slow_body", sentence, CLOSE) from None
        except ClientDisconnect:
            raise Refusal("cut_off", "The connection was closed before the body was complete: send it again.") from None
        finally:
            self.buffered -= received


def _check_announced(request: Request, limit: int) -> None:
    """Refuse a body by the length it announces, before it is sent."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise Refusal(
            "too_many_bytes",
            f"The body has {announced[:20]} bytes, more than the limit of {limit}: send fewer or smaller images.",
            CLOSE,
        )
