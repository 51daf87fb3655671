"""The service's answers: the same as the command line's, and one sentence for whatever cannot be used."""

import asyncio
import base64
import io
import json
import random
import socket
import zipfile

import numpy as np
import pytest
import tifffile
from fastapi.testclient import TestClient
from PIL import Image
from pydantic import SecretStr

from focus_picker.cli import main
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import read_image
from focus_picker.dataset.version import VERSION
from focus_picker.drift.quantities import QUANTITIES
from focus_picker.models import DEFAULT_MODEL
from focus_picker.serve import answers, frames
from focus_picker.serve.app import create_app
from focus_picker.serve.refusals import CODES
from focus_picker.serve.settings import Settings, load_settings
from focus_picker.stack_inference.loading import load_model
from focus_picker.stack_inference.single_image import score_files
from tests.made_cells import made_cell, save_image
from tests.uploads import (
    EXAMPLE,
    deflate_bomb_tiff,
    example_slices,
    example_tiff,
    form,
    huge_png,
    lying_zip,
    zipped,
)

TOKEN = "correct-horse-battery"
PROBLEM = ["type", "title", "status", "detail", "code"]
GUARDED = [("POST", "/score"), ("POST", "/score-batch"), ("POST", "/pick-focus"), ("GET", "/metrics")]
SLICES = example_slices()


@pytest.fixture(scope="module")
def client():
    with TestClient(create_app(Settings(workers=1)), base_url="http://localhost") as one:
        yield one


def client_with(**settings):
    return TestClient(create_app(Settings(workers=1, **settings)), base_url="http://localhost")


def test_health_tells_model_and_hash(client):
    health = client.get("/health").json()
    assert health["status"] == "ok"
    assert health["model_loaded"] is True
    assert health["version"] == VERSION
    side = json.loads(DEFAULT_MODEL.with_suffix(".json").read_text())
    assert (health["model"], health["model_version"], health["model_sha256"]) == (
        DEFAULT_MODEL.name,
        side["version"],
        side["sha256"],
    )


@pytest.mark.parametrize("name", ["0.jpg", "5.jpg", "10.jpg"])
def test_a_score_is_that_of_the_command(client, name):
    expected = next(score_files([EXAMPLE / name], load_model(DEFAULT_MODEL), progress=False)).as_row()
    content = dict(SLICES)[name]
    by_form = client.post("/score", files=form([(name, content)])).json()
    raw = client.post("/score", content=content, headers={"content-type": "image/jpeg"}, params={"name": name}).json()
    assert by_form == raw
    assert by_form["image_path"] == name
    words = {"uncalibrated": "record stacks and run adapt", "unsure": "take a second image"}
    assert by_form["status"] == expected["status"]
    assert words[expected["status"]] in by_form["move"]["advice"]
    assert by_form["focus_score"] == pytest.approx(expected["focus_score"], rel=1e-5)
    assert (by_form["lower"] is None) == (expected["lower"] is None) == (expected["status"] == "uncalibrated")
    assert by_form["upper"] == (None if expected["upper"] is None else pytest.approx(expected["upper"], rel=1e-5))


def test_the_move_goes_against_the_score(client):
    far, close = (
        client.post("/score?z_step_um=0.5", files=form([(name, dict(SLICES)[name])])).json()
        for name in ("10.jpg", "0.jpg")
    )
    assert far["focus_score"] * close["focus_score"] < 0
    for one in (far, close):
        assert np.sign(one["move"]["slices"]) == -np.sign(one["focus_score"])
        assert one["move"]["um"] == pytest.approx(0.5 * one["move"]["slices"], rel=1e-4)
    without_step = client.post("/score", files=form(SLICES[:1])).json()
    assert without_step["move"]["um"] is None


def test_a_bad_file_stops_no_other_of_a_batch(client):
    answer = client.post("/score-batch", files=form([SLICES[0], ("bad.jpg", b"no image"), SLICES[5]])).json()
    assert [one["image_path"] for one in answer["images"]] == ["0.jpg", "bad.jpg", "5.jpg"]
    assert [one["status"] == "unreadable" for one in answer["images"]] == [False, True, False]
    assert (answer["n_images"], answer["n_unreadable"]) == (3, 1)
    assert "bad.jpg" in answer["images"][1]["problem"]
    alone = client.post("/score", files=form(SLICES[:1])).json()
    assert {**answer["images"][0], "model": answer["model"]} == alone


