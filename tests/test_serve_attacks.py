"""What is made to bring a service down, sent to a real one: it gives a reason, stays small, and serves the next."""

import contextlib
import io
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from tests.served import served
from tests.uploads import (
    crowded_zip,
    declaring_tiff,
    example_slices,
    form,
    overlapping_tiff,
    scan_bomb,
    zipped,
)

SLICES = example_slices()
MIB = 2**20
MOST_BYTES = 1024 * MIB  # of all processes together, as docs/serve.md promises
SHORT = {"WORK": "2", "HEAD": "1.5", "WRITE": "1.5", "BODY": "5"}


@pytest.fixture(scope="module")
def address():
    with served(**{f"FOCUS_PICKER_{name}_SECONDS": seconds for name, seconds in SHORT.items()}) as one:
        yield one


@pytest.fixture(scope="module")
def undisturbed():
    """Another service that nobody attacks: what it takes longer than a blink for is the machine's doing."""
    with served(FOCUS_PICKER_WORKERS="1") as one:
        yield one


@pytest.fixture(autouse=True)
def _memory_is_bounded_and_the_next_is_served_within_a_second(address, undisturbed):
    with address.watched(MOST_BYTES):
        yield
        with ThreadPoolExecutor(2) as pool:
            here, elsewhere = pool.map(_seconds_of_an_honest_request, (address, undisturbed))
        assert here < 1 + elsewhere


def _seconds_of_an_honest_request(address):
    started = time.monotonic()
    assert httpx.post(f"{address}/score", files=form(SLICES[:1]), timeout=20).status_code == 200
    return time.monotonic() - started


def figure(address, name):
    text = httpx.get(f"{address}/metrics", timeout=20).text
    return float(re.search(rf"^focus_picker_{name} (\S+)", text, re.MULTILINE)[1])


def connect(address):
    parts = urlsplit(address)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def all_of(connection):
    received = b""
    with contextlib.suppress(OSError):
        while piece := connection.recv(2**16):
            received += piece
    return received


def large_png(side=4000):
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


