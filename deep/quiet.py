"""Keep what C++ libraries write to stderr away from the user, where it is not for the user."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere within the block.

    LiteRT announces its delegate and TensorFlow its converter's passes from C++, past ``sys.stderr`` and any log level.
    """
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