def test_a_batch_may_be_a_zip(client):
    as_files = client.post("/score-batch", files=form(SLICES)).json()
    as_zip = client.post("/score-batch", files=form([("all.zip", zipped(SLICES))])).json()
    assert as_zip == as_files


def test_a_pick_is_that_of_the_command(client, capsys):
    assert main(["pick-focus", str(EXAMPLE), "--json", "--z-step-um", "0.5"]) == 0
    expected = json.loads(capsys.readouterr().out)
    answer = client.post("/pick-focus?name=example&z_step_um=0.5", files=form(SLICES)).json()
    slices = [{key: value for key, value in one.items() if key != "thumbnail"} for one in answer.pop("slices")]
    assert answer.pop("fit")
    assert answer.pop("standard_error_um") == pytest.approx(0.5 * answer["standard_error"], rel=1e-4)
    assert answer.pop("z_step_um") == 0.5
    assert answer.pop("model")["name"] == DEFAULT_MODEL.name
    assert {**answer, "slices": slices} == expected
    assert answer["status"] == "ok"


@pytest.mark.parametrize("way", ["shuffled", "zip", "zip with folder", "raw zip", "junk beside"])
def test_every_way_to_send_slices_gives_the_same_pick(client, way):
    expected = client.post("/pick-focus?name=s", files=form(SLICES)).json()
    shuffled = random.Random(1).sample(SLICES, len(SLICES))
    in_folder = [(f"deep/stack_7/{name}", content) for name, content in shuffled]
    sent = {
        "shuffled": {"files": form(shuffled)},
        "zip": {"files": form([("s.zip", zipped(shuffled))])},
        "zip with folder": {"files": form([("s.zip", zipped(in_folder, zipfile.ZIP_DEFLATED))])},
        "raw zip": {"content": zipped(SLICES), "headers": {"content-type": "application/zip"}},
        "junk beside": {
            "files": form(
                [("s.zip", zipped([*shuffled, ("Thumbs.db", b"x"), ("__MACOSX/._0.jpg", b"x"), (".hidden.jpg", b"x")]))]
            )
        },
    }[way]
    assert client.post("/pick-focus?name=s", **sent).json() == expected


def test_a_tiff_stack_is_picked(client):
    expected = client.post("/pick-focus", files=form(SLICES)).json()
    for name, options in {"z.tif": {}, "no_suffix": {"compression": "zlib"}}.items():
        answer = client.post("/pick-focus", files=form([(name, example_tiff(**options))])).json()
        assert answer["n_slices"] == len(SLICES)
        assert answer["best_position"] == pytest.approx(expected["best_position"], abs=0.15)


def test_the_z_step_of_a_tiff_is_used(client):
    step = {"spacing": 0.4, "unit": "um", "axes": "ZYXS"}
    answer = client.post("/pick-focus", files=form([("z.tif", example_tiff(imagej=True, metadata=step))])).json()
    assert answer["best_z_um"] == pytest.approx(0.4 * answer["best_position"], rel=1e-4)
    assert answer["z_step_um"] == pytest.approx(0.4)


def test_the_fit_peaks_at_the_sharpest_and_thumbnails_are_pictures(client):
    answer = client.post("/pick-focus?thumbnails=48", files=form(SLICES)).json()
    peak = answer["fit"]["position"][int(np.argmax(answer["fit"]["sharpness"]))]
    sharpest = int(np.argmax([one["sharpness"] for one in answer["slices"]]))
    assert abs(peak - sharpest) <= 1
    for one in answer["slices"]:
        kind, _, data = one["thumbnail"].partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert max(picture.size) <= 48


def test_a_named_method_is_used(client):
    answer = client.post("/pick-focus?method=parabola", files=form(SLICES)).json()
    assert answer["method"] == "parabola"
    assert all(one["score"] is None for one in answer["slices"])


def test_a_damaged_slice_is_a_gap(client):
    damaged = [(name, content[:800] if name == "2.jpg" else content) for name, content in SLICES]
    answer = client.post("/pick-focus", files=form(damaged)).json()
    assert answer["slices"][2]["sharpness"] is None
    assert "2.jpg" in answer["advice"]
    assert answer["best_position"] is not None


