"""Runs the service on a socket of its own until it is told to stop."""

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Callable

import uvicorn

from focus_picker.dataset.errors import InputError
from focus_picker.serve.app import create_app
from focus_picker.serve.protocol import LimitedServer, limited
from focus_picker.serve.settings import Settings
from focus_picker.serve.watchdog import Watchdog

GRACE_SECONDS = 10  # for requests in flight when the service is told to stop


def run(settings: Settings, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Parameters
    ----------
    settings
        Of the service.
    host, port
        Where to listen; port 0 takes a free one.
    announce
        Called with the address once the socket listens and the model is loaded.

    Raises
    ------
    InputError
        If the model cannot be loaded or the address cannot be listened on.
    """
    with _listen(host, port) as listener:
        app = create_app(settings, trusted=_is_loopback(host))
        if not settings.token and not _is_loopback(host):
            print(
                f"warning: {host} is open to the network and FOCUS_PICKER_TOKEN is not set: anyone there may use this",
                file=sys.stderr,
            )
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            http=limited(settings),
            timeout_keep_alive=30,
            timeout_graceful_shutdown=GRACE_SECONDS,
            server_header=False,
        )
        shown = f"[{host}]" if ":" in host else host
        announce(f"http://{shown}:{listener.getsockname()[1]}")
        pool = app.state.service.pool

        def is_well() -> None:
            if pool.ready:
                watchdog.alive()

        # uvicorn finishes what is in flight and then raises the signal again; Ctrl-C is how a service is meant to end.
        with Watchdog() as watchdog, contextlib.suppress(KeyboardInterrupt):
            LimitedServer(config, is_well).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = str(error.strerror).split(" (")[0]  # create_server adds the address, which is said here anyway
        raise InputError(f"cannot listen on {host}, port {port} ({reason}); give another --host or --port") from None
    except OverflowError:
        raise InputError(f"port {port} does not exist; give one from 0 to 65535") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
