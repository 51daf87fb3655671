"""Files appear whole or not at all."""

import os
import stat

import pytest

from focus_picker.dataset.files import atomic_path, write_text


def test_writes_and_makes_missing_folders(tmp_path):
    path = tmp_path / "a" / "b" / "table.csv"
    write_text(path, "x\n")
    assert path.read_bytes() == b"x\n"
    assert os.listdir(path.parent) == ["table.csv"]


def test_temporary_keeps_suffix_and_folder(tmp_path):
    with atomic_path(tmp_path / "plot.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        assert not (tmp_path / "plot.png").exists()


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, SystemExit])
def test_interruption_leaves_the_old_file_and_nothing_else(tmp_path, interruption):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            raise interruption

    with pytest.raises(interruption):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_result_has_the_permissions_of_a_new_file(tmp_path):
    (tmp_path / "ordinary").touch()
    write_text(tmp_path / "ours", "x")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ordinary", "ours")}
    assert len(modes) == 1


def test_text_is_utf8_with_unix_line_ends(tmp_path):
    write_text(tmp_path / "note.md", "0.4 µm\n")
    assert (tmp_path / "note.md").read_bytes() == "0.4 µm\n".encode()
