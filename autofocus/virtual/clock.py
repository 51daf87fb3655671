"""Time that passes only when somebody waits."""


class ManualClock:
    """A clock for tests and benchmarks: waiting costs nothing and everything is repeatable."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now_s(self) -> float:
        """Seconds since it was made."""
        return self._now_s

    def sleep_s(self, seconds: float) -> None:
        """Let time pass."""
        self._now_s += seconds
