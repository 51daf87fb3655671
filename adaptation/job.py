"""``adapt`` as a process of its own that tells its progress: ``python -m focus_picker.adaptation.job STACKS RUN``.

For a service that must not load TensorFlow itself. Lines of stdout are JSON objects: ``{"stage", "done", "total"}``, at
the end ``{"words"}`` (what can be expected, for people) or ``{"problem"}``. Exit codes are those of ``cli.py``.
"""

import json
import os
import sys
from typing import Any

from focus_picker.dataset.errors import InputError

NICE = 10  # a service answers others meanwhile


def main(stacks: str, run: str) -> int:
    """Adapt a model to the stacks in a folder; returns the exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if hasattr(os, "nice"):
        os.nice(NICE)
    from focus_picker.adaptation.adapt import adapt

    try:
        metrics = adapt(stacks, run, report=lambda stage, done, total: _tell(stage=stage, done=done, total=total))
    except InputError as error:
        _tell(problem=" ".join(str(error).split()))
        return 2
    _tell(words=metrics["words"])
    return 0


def _tell(**line: Any) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
