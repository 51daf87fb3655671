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


async def send_async(connection: socket.socket, head: Head, chunks: Sequence[bytes]) -> None:
    """Send a frame whose bytes are the ``chunks`` in turn; none of them is copied together with others if large."""
    loop = asyncio.get_running_loop()
    start = pack(head, sum(map(len, chunks)))
    if len(chunks) == 1 and len(chunks[0]) < 2**17:
        await loop.sock_sendall(connection, start + chunks[0])
        return
    await loop.sock_sendall(connection, start)
    for chunk in chunks:
        await loop.sock_sendall(connection, chunk)


async def receive_async(connection: socket.socket) -> tuple[Head, bytes]:
    """Receive a frame. Raises EOFError where the worker has gone, ValueError for what is no frame."""
    received = bytearray()
    await _fill(connection, received, LENGTHS.size)
    head_length, length = LENGTHS.unpack_from(received)
    if head_length > LARGEST_HEAD or length > LARGEST_ANSWER:
        raise ValueError(f"a frame of {head_length} and {length} bytes")
    await _fill(connection, received, LENGTHS.size + head_length + length)
    start = LENGTHS.size + head_length
    return json.loads(received[LENGTHS.size : start]), bytes(received[start : start + length])


async def _fill(connection: socket.socket, received: bytearray, length: int) -> None:
    loop = asyncio.get_running_loop()
    while len(received) < length:
        some = await loop.sock_recv(connection, PIECE)
        if not some:
            raise EOFError
        received += some
