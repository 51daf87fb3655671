"""The main function of a worker process: it decodes and scores, and may be killed at any time."""

import contextlib
import signal
import socket
from pathlib import Path

from focus_picker.dataset.errors import InputError
from focus_picker.serve.frames import receive, send
from focus_picker.serve.settings import Settings
from focus_picker.serve.tasks import Tasks


def work(connection: socket.socket, settings: Settings) -> None:
    """Answer jobs until the service hangs up.

    Parameters
    ----------
    connection
        To the service. The first frame says what the model is, or why it cannot be loaded.
    settings
        Of the service, without its token: a worker reads what strangers send.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which finishes what is in flight
    with contextlib.suppress(OSError, EOFError), connection:
        try:
            tasks = Tasks(settings)
        except InputError as error:
            send(connection, {"problem": str(error)})
            return
        bound_memory(settings.max_worker_bytes)
        send(connection, tasks.model.model_dump())
        while True:
            head, content = receive(connection)
            for reply, body in tasks.replies(head, content):
                send(connection, reply, body)
            del head, content


def bound_memory(more_bytes: int) -> None:
    """Let this process take so much more memory than it has; without effect on systems that know no such limit."""
    try:
        import resource

        status = Path("/proc/self/status").read_text()
    except (ImportError, OSError):
        return
    used = 1024 * int(next(line for line in status.splitlines() if line.startswith("VmData")).split()[1])
    resource.setrlimit(resource.RLIMIT_DATA, (used + more_bytes, used + more_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