def grey_tiff(pages=1):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((pages, 32, 32), np.uint8), photometric="minisblack")
    return buffer.getvalue()


def jpeg_tiff():
    return example_tiff(compression="jpeg")


def png(side=40):
    buffer = io.BytesIO()
    Image.fromarray(made_cell(2, side, side)).save(buffer, "PNG")
    return buffer.getvalue()


DAMAGED = {
    "zip": ("/score-batch", zipped(SLICES[:2], zipfile.ZIP_DEFLATED)),
    "jpg": ("/score", SLICES[0][1]),
    "png": ("/score", png()),
    "tif": ("/pick-focus", example_tiff(compression="zlib")),
    "ij.tif": ("/pick-focus", example_tiff(imagej=True)),
}
"""Whole files that bytes are changed in, and where they are sent."""

REFUSED = {
    "not an image": ("/score", [("a.jpg", b"hello there")], 415, "not an image"),
    "none of a stack is": ("/pick-focus", [("a.jpg", b"hello"), ("b.jpg", b"there")], 415, "not an image"),
    "gif": ("/score", [("a.gif", b"GIF89a" + bytes(50))], 415, "not an image"),
    "truncated jpeg": ("/score", [("a.jpg", SLICES[0][1][:900])], 422, "truncated"),
    "empty file": ("/score", [("a.jpg", b"")], 415, "a.jpg"),
    "truncated tiff": ("/pick-focus", [("z.tif", example_tiff()[:5000])], 422, "truncated"),
    "all slices damaged": ("/pick-focus", [(n, c[:800]) for n, c in SLICES], 422, "no slice can be read"),
    "one image is no stack": ("/pick-focus", SLICES[:1], 422, "single file"),
    "one page is no stack": ("/pick-focus", [("z.tif", grey_tiff())], 422, "no stack"),
    "stack among files": ("/pick-focus", [("z.tif", example_tiff()), SLICES[0]], 422, "2 stacks"),
    "two zips": ("/pick-focus", [("a.zip", zipped(SLICES)), ("b.zip", zipped(SLICES))], 422, "2 stacks"),
    "two tiffs": ("/pick-focus", [("a.tif", example_tiff()), ("b.tif", example_tiff())], 422, "2 stacks"),
    "one name twice": ("/pick-focus", [*SLICES, SLICES[3]], 422, "the name 3.jpg"),
    "one zip twice": ("/pick-focus", [("a.zip", zipped(SLICES))] * 2, 422, "the name 0.jpg"),
    "long name": ("/pick-focus", [(f"{'1' * 309}.jpg", SLICES[0][1]), SLICES[1]], 422, "255 letters"),
    "long name in a zip": ("/pick-focus", [("a.zip", zipped([(f"{'1' * 4300}.jpg", SLICES[0][1])]))], 422, "255"),
    "charset that is none": ("/score", (b"x", "multipart/form-data; boundary=b; charset=undefined"), 400, "form"),
    "a stack to score": ("/score", [("z.tif", example_tiff())], 422, "stack"),
    "two images to score": ("/score", SLICES[:2], 422, "/score-batch"),
    "two folders": (
        "/pick-focus",
        [("x.zip", zipped([("a/0.jpg", b"1"), ("b/0.jpg", SLICES[0][1])]))],
        422,
        "2 stacks",
    ),
    "20,000 x 20,000": ("/score", [("a.png", huge_png())], 413, "20000 x 20000"),
    "huge slice of a stack": ("/pick-focus", [*SLICES, ("11.png", huge_png())], 413, "20000 x 20000"),
    "jpeg in tiff": ("/pick-focus", [("z.tif", jpeg_tiff())], 415, "JPEG"),
    "bomb in tiff": ("/score", [("z.tif", deflate_bomb_tiff())], 422, "z.tif"),
    "damaged zip": ("/score-batch", [("x.zip", zipped(SLICES)[:-30])], 422, "damaged zip"),
    "zip without images": ("/score-batch", [("x.zip", zipped([("a.txt", b"x")]))], 422, "no image"),
    "path traversal": ("/score-batch", [("x.zip", zipped([("../../etc/0.jpg", SLICES[0][1])]))], 422, "points out"),
    "absolute path": ("/score-batch", [("x.zip", zipped([("/etc/0.jpg", SLICES[0][1])]))], 422, "points out"),
    "drive letter": ("/score-batch", [("x.zip", zipped([("C:\\x\\0.jpg", SLICES[0][1])]))], 422, "points out"),
    "zip bomb": (
        "/score-batch",
        [("x.zip", zipped([("0.jpg", bytes(2**26))], zipfile.ZIP_DEFLATED))],
        413,
        "unpacks to",
    ),
    "lying zip": ("/score-batch", [("x.zip", lying_zip())], 422, "damaged"),
    "many entries": ("/score-batch", [("x.zip", zipped([(f"{i}.jpg", b"x") for i in range(500)]))], 413, "at most"),
    "lzma zip": ("/score-batch", [("x.zip", zipped(SLICES[:1], zipfile.ZIP_LZMA))], 422, "unusual"),
    "too many files": ("/score-batch", [(f"{i}.jpg", b"x") for i in range(201)], 413, "at most 200"),
    "other field": ("/score", None, 422, "field 'files'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_sentence(client, case):
    path, files, status, words = REFUSED[case]
    if isinstance(files, tuple):
        answer = client.post(path, content=files[0], headers={"content-type": files[1]})
    else:
        answer = client.post(path, files=form(files) if files else [("other", ("a.jpg", SLICES[0][1]))])
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert list(answer.json()) == PROBLEM
    assert CODES[answer.json()["code"]][0] == answer.json()["status"] == status
    sentence = answer.json()["detail"]
    assert words in sentence
    assert "\n" not in sentence
    assert client.post("/score", files=form(SLICES[:1])).status_code == 200


def test_zips_of_one_request_share_what_they_may_unpack_to():
    one = zipped(SLICES)
    size = sum(len(content) for _, content in SLICES)
    with client_with(max_unpacked_bytes=size + size // 2) as small:
        assert small.post("/score-batch", files=form([("a.zip", one)])).is_success
        answer = small.post("/score-batch", files=form([("a.zip", one), ("b.zip", one)]))
    assert answer.status_code == 413
    assert "b.zip" in answer.json()["detail"]


@pytest.mark.parametrize("kind", ["zip", "jpg", "png", "tif", "ij.tif"])
def test_damage_anywhere_is_answered_with_a_sentence(client, kind):
    rng = random.Random(kind)
    path, whole = DAMAGED[kind]
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 2, 5])):
            ends = [rng.randrange(len(content)), rng.randrange(300), len(content) - 1 - rng.randrange(300)]
            content[rng.choice(ends)] = rng.choice([0, 255, rng.randrange(256)])
        answer = client.post(path, files=form([(f"x.{kind}", bytes(content))]))
        assert answer.status_code in (200, 413, 415, 422), answer.text


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("z_step_um=0", "z_step_um"),
        ("z_step_um=nan", "z_step_um"),
        ("method=guess", "method"),
        ("thumbnails=9999", "thumb"),
    ],
)
def test_parameters_are_checked(client, query, where):
    answer = client.post(f"/pick-focus?{query}", files=form(SLICES))
    assert answer.status_code == 422
    assert where in answer.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"content-type": "text/html"}, b"<p>", 415),
        ({}, SLICES[0][1], 415),
        ({"content-type": "image/jpeg"}, b"", 422),
        ({"content-type": "multipart/form-data"}, b"x", 400),
        ({"content-type": "multipart/form-data; boundary=b"}, b"--c\r\n\r\nrubbish", 400),
        ({"content-type": "multipart/form-data; boundary=b"}, b"--b--\r\n", 422),
    ],
)
def test_bodies_that_are_no_form(client, headers, content, status):
    answer = client.post("/score", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]


