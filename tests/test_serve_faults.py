"""What the world does to a server: slow and cut uploads, bombs, floods. It stays small and serves the next."""

import contextlib
import re
import socket
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from focus_picker.serve.watchdog import Watchdog
from tests.served import ROOT, served
from tests.uploads import deflate_bomb_tiff, example_slices, example_tiff, form, huge_png, zipped

SLICES = example_slices()
MIB = 2**20
MOST_BYTES = 350 * MIB  # of the service's own process
BODY_SECONDS = 1.0


@pytest.fixture(scope="module")
def address():
    with served(FOCUS_PICKER_BODY_SECONDS=str(BODY_SECONDS), FOCUS_PICKER_MAX_IN_FLIGHT="20") as one:
        yield one


@pytest.fixture(autouse=True)
def _the_next_request_is_served_and_memory_bounded(address):
    yield
    assert httpx.post(f"{address}/score", files=form(SLICES[:1]), timeout=10).status_code == 200
    text = httpx.get(f"{address}/metrics", timeout=10).text
    assert float(re.search(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)[1]) < MOST_BYTES


def connect(address):
    parts = urlsplit(address)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def head(length=None, path="/score"):
    size = f"Content-Length: {length}" if length is not None else "Transfer-Encoding: chunked"
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n{size}\r\n\r\n".encode()


def status_of(connection):
    received = b""
    while b"\r\n" not in received:
        piece = connection.recv(4096)
        if not piece:
            break
        received += piece
    return int(received.split(b" ", 2)[1])


def test_a_slow_upload_is_given_up(address):
    with connect(address) as slow:
        slow.sendall(head(10_000))
        started = time.monotonic()
        stop = threading.Event()

        def drip():
            while not stop.wait(0.05):
                try:
                    slow.sendall(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert status_of(slow) == 408
        finally:
            stop.set()
            thread.join()
    assert time.monotonic() - started < BODY_SECONDS + 5


@pytest.mark.parametrize("sent", [0, 500])
def test_a_cut_connection_is_forgotten(address, sent):
    for _ in range(30):  # more than may be in flight
        with connect(address) as cut:
            cut.sendall(head(10_000) + b"x" * sent)
    for _ in range(100):
        if "focus_picker_requests_in_flight 1.0" in httpx.get(f"{address}/metrics").text:
            return
        time.sleep(0.05)
    pytest.fail("requests of closed connections are still in flight")


def test_500_megabytes_announced_are_refused_at_once(address):
    with connect(address) as large:
        large.sendall(head(500 * MIB))
        assert status_of(large) == 413


def test_500_megabytes_unannounced_are_refused_on_the_way(address):
    piece = b"100000\r\n" + bytes(MIB) + b"\r\n"  # one MiB as a chunk
    sent = 0
    with connect(address) as large:
        large.sendall(head())
        try:
            for _ in range(500):
                large.sendall(piece)
                sent += 1
        except OSError:
            pass  # the server has answered and closed
        with contextlib.suppress(OSError, IndexError):  # the answer may be lost with the connection
            assert status_of(large) == 413
    assert sent < 200


@pytest.mark.parametrize("at_once", [8])
def test_bombs_are_refused(address, at_once):
    bombs = [
        ("/score", form([("a.png", huge_png())]), 413),
        ("/score-batch", form([("x.zip", zipped([("0.jpg", bytes(2**27))], zipfile.ZIP_DEFLATED))]), 413),
        ("/score-batch", form([("x.zip", zipped([("../../0.jpg", SLICES[0][1])]))]), 422),
        ("/score", form([("z.tif", deflate_bomb_tiff())]), 422),
        ("/pick-focus", form([("z.tif", example_tiff()[:9000])]), 422),
    ] * 2

    def send(bomb):
        path, files, status = bomb
        return httpx.post(f"{address}{path}", files=files, timeout=30).status_code == status

    with ThreadPoolExecutor(at_once) as pool:
        assert all(pool.map(send, bombs))


def test_a_flood_is_answered_or_told_to_come_back(address):
    with httpx.Client(limits=httpx.Limits(max_connections=40), timeout=30) as client, ThreadPoolExecutor(40) as pool:
        statuses = list(
            pool.map(lambda _: client.post(f"{address}/score", files=form(SLICES[:1])).status_code, range(200))
        )
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) > 20


@pytest.mark.parametrize(
    "rubbish", [b"\x00\xff\x16\x03\x01" * 40, b"GET / HTTP/9.9\r\n\r\n", b"POST /score HTTP/1.1\r\n"]
)
def test_rubbish_is_survived(address, rubbish):
    with connect(address) as odd:
        odd.sendall(rubbish)
        odd.shutdown(socket.SHUT_WR)
        odd.settimeout(5)
        while odd.recv(4096):
            pass


def test_the_client_of_the_documents_runs(address, tmp_path):
    text = (ROOT / "docs" / "serve.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1].replace("http://127.0.0.1:8000", address)
    (tmp_path / "stack").mkdir()
    for name, content in SLICES:
        (tmp_path / "stack" / name).write_bytes(content)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "3.jpg", done.stderr


def test_requests_in_flight_are_finished_when_it_stops():
    with served() as address:
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{address}/score-batch", files=form(SLICES * 15), timeout=30))
        )
        thread.start()
        while "focus_picker_requests_in_flight 2.0" not in httpx.get(f"{address}/metrics").text and thread.is_alive():
            pass
    thread.join()
    assert answers[0].status_code == 200


@pytest.mark.parametrize(
    ("signs", "ended"),
    [("!" * 20, False), ("......", True), (".....!" * 3, False), ("!!!!....!......", True)],
)
def test_a_service_that_stands_still_is_ended(monkeypatch, signs, ended):
    ends, looks = [], iter(signs)
    watchdog = Watchdog(end=lambda: ends.append(True))

    def wait(seconds):
        sign = next(looks, None)
        if sign == "!":
            watchdog.alive()
        return sign is None

    monkeypatch.setattr(watchdog._over, "wait", wait)
    with watchdog:
        pass
    assert bool(ends) == ended
