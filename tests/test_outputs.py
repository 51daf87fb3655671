"""Whatever a command writes: it never replaces what is read, never comes half, and says in one sentence why not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from focus_picker.cli import main
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import write_text
from focus_picker.dataset.outputs import check_output
from focus_picker.dataset.simulation import generate
from tests.made_cells import made_cell, photographed, save_image

ROOT = Path(__file__).parents[1]


@pytest.fixture
def stack(tmp_path) -> Path:
    folder = tmp_path / "stack"
    cell = made_cell(1)
    for index in range(5):
        save_image(folder / f"{index}.png", photographed(cell, 1.5 * abs(index - 2), index))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(arguments: list[str], capsys) -> str:
    assert main(arguments) == 2
    *notes, error = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert all(note.startswith("note: ") for note in notes)
    return error


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "{stack}/1.png", "--output", "{stack}/1.png"],
        ["score", "{stack}/1.png", "--output", "{stack}/../stack/./1.png"],
        ["score", "{stack}/1.png", "--output", "{link}"],
        ["score", "{stack}", "--output", "{stack}/1.png"],
        ["explain", "{stack}/1.png", "--output", "{stack}/1.png"],
        ["pick-focus", "{stack}", "--output", "{stack}/1.png"],
        ["pick-focus", "{stack}", "--plot", "{stack}/new.png"],
        ["pick-focus", "{stack}", "--plot", "{free}.png", "--sheet", "{free}.png"],
        ["package", "{stack}", "--name", "n", "--output", "{stack}/1.png"],
        ["compare", "{stack}", "--output", "{stack}"],
        ["drift", "{stack}", "--save-profile", "{stack}/2.png"],
    ],
)
def test_an_output_never_replaces_or_joins_what_is_read(arguments, stack, tmp_path, capsys):
    (tmp_path / "link.png").hardlink_to(stack / "1.png")
    before = contents(stack)
    places = {"stack": stack, "link": tmp_path / "link.png", "free": tmp_path / "free"}
    refused([word.format(**places) for word in arguments], capsys)
    assert contents(stack) == before


def test_a_table_may_join_the_images_it_is_about(stack, capsys):
    assert main(["score", str(stack), "--output", str(stack / "predictions.csv")]) == 0
    assert (stack / "predictions.csv").is_file()


@pytest.mark.parametrize("place", ["{stack}", "{stack}/0.png/x.csv", "{free}/" + "n" * 300 + ".csv", "/proc/x/y.csv"])
@pytest.mark.parametrize(
    "command",
    [["score", "--output"], ["pick-focus", "--output"], ["pick-focus", "--plot"], ["drift", "--save-profile"]],
)
def test_a_place_that_cannot_be_written_is_refused_in_a_sentence(command, place, stack, tmp_path, capsys):
    place = place.format(stack=stack, free=tmp_path)
    refused([command[0], str(stack), command[1], place], capsys)


def test_a_full_disk_is_one_sentence(stack, capsys):
    assert "No space left" in refused(["score", str(stack), "--output", "/dev/full"], capsys)


def test_names_as_long_as_a_disk_allows_can_be_written(tmp_path):
    place = tmp_path / ("n" * 251 + ".csv")
    write_text(place, "whole")
    assert place.read_text() == "whole"


def test_a_pipe_is_written_through_and_a_link_followed(tmp_path):
    pipe, link, target = tmp_path / "pipe", tmp_path / "link", tmp_path / "target"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert not pipe.is_file()
    link.symlink_to(target)
    write_text(link, "followed")
    assert link.is_symlink()
    assert target.read_text() == "followed"


def test_stdout_by_its_name_stays_what_it_is(tmp_path):
    code = "from focus_picker.dataset.files import write_text; write_text('/dev/stdout', 'through')"
    before = os.lstat("/dev/stdout")
    with (tmp_path / "out.txt").open("wb") as out:
        assert subprocess.run([sys.executable, "-c", code], stdout=out, cwd=ROOT, check=False).returncode == 0
    assert (tmp_path / "out.txt").read_text() == "through"
    assert os.lstat("/dev/stdout").st_ino == before.st_ino


def test_a_symlink_loop_is_a_sentence(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError):
        write_text(tmp_path / "loop" / "x.csv", "")


def test_a_run_folder_is_no_file_and_a_file_no_run_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError):
        check_output(tmp_path / "file", [], folder=True)
    with pytest.raises(InputError):
        check_output(tmp_path, [])


@pytest.fixture
def simulate(tmp_path_factory):
    """``simulate`` of one stack of three slices."""
    small = tmp_path_factory.mktemp("instrument") / "small.yaml"
    small.write_text((ROOT / "conf/instruments/dry50.yaml").read_text().replace("n_slices: 11", "n_slices: 3"))

    def run(output: str | Path, *options: str) -> int:
        return main(["simulate", str(output), "--stacks", "1", "--jobs", "1", "--instrument", str(small), *options])

    return run


def test_overwriting_the_current_folder_leaves_the_new_data_set(simulate, tmp_path, monkeypatch):
    data = tmp_path / "data"
    assert simulate(data) == 0
    monkeypatch.chdir(data)
    assert simulate(".", "--overwrite", "--seed", "5") == 0
    assert '"seed": 5' in (data / "simulation.json").read_text()
    assert os.listdir(tmp_path) == ["data"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_came_meanwhile_is_not_replaced(simulate, tmp_path, monkeypatch, overwrite, capsys):
    data = tmp_path / "data"

    def meanwhile(*arguments):
        save_image(data / "mine.png", made_cell(1))
        return write(*arguments)

    write = generate._write_tables
    monkeypatch.setattr(generate, "_write_tables", meanwhile)
    assert simulate(data, *["--overwrite"] * overwrite) == 2
    assert os.listdir(data) == ["mine.png"]
    assert os.listdir(tmp_path) == ["data"]


def test_the_old_data_set_is_put_back_where_the_new_one_cannot_go(simulate, tmp_path, monkeypatch, capsys):
    data = tmp_path / "data"
    assert simulate(data) == 0
    before, rename = contents(data), Path.rename

    def failing(self, target):
        if self.name.endswith("-old") or not self.name.startswith(".data-"):
            return rename(self, target)
        raise OSError("another process was quicker")

    monkeypatch.setattr(Path, "rename", failing)
    assert simulate(data, "--overwrite", "--seed", "5") == 2
    assert contents(data) == before
    assert os.listdir(tmp_path) == ["data"]


def test_pictures_that_would_be_replaced_are_no_crops(simulate, tmp_path, capsys):
    data = tmp_path / "data"
    assert simulate(data) == 0
    before = contents(data)
    refused(["simulate", str(data), "--overwrite", "--from-images", str(data / "cell_stacks")], capsys)
    assert contents(data) == before


def test_streams_that_are_closed_full_or_narrow_stop_nothing(stack, tmp_path):
    score = f"{sys.executable} cli.py score {stack} --output {tmp_path}/p.csv"
    assert subprocess.run(f"{score} 2>&-", shell=True, cwd=ROOT, check=False).returncode == 0
    assert (tmp_path / "p.csv").read_text().count("\n") == 6
    assert subprocess.run(f"{score} --json >&- 2>&-", shell=True, cwd=ROOT, check=False).returncode == 0
    full = subprocess.run(f"{score} --json > /dev/full", shell=True, cwd=ROOT, check=False, stderr=subprocess.PIPE)
    assert full.returncode == 2
    assert full.stderr.count(b"\n") <= 3
    head = f"set -o pipefail; {sys.executable} cli.py score {stack} | head -1"
    done = subprocess.run(["bash", "-c", head], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 141)
    assert "Error" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_leaves_no_draft_and_no_worker(number, tmp_path):
    output = tmp_path / "data"
    process = subprocess.Popen(
        [sys.executable, "cli.py", "simulate", str(output), "--stacks", "5000", "--jobs", "2"],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # A test run in a shell's background is born with SIGINT ignored, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".data-*/cell_stacks/*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)  # to the command alone, as a supervisor does
    assert "interrupted" in process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []
    while group_lives(process.pid) and time.monotonic() < deadline + 30:
        time.sleep(0.1)
    assert not group_lives(process.pid), "a worker is left"


def test_a_terminated_pick_leaves_no_table_and_no_worker(stack, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    for number in range(2000):
        (many / f"stack_{number}").symlink_to(stack)
    process = subprocess.Popen(
        [sys.executable, "cli.py", "pick-focus", str(many), "--jobs", "2", "--output", str(tmp_path / "picks.csv")],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while members(process.pid) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert "interrupted" in process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert not list(tmp_path.glob("*.csv*"))
    while group_lives(process.pid) and time.monotonic() < deadline + 30:
        time.sleep(0.1)
    assert not group_lives(process.pid), "a worker is left"


def members(number: int) -> int:
    """Processes of a group; worker processes are among them."""
    groups = [stat.read_text().rsplit(")", 1)[1].split()[2] for stat in Path("/proc").glob("[0-9]*/stat")]
    return groups.count(str(number))


def group_lives(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True
