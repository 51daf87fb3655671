"""Progress bars pass items on and stay off stdout and out of logs."""

import io
import sys

from focus_picker.dataset.progress import track


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_passes_items_on_lazily_and_silently_without_a_terminal(capsys):
    taken = []
    passed = track((taken.append(n) or n for n in range(5)), "counting", total=5)
    assert next(passed) == 0
    assert taken == [0]
    assert list(passed) == [1, 2, 3, 4]
    assert capsys.readouterr() == ("", "")


def test_draws_on_stderr_only(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(track([1, 2, 3], "counting")) == [1, 2, 3]
    assert "counting" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_unknown_length_is_allowed(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(track(iter("abc"), "counting")) == ["a", "b", "c"]