def test_pixels_of_a_request_add_up():
    image = made_cell(1, 100, 100)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    with client_with(max_request_pixels=25_000) as small:
        assert small.post("/score-batch", files=form([(f"{i}.png", buffer.getvalue()) for i in range(2)])).is_success
        answer = small.post("/score-batch", files=form([(f"{i}.png", buffer.getvalue()) for i in range(3)]))
    assert answer.status_code == 413
    assert "30000 pixels" in answer.json()["detail"]


def test_pages_of_a_tiff_count_as_images():
    with client_with(max_files=5) as small:
        answer = small.post("/pick-focus", files=form([("z.tif", grey_tiff(6))]))
    assert answer.status_code == 413
    assert "6 planes" in answer.json()["detail"]


def test_a_body_beyond_the_limit_is_refused():
    with client_with(max_request_bytes=2000) as small:
        announced = small.post("/score", files=form([("a.jpg", bytes(3000))]))
        in_pieces = small.post("/score", content=iter([bytes(1500)] * 3), headers={"content-type": "image/jpeg"})
    for answer in (announced, in_pieces):
        assert answer.status_code == 413
        assert "2000" in answer.json()["detail"]


def test_bodies_of_all_requests_have_a_budget():
    with client_with(max_buffered_bytes=2000) as small:
        answer = small.post("/score", content=bytes(3000), headers={"content-type": "image/jpeg"})
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert small.app.state.service.intake.buffered == 0  # given back


