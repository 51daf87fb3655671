"""What passes between the service and a worker process: frames of a JSON head and bytes.

JSON and not pickle: a worker decodes what strangers send, and what it says must not be able to do anything.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Sequence
from typing import Any

LENGTHS = struct.Struct("<IQ")  # of head and bytes
LARGEST_HEAD, LARGEST_ANSWER = 8 * 2**20, 64 * 2**20  # bytes that a worker may send; what it says is not believed
PIECE = 2**18

Head = dict[str, Any]


def pack(head: Head, length: int) -> bytes:
    """Start of a frame of a head and ``length`` bytes that are sent after it."""
    text = json.dumps(head, separators=(",", ":")).encode()
    return LENGTHS.pack(len(text), length) + text


def send(connection: socket.socket, head: Head, content: bytes = b"") -> None:
    """Send a frame; blocks."""
    connection.sendall(pack(head, len(content)) + content)


def receive(connection: socket.socket) -> tuple[Head, bytes]:
    """Receive a frame; blocks. Raises EOFError where the other side has gone."""
    head_length, length = LENGTHS.unpack(_exactly(connection, LENGTHS.size))
    return json.loads(_exactly(connection, head_length)), bytes(_exactly(connection, length))


def _exactly(connection: socket.socket, length: int) -> bytearray:
    received = bytearray(length)
    view = memoryview(received)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return received


class Channel:
    """The service's side of a socket to a worker; keeps what it has received of the next frame.

    Parameters
    ----------
    connection
        That does not block.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = bytearray()

    async def send(self, head: Head, chunks: Sequence[bytes]) -> None:
        """Send a frame whose bytes are the ``chunks`` in turn; large ones are not copied together."""
        loop = asyncio.get_running_loop()
        start = pack(head, sum(map(len, chunks)))
        if len(chunks) == 1 and len(chunks[0]) < PIECE:
            await loop.sock_sendall(self._connection, start + chunks[0])
            return
        await loop.sock_sendall(self._connection, start)
        for chunk in chunks:
            await loop.sock_sendall(self._connection, chunk)

    async def receive(self) -> tuple[Head, bytes]:
        """Receive a frame. Raises EOFError where the worker has gone, ValueError for what is no frame."""
        received = self._received
        await self._fill(LENGTHS.size)
        head_length, length = LENGTHS.unpack_from(received)
        if head_length > LARGEST_HEAD or length > LARGEST_ANSWER:
            raise ValueError(f"a frame of {head_length} and {length} bytes")
        start = LENGTHS.size + head_length
        await self._fill(start + length)
        head, content = json.loads(received[LENGTHS.size : start]), bytes(received[start : start + length])
        del received[: start + length]
        return head, content

    async def _fill(self, length: int) -> None:
        loop = asyncio.get_running_loop()
        while len(self._received) < length:
            some = await loop.sock_recv(self._connection, PIECE)
            if not some:
                raise EOFError
            self._received += some
