"""A model of one's own over HTTP: the job runs in a process of its own, can be watched, stopped, and happens once."""

import io
import json
import os
import sys
import time
import zipfile
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from focus_picker.serve import adapting
from focus_picker.serve.app import create_app
from focus_picker.serve.settings import Settings
from tests.uploads import example_slices, example_tiff, form, zipped

SLICES = example_slices()
MADE = """
import json, pathlib, sys, time
stacks, run = map(pathlib.Path, sys.argv[1:])
found = sorted(str(path.relative_to(stacks)) for path in stacks.rglob("*") if path.is_file())
print(json.dumps({"stage": "labelling", "done": 1, "total": 2}), flush=True)
print("no JSON", flush=True)
time.sleep(SLEEP)
run.mkdir()
for name in ("focus_model.tflite", "focus_model.json", "metrics.json"):
    (run / name).write_text(json.dumps(found))
print(json.dumps(LAST), flush=True)
sys.exit(CODE)
"""


@pytest.fixture
def client(monkeypatch):
    monkeypatch.setattr(adapting.importlib.util, "find_spec", lambda name: object())
    with TestClient(create_app(Settings(workers=1, adapt=True, adapt_seconds=60)), base_url="http://localhost") as one:
        yield one


def job(monkeypatch, sleep=0, code=0, last=None):
    """Put a made process in place of the one that loads TensorFlow."""
    text = MADE.replace("SLEEP", str(sleep)).replace("CODE", str(code)).replace("LAST", repr(last or {"words": "good"}))
    monkeypatch.setattr(adapting, "COMMAND", (sys.executable, "-c", text))


def stacks(number=6):
    return form(
        [("all.zip", zipped([(f"s{place}/{name}", content) for place in range(number) for name, content in SLICES]))]
    )


def ended(client):
    for _ in range(600):
        answer = client.get("/adapt").json()
        if answer["state"] not in ("receiving", "running"):
            return answer
        time.sleep(0.05)
    pytest.fail("the job does not end")


def test_stacks_become_a_model_with_its_figures(client, monkeypatch):
    job(monkeypatch)
    assert client.get("/adapt").json()["state"] == "none"
    assert client.get("/adapt/model").status_code == 404
    sent = [*stacks(5), *form([("z.tif", example_tiff())])]
    started = client.post("/adapt", files=sent)
    assert (started.status_code, started.json()["n_stacks"]) == (202, 6)
    answer = ended(client)
    assert (answer["state"], answer["words"], answer["stage"]) == ("done", "good", "labelling")
    with zipfile.ZipFile(io.BytesIO(client.get("/adapt/model").content)) as packed:
        assert sorted(packed.namelist()) == sorted(adapting.MODEL_FILES)
        found = json.loads(packed.read("metrics.json"))
    assert "stack_000_cell_0.tif" in found
    assert [f"stack_001_cell_0/{place}.jpg" in found for place in range(11)] == [True] * 11
    assert len(found) == 5 * 11 + 1


def test_one_job_at_a_time_that_can_be_stopped(client, monkeypatch):
    job(monkeypatch, sleep=300)
    assert client.post("/adapt", files=stacks()).status_code == 202
    again = client.post("/adapt", files=stacks())
    assert (again.status_code, again.json()["code"]) == (409, "already_running")
    running = client.app.state.adaptation
    while running._process is None:
        client.get("/adapt")
    pid, folder = running._process.pid, running._folder
    assert client.delete("/adapt").json()["state"] == "none"
    for _ in range(200):
        client.get("/adapt")
        if not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes():
            break
        time.sleep(0.05)
    else:
        os.kill(pid, 9)
        pytest.fail("the process goes on")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("code", "last", "words"),
    [(2, {"problem": "no stack could be labelled"}, "no stack could be labelled"), (1, {}, "The adaptation failed")],
)
def test_a_job_that_fails_says_why(client, monkeypatch, code, last, words):
    job(monkeypatch, code=code, last=last)
    client.post("/adapt", files=stacks())
    answer = ended(client)
    assert answer["state"] == "failed"
    assert words in answer["problem"]


def test_too_few_stacks_are_refused_and_nothing_is_offered_unasked(client):
    few = client.post("/adapt", files=stacks(2))
    assert (few.status_code, few.json()["code"]) == (422, "not_usable")
    assert client.get("/adapt").json()["state"] == "none"
    with TestClient(create_app(Settings(workers=1)), base_url="http://localhost") as plain:
        assert plain.post("/adapt", files=stacks()).status_code == 404


def test_a_job_that_is_stopped_while_its_stacks_arrive_does_not_begin(client, monkeypatch):
    job(monkeypatch)
    adaptation, answer = client.app.state.adaptation, client.app.state.service.answer
    folders = []

    async def stopped_meanwhile(request, task, **options):
        told = await answer(request, task, **options)
        folders.append(adaptation._folder)
        adaptation.close()
        return told

    monkeypatch.setattr(client.app.state.service, "answer", stopped_meanwhile)
    stopped = client.post("/adapt", files=stacks())
    assert (stopped.status_code, stopped.json()["code"]) == (409, "stopped")
    assert client.get("/adapt").json()["state"] == "none"
    assert not folders[0].exists()


def test_every_operation_has_a_name_a_tag_and_an_example_of_every_answer(client):
    described = client.get("/openapi.json").json()
    schemas = described["components"]["schemas"]

    def has_example(content):
        named = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        return "example" in content or "examples" in content or "examples" in schemas.get(named, {})

    operations = [one for methods in described["paths"].values() for one in methods.values()]
    assert len(operations) == 12
    for one in operations:
        assert one["operationId"].isalpha()
        assert one["tags"]
        assert "421" in one["responses"]
        for status, answer in one["responses"].items():
            kinds = set(answer["content"])
            assert kinds == {"application/zip"} or any(map(has_example, answer["content"].values())), (one, status)