def test_a_request_that_takes_too_long_is_given_up():
    with client_with(work_seconds=1e-6) as hurried:
        answer = hurried.post("/score-batch", files=form(SLICES))
    assert answer.status_code == 503
    assert "longer than" in answer.json()["detail"]


def test_too_many_requests_are_told_to_come_back(client):
    guard = client.app.middleware_stack.app
    while not hasattr(guard, "max_in_flight"):
        guard = guard.app
    guard._in_flight += guard.max_in_flight
    try:
        assert client.post("/score", files=form(SLICES[:1])).status_code == 503
        assert client.get("/health").status_code == 200
    finally:
        guard._in_flight -= guard.max_in_flight
    assert client.post("/score", files=form(SLICES[:1])).status_code == 200


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN} "])
def test_the_token_is_asked_for(header):
    with client_with(token=SecretStr(TOKEN)) as guarded:
        headers = {"authorization": header} if header else {}
        for method, path in [
            ("POST", "/score"),
            ("POST", "/score-batch"),
            ("POST", "/pick-focus"),
            ("GET", "/metrics"),
        ]:
            answer = guarded.request(method, path, headers=headers)
            allowed = header == f"Bearer {TOKEN} "  # space at a header's end means nothing in HTTP
            assert (answer.status_code != 401) == allowed
        assert guarded.get("/health").status_code == 200
        good = guarded.post("/score", files=form(SLICES[:1]), headers={"authorization": f"Bearer {TOKEN}"})
        assert good.status_code == 200


def test_metrics_count_and_roll():
    with client_with(rolling_images=10) as fresh:
        assert "focus_picker_rolling_images 0.0" in fresh.get("/metrics").text
        fresh.post("/score", files=form(SLICES[:1]))
        fresh.post("/score-batch", files=form([*SLICES, ("bad.jpg", b"x")]))
        fresh.post("/pick-focus", files=form(SLICES))
        fresh.get("/no/such/page")
        text = fresh.get("/metrics").text
    assert 'focus_picker_images_total{status="unreadable"} 1.0' in text
    assert 'focus_picker_stacks_total{status="ok"} 1.0' in text
    assert 'focus_picker_requests_total{path="/score",status="200"} 1.0' in text
    assert 'path="/no/such' not in text
    assert "focus_picker_rolling_images 10.0" in text
    median = np.median(
        [float(one) for one in _scores_of(SLICES[1:])]  # the last ten; slices of the stack are not among them
    )
    shown = next(line for line in text.splitlines() if line.startswith('focus_picker_rolling_median{quantity="score"}'))
    assert float(shown.split()[1]) == pytest.approx(median, abs=1e-6)


def test_metrics_tell_drift_from_a_reference(tmp_path, capsys):
    images = tmp_path / "reference"
    for number in range(40):
        save_image(images / f"stack_{number:03d}_cell_0" / "0.png", made_cell(number))
    profile = tmp_path / "profile.json"
    assert main(["drift", str(images), str(images), "--save-profile", str(profile)]) == 0
    capsys.readouterr()
    alike = [(f"{number}.png", (images / f"stack_{number:03d}_cell_0" / "0.png").read_bytes()) for number in range(40)]
    dark = [(name, _darker(content)) for name, content in alike]
    with client_with(reference=profile) as watched:
        assert "focus_picker_drift_psi{" not in watched.get("/metrics").text
        watched.post("/score-batch", files=form(alike))
        before = _figures(watched.get("/metrics").text, "psi")
        watched.post("/score-batch", files=form(dark))
        after = _figures(watched.get("/metrics").text, "psi")
    assert set(before) == set(QUANTITIES)
    assert before["brightness"] < 0.05 < 0.5 < after["brightness"]


