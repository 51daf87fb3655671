"""Runs inside the service's room and uses the service as its page does; prints the answers as JSON.

`python probe.py ADDRESS TOKEN`: waits for /health, scores one image and picks the plane of the page's example stack,
with the token and without. Nothing but Python's own modules: it must run wherever Python does.
"""

import json
import sys
import time
from collections.abc import Sequence
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

OPENER = build_opener(ProxyHandler({}))
WAIT_SECONDS = 60
BOUNDARY = "part-of-the-form"


def answer(request: Request | str) -> tuple[int, bytes]:
    """Ask, and give status and body, of refusals too."""
    try:
        with OPENER.open(request, timeout=30) as response:
            return response.status, response.read()
    except HTTPError as error:
        return error.code, error.read()


def wait_for_health(address: str) -> dict:
    """Ask /health until it is answered."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return json.loads(answer(f"{address}/health")[1])
        except (URLError, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def example(address: str) -> list[tuple[str, bytes]]:
    """Fetch the slices of the page's example."""
    slices: list[tuple[str, bytes]] = []
    while (got := answer(f"{address}/static/example/{len(slices)}.jpg"))[0] == 200:
        slices.append((f"{len(slices)}.jpg", got[1]))
    return slices


def form(files: Sequence[tuple[str, bytes]]) -> bytes:
    """Make the body that a browser would send."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n'
    parts = b"".join((head % name).encode() + content + b"\r\n" for name, content in files)
    return parts + f"--{BOUNDARY}--\r\n".encode()


def post(url: str, files: Sequence[tuple[str, bytes]], token: str = "") -> tuple[int, dict]:
    """Send files; gives status and answer."""
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    status, body = answer(Request(url, form(files), headers))
    return status, json.loads(body)


def use(address: str, token: str) -> dict:
    """Use the service; gives what it answered and the time of the first answer on the system's monotonic clock."""
    health = wait_for_health(address)
    healthy_at = time.monotonic()
    slices = example(address)
    return {
        "health": health,
        "healthy_at": healthy_at,
        "page": answer(f"{address}/")[0],
        "score": post(f"{address}/score", slices[:1], token),
        "pick": post(f"{address}/pick-focus", slices, token),
        "without_token": post(f"{address}/score", slices[:1])[0],
        "metrics": answer(Request(f"{address}/metrics", headers={"Authorization": f"Bearer {token}"}))[0],
    }


if __name__ == "__main__":
    print(json.dumps(use(*sys.argv[1:3])))