ATTACKS = {
    "declared planes": ("/score", [("a.tif", declaring_tiff())], 422, "not_usable"),
    "declared planes in a zip": ("/pick-focus", [("a.zip", zipped([("a.tif", declaring_tiff())]))], 422, "not_usable"),
    "scans without end": ("/score", [("a.jpg", scan_bomb())], 422, "not_usable"),
    "overlapping directories": ("/pick-focus", [("a.tif", overlapping_tiff())], 503, "too_slow"),
    "crowded directory": ("/score-batch", [("a.zip", crowded_zip())], 413, "too_many_files"),
    "large slices": ("/pick-focus", [(f"{i}.png", large_png()) for i in range(3)], 413, "too_many_pixels"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_files_made_to_do_harm_are_refused_twice_at_once(address, attack):
    path, files, status, code = ATTACKS[attack]
    with ThreadPoolExecutor(2) as pool:
        both = pool.map(lambda _: httpx.post(f"{address}{path}", files=form(files), timeout=60), range(2))
        for answer in both:
            assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_work_that_nobody_waits_for_is_ended(address):
    before = figure(address, "workers_replaced_total")
    body = httpx.Request("POST", f"{address}/score", files=form([("a.tif", overlapping_tiff())]))
    content = body.read()
    with connect(address) as gone:
        head = f"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: {body.headers['content-type']}\r\n"
        gone.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        for _ in range(40):
            if figure(address, "requests_in_flight") > 1:
                break
    for _ in range(100):
        if figure(address, "requests_in_flight") == 1 and figure(address, "workers_replaced_total") > before:
            return
        time.sleep(0.05)
    pytest.fail("the work of a closed connection goes on")


def test_a_queue_behind_slow_work_does_not_pile_up(address):
    with ThreadPoolExecutor(14) as pool:
        bombs = [
            pool.submit(httpx.post, f"{address}/score", files=form([("a.tif", overlapping_tiff())]), timeout=60)
            for _ in range(2)
        ]
        ballast = form([*SLICES[:1], ("b.jpg", bytes(14 * MIB))])
        others = [pool.submit(httpx.post, f"{address}/score-batch", files=ballast, timeout=60) for _ in range(12)]
        assert {bomb.result().status_code for bomb in bombs} == {503}
        assert {other.result().status_code for other in others} <= {200, 408, 503}
    assert figure(address, "requests_in_flight") == 1


def test_batches_leave_a_worker_to_short_requests(address, undisturbed):
    many = form([("x.zip", zipped([(f"s{place}/{name}", content) for place in range(40) for name, content in SLICES]))])
    with ThreadPoolExecutor(4) as pool:
        batches = [pool.submit(httpx.post, f"{address}/pick-focus-batch", files=many, timeout=60) for _ in range(2)]
        while figure(address, "requests_in_flight") < 3:
            assert not all(batch.done() for batch in batches)
        here, elsewhere = pool.map(_seconds_of_an_honest_request, (address, undisturbed))
        assert not all(batch.done() for batch in batches)
        assert here < 1 + elsewhere
        assert {batch.result().status_code for batch in batches} <= {200, 503}


ENDLESS = {
    "head": b"GET / HTTP/1.1\r\nHost: localhost\r\n",
    "line": b"GET /",
    "trailer": b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
    "chunk frame": b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n1;",
}


@pytest.mark.parametrize("part", ENDLESS)
def test_what_is_no_body_has_a_limit(address, part):
    with connect(address) as endless:
        endless.sendall(ENDLESS[part])
        piece, sent = (b"x" if part in ("line", "chunk frame") else b"X-A: " + b"x" * 200 + b"\r\n") * 1000, 0
        with contextlib.suppress(OSError):
            while sent < 150 * MIB:
                endless.sendall(piece)
                sent += len(piece)
    assert sent < 20 * MIB


def test_a_head_beyond_the_limit_is_answered_with_its_reason(address):
    with connect(address) as large:
        large.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 33_000)
        received = all_of(large)
    assert received.startswith(b"HTTP/1.1 431 ")
    assert b"application/problem+json" in received
    assert b"content-security-policy" in received
    assert b'"code": "head_too_large"' in received


WHOLE = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(("before", "start"), [(b"", b""), (b"", b"GET / HT"), (WHOLE, b"GET / HT")])
def test_a_connection_without_a_whole_head_is_closed(address, before, start):
    with connect(address) as slow:
        if before:
            slow.sendall(before)
            assert slow.recv(12) == b"HTTP/1.1 200"
        slow.sendall(start)
        all_of(slow)  # ends when the service closes


def test_idle_connections_take_nobodys_place(address):
    with contextlib.ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(connect(address))
        for path in ("/health", "/health/live", "/health/ready"):
            assert httpx.get(f"{address}{path}", timeout=20).status_code == 200
        assert httpx.post(f"{address}/score", files=form(SLICES[:1]), timeout=20).status_code == 200


def deaf_client(address):
    """A connection that can take in little and reads nothing."""
    parts = urlsplit(address)
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.settimeout(20)
    deaf.connect((parts.hostname, parts.port))
    return deaf


REQUEST = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_readers_that_never_read_are_closed(address):
    with deaf_client(address) as deaf:
        for _ in range(600):
            try:
                deaf.sendall(REQUEST)
            except OSError:
                return
            time.sleep(0.05)
    pytest.fail("the connection is still open")


def test_a_flood_on_one_connection_is_ended(address):
    with deaf_client(address) as flood:
        try:
            for _ in range(2000):
                flood.sendall(REQUEST * 100)
        except OSError:
            return
    pytest.fail("the connection is still open")


def test_what_is_no_http_is_answered_as_a_problem(address):
    with connect(address) as odd:
        odd.sendall(b"\x16\x03\x01\x02\x00" * 20)
        received = all_of(odd)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b'"code": "not_http"' in received