def _darker(content):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(content)).point(lambda grey: int(0.8 * grey)).save(buffer, "PNG")
    return buffer.getvalue()


def _figures(text, field):
    lines = [line for line in text.splitlines() if line.startswith(f"focus_picker_drift_{field}{{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


def _scores_of(slices):
    model = load_model(DEFAULT_MODEL)
    return [model.judge([read_image(EXAMPLE / name)]).score[0] for name, _ in slices]


def test_a_baseline_can_be_served(tmp_path, baseline_run):
    with client_with(model=baseline_run) as other:
        assert other.get("/health").json()["model"] == "baseline.txt"
        path = save_image(tmp_path / "a.png", made_cell(3))
        expected = next(score_files([path], load_model(baseline_run), progress=False))
        answer = other.post("/score", files=form([("a.png", path.read_bytes())])).json()
        assert answer["focus_score"] == pytest.approx(expected.focus_score, rel=1e-5)
        assert other.post("/pick-focus", files=form(SLICES)).status_code == 200


@pytest.fixture(scope="module")
def baseline_run(tmp_path_factory):
    from tests.made_cells import make_dataset

    folder = tmp_path_factory.mktemp("serve")
    dataset = make_dataset(folder / "data", fields=12, cells=1)
    assert main(["baseline", str(dataset), "--output", str(folder / "run"), "--jobs", "1"]) == 0
    return folder / "run"


@pytest.mark.parametrize("name", ["Health", "MoveAnswer", "ScoreAnswer", "BatchAnswer", "PickAnswer"])
def test_examples_of_openapi_are_valid(client, name):
    schema = client.get("/openapi.json").json()["components"]["schemas"][name]
    for example in schema["examples"]:
        assert getattr(answers, name).model_validate(example)


def test_browsers_are_told_to_stay_here(client):
    headers = client.get("/health").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    for path in ("/redoc", "/static/../app.py", "/static/%2e%2e/app.py"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "content-security-policy" in answer.headers


def test_a_defect_is_answered_in_the_one_form_with_a_number_to_tell(client, monkeypatch, caplog):
    monkeypatch.setattr(client.app.state.service.pool, "ask", None)
    answer = client.post("/score", files=form(SLICES[:1]), headers={"x-request-id": "from-the-proxy"})
    assert (answer.status_code, answer.json()["code"]) == (500, "failed")
    assert "from-the-proxy" in answer.json()["detail"]
    assert "from-the-proxy" in caplog.text
    assert "content-security-policy" in answer.headers


FOREIGN = [
    ({"sec-fetch-site": "cross-site"}, 403),
    ({"sec-fetch-site": "same-site"}, 403),
    ({"origin": "https://evil.example"}, 403),
    ({"origin": "null"}, 403),
    ({"host": "evil.example"}, 421),
    ({"sec-fetch-site": "same-origin", "origin": "http://localhost"}, 200),
    ({"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"}, 200),
    ({"host": "[::1]:8000"}, 200),
]


@pytest.mark.parametrize(("headers", "status"), FOREIGN)
def test_pages_of_other_sites_and_other_names_are_refused_and_move_no_figure(client, headers, status):
    before = client.get("/metrics").text.count("focus_picker_images_total")
    figure = len(client.app.state.service.telemetry.rolling._rows)
    answer = client.post("/score", files=form(SLICES[:1]), headers=headers)
    assert answer.status_code == status, answer.text
    assert len(client.app.state.service.telemetry.rolling._rows) == figure + (status == 200)
    assert before <= client.get("/metrics").text.count("focus_picker_images_total")


def test_an_allowed_name_is_served():
    with client_with(allowed_hosts="microscope.lab, other.lab") as named:
        assert named.get("/health", headers={"host": "Microscope.lab:443"}).status_code == 200
        assert named.get("/health", headers={"host": "evil.example"}).status_code == 421


def test_drift_can_be_left_out_and_counts_nobody_unknown():
    for trusted, query, counted in [(True, "", 1), (True, "?drift=false", 0), (False, "", 0)]:
        with TestClient(create_app(Settings(workers=1), trusted=trusted), base_url="http://localhost") as one:
            assert one.post(f"/score{query}", files=form(SLICES[:1])).status_code == 200
            assert f"focus_picker_rolling_images {counted}.0" in one.get("/metrics").text


def test_many_stacks_are_many_lines_and_a_bad_one_stops_no_other(client):
    expected = client.post("/pick-focus?name=b", files=form(SLICES)).json()
    folders = [(f"data/{folder}/{name}", content) for folder in ("b", "a10", "a9") for name, content in SLICES[:11]]
    bad = [(f"data/c/{name}", content[:500]) for name, content in SLICES]
    sent = [("x.zip", zipped([*folders, *bad])), ("z.tif", example_tiff())]
    answer = client.post("/pick-focus-batch", files=form(sent))
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["stack"] for line in lines] == ["z", "a9", "a10", "b", "c"]
    assert [line["status"] for line in lines] == ["ok", "ok", "ok", "ok", "unreadable"]
    assert lines[3] == expected
    twins = [(f"{well}/cell_1/{name}", content) for well in ("a1", "a2") for name, content in SLICES]
    named = client.post("/pick-focus-batch", files=form([("plate.zip", zipped(twins))])).text.splitlines()
    assert [json.loads(line)["stack"] for line in named] == ["plate/a1/cell_1", "plate/a2/cell_1"]
    refused = client.post("/pick-focus-batch", files=form([("a.txt", b"x")]))
    assert (refused.status_code, refused.json()["code"]) == (415, "wrong_type")


def test_a_batch_that_turns_out_to_be_large_is_answered_once(client):
    def enlarged(content):
        buffer = io.BytesIO()
        Image.open(io.BytesIO(content)).resize((900, 830)).save(buffer, "JPEG", quality=80)
        return buffer.getvalue()

    sent = [("a/" + name, content) for name, content in SLICES]
    sent += [("b/" + name, enlarged(content)) for name, content in SLICES]  # beyond tasks.LARGE_BYTES, decoded
    lines = client.post("/pick-focus-batch", files=form([("x.zip", zipped(sent))])).text.splitlines()
    assert [json.loads(line)["stack"] for line in lines] == ["a", "b"]


def test_frames_that_arrive_together_are_taken_apart():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for number in range(3):
            frames.send(theirs, {"number": number}, bytes(number))

        async def three():
            ours.setblocking(False)
            channel = frames.Channel(ours)
            return [await channel.receive() for _ in range(3)]

        assert asyncio.run(three()) == [({"number": number}, bytes(number)) for number in range(3)]


def test_a_long_thin_stack_has_thumbnails(client):
    slices = []
    for place in range(3):
        buffer = io.BytesIO()
        Image.fromarray(made_cell(place, 16, 4000)).save(buffer, "PNG")
        slices.append((f"{place}.png", buffer.getvalue()))
    answer = client.post("/pick-focus?thumbnails=96", files=form(slices))
    assert answer.status_code == 200, answer.text


def test_head_live_ready_and_build(client):
    for path in ("/", "/health", "/health/live", "/health/ready"):
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
    text = client.get("/metrics").text
    assert f'focus_picker_build_info{{calibrated="false",model="{DEFAULT_MODEL.name}"' in text
    assert "focus_picker_workers 1.0" in text


@pytest.mark.parametrize("token", ["short", "with space in it", "naïve-token-1", ""])
def test_a_token_that_cannot_be_sent_is_refused_at_the_start(monkeypatch, token):
    monkeypatch.setenv("FOCUS_PICKER_TOKEN", token)
    with pytest.raises(InputError, match="FOCUS_PICKER_TOKEN"):
        load_settings()


def test_refusals_before_a_route_are_counted_by_their_path(client):
    client.post("/score", files=form(SLICES[:1]), headers={"origin": "null"})
    assert 'focus_picker_requests_total{path="/score",status="403"}' in client.get("/metrics").text


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("FOCUS_PICKER_MAX_FILES", "7")
    assert load_settings(model=None).max_files == 7
    monkeypatch.setenv("FOCUS_PICKER_MAX_FILES", "many")
    with pytest.raises(InputError, match="FOCUS_PICKER_MAX_FILES"):
        load_settings()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "no/such.tflite"], "does not exist"),
        (["--host", "203.0.113.1", "--port", "0"], "cannot listen"),
        (["--reference", "no/such.json"], "no/such.json"),
    ],
)
def test_what_cannot_be_served_is_one_line(arguments, words, capsys):
    assert main(["serve", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
