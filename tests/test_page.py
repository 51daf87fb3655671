"""The web page in a real headless browser, against the real service in a process of its own."""

import csv
import io
import json
import re
import shutil
import zipfile
from base64 import b64encode
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from focus_picker.stack_inference.status import STATUSES
from tests.served import served

pytest.importorskip("uvicorn", reason="the service is not installed (extra serve)")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

PAGE = Path(__file__).parents[1] / "serve" / "page"
EXAMPLE = sorted((PAGE / "example").glob("*.jpg"), key=lambda path: int(path.stem))
TRUE_PLANE = 2.76  # of the example: where the cell looks sharpest without noise (serve/page/example/README.md)
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
    "--disable-component-update",
    "--disable-default-apps",
]
HOSTILE = "<img src=x onerror=alert(1)>.jpg"
TOKEN = "a-token-for-tests"


@pytest.fixture(scope="module")
def service():
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=SWITCHES)
        yield browser
        browser.close()


@contextmanager
def opened(browser, address, **context):
    """Open the page; on leaving, nothing may have left the origin and the console must hold no error."""
    faults = []
    context = browser.new_context(**context)
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: faults.append(f"exception: {error}"))
    page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
    page.on("console", lambda message: faults.append(message.text) if is_fault(message) else None)
    page.on("request", lambda request: faults.append(request.url) if leaves(request.url, address) else None)
    page.goto(address)
    yield page
    context.close()
    assert faults == []


def is_fault(message):
    """An error of the page or a breach of its policy; Chromium also reports every refusal of a stack."""
    refused = message.text.startswith("Failed to load resource") and re.search(
        "/(score|pick-focus(-batch)?)[?]", message.location["url"]
    )
    return message.type == "error" and not refused


def leaves(url, address):
    return not url.startswith((f"{address}/", "data:image/", "blob:"))


@pytest.fixture
def page(browser, service):
    with opened(browser, service) as page:
        yield page


def best_plane(page):
    """Wait for an answer and read its position and standard error."""
    file = page.locator("#best-plane:visible").inner_text().removeprefix("Use").strip()
    found = re.fullmatch(r"Best plane ([\d.]+) ± ([\d.]+)", page.locator("#best-position").inner_text())
    assert found
    return float(found[1]), float(found[2]), file


def is_true(position):
    return abs(position - TRUE_PLANE) < 0.25


def choose(page, *files):
    """Choose files in memory or on disk."""
    page.set_input_files("#files", list(files))


def in_memory(name, content):
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def picked(**changes):
    """Make an answer of the service."""
    slices = [{"index": i, "file": f"{i}.jpg", "score": i - 1.5, "sharpness": 1.0, "thumbnail": None} for i in range(4)]
    return {
        "stack": "made",
        "n_slices": 4,
        "best_index": 1,
        "best_file": "1.jpg",
        "best_position": 1.4,
        "standard_error": 0.1,
        "best_z_um": None,
        "status": "ok",
        "advice": "",
        "method": "fused",
        "scores_used": True,
        "slices": slices,
        "fit": None,
    } | changes


def answer_with(page, answer):
    page.route("**/pick-focus?*", lambda route: route.fulfill(json=answer))


def test_chosen_files_give_the_best_plane_with_curve_thumbnails_and_table(page):
    shuffled = [EXAMPLE[index] for index in np.random.default_rng(0).permutation(len(EXAMPLE))]
    choose(page, *shuffled)
    position, error, file = best_plane(page)
    assert is_true(position)
    assert 0 < error < 0.3
    assert file == "3.jpg"
    assert page.locator("#status").inner_text() == "Clear answer"
    assert page.locator(".slice .file").all_inner_texts() == [f"{index}.jpg" for index in range(11)]
    assert page.locator(".slice img").evaluate_all("all => all.every(one => one.naturalWidth > 50)")
    assert "best" in page.locator(".slice.best").inner_text()
    assert page.locator("#rows tr").count() == 11
    assert page.locator("#chart .dot").count() == 22
    assert page.locator("#chart .fit").count() == 1
    assert page.locator("#chart .band").count() == 2
    assert f"{position:.2f}" in page.locator("#chart svg[role=img]").get_attribute("aria-label")
    assert f"best plane {position:.2f}" in page.locator("#announcer[role=status]").text_content()
    assert re.fullmatch(r"Model focus_model.tflite .+ · SHA-256 [0-9a-f]{12}", page.locator("#model").inner_text())


def test_files_are_dropped(page):
    files = [[path.name, b64encode(path.read_bytes()).decode()] for path in EXAMPLE]
    transfer = page.evaluate_handle(
        """files => {
            const transfer = new DataTransfer();
            for (const [name, text] of files) {
                const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                transfer.items.add(new File([bytes], name));
            }
            return transfer;
        }""",
        files,
    )
    page.dispatch_event("#drop-zone", "dragenter", {"dataTransfer": transfer})
    assert page.locator("#drop-zone.over").count() == 1
    page.dispatch_event("#drop-zone", "drop", {"dataTransfer": transfer})
    assert is_true(best_plane(page)[0])
    assert page.locator("#drop-zone.over").count() == 0


def test_a_folder_is_dropped_by_the_browser_itself_and_its_other_files_are_left_out(page, tmp_path):
    folder = tmp_path / "cell 7"
    shutil.copytree(PAGE / "example", folder)  # with its README.md
    (folder / "Thumbs.db").write_bytes(b"no image")
    (folder / "._3.jpg").write_bytes(b"of a Mac")
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    marked = page.locator("#drop-zone.over")
    for step in ("dragEnter", "dragOver", "dragOver", "drop"):  # a mouse says where it is again and again
        session.send("Input.dispatchDragEvent", {"type": step, "x": 300, "y": 250, "data": data})
        marked.wait_for(state="detached" if step == "drop" else "attached")  # the page has heard of it
    assert is_true(best_plane(page)[0])
    assert page.locator("#stack-name").inner_text() == "cell 7 · 11 slices"


def test_a_folder_of_stacks_offers_each(page, tmp_path):
    for name, part in (("stack_2", EXAMPLE), ("stack_10", EXAMPLE[5:])):
        (tmp_path / "data" / "cell_stacks" / name).mkdir(parents=True)
        for path in part:
            shutil.copy(path, tmp_path / "data" / "cell_stacks" / name)
    (tmp_path / "data" / "focus_labels.csv").write_text("image_path,focus_score\n")
    page.fill("#z-step", "0.25")
    page.set_input_files("#folder", tmp_path / "data")
    assert is_true(best_plane(page)[0])
    page.locator("#stack-rows tr:nth-child(2)").wait_for()
    assert page.locator("#stack-rows button").all_inner_texts() == ["stack_2", "stack_10"]
    page.get_by_role("button", name="stack_10").click()
    page.get_by_text("stack_10 · 6 slices").wait_for()
    assert page.locator("#status").inner_text() == "At the edge"
    page.select_option("#status-filter", "At the edge")
    assert page.locator("#stack-rows tr:visible").count() == 1
    with page.expect_download() as saved:
        page.click("#download-stacks")
    rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text(encoding="utf-8"), newline="")))
    assert [(row["stack"], row["status"], row["model"]) for row in rows] == [
        ("stack_2", "ok", "focus_model.tflite"),
        ("stack_10", "edge", "focus_model.tflite"),
    ]
    assert [row["z_step_um"] for row in rows] == ["0.25", "0.25"]
    assert float(rows[0]["standard_error_um"]) == pytest.approx(0.25 * float(rows[0]["standard_error"]), rel=1e-4)
    assert {len(row["model_sha256"]) for row in rows} == {64}
    assert page.locator("#stack-rows tr:first-child .um").first.inner_text().endswith("µm")


def test_a_zip_of_folders_is_a_table_in_which_a_bad_stack_has_its_reason(page):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        for folder in ("cell_9", "cell_10"):
            for path in EXAMPLE:
                writer.write(path, f"all/{folder}/{path.name}")
        writer.writestr("all/cell_11/only.jpg", EXAMPLE[0].read_bytes())
    choose(page, in_memory("many.zip", archive.getvalue()))
    page.locator("#stack-rows tr:nth-child(3)").wait_for()
    assert page.locator("#stack-rows button").all_inner_texts() == ["cell_9", "cell_10", "cell_11"]
    assert "single file" in page.locator("#stack-rows tr:nth-child(3)").inner_text()
    assert page.locator("#stack-name").inner_text() == "cell_9 · 11 slices"


def test_folders_of_one_name_are_told_apart(page, tmp_path):
    for well in ("a1", "a2"):
        shutil.copytree(PAGE / "example", tmp_path / "plate" / well / "cell_1")
    page.set_input_files("#folder", tmp_path / "plate")
    page.locator("#stack-rows tr:nth-child(2)").wait_for()
    assert page.locator("#stack-rows button").all_inner_texts() == ["plate/a1/cell_1", "plate/a2/cell_1"]


def test_a_model_of_ones_own_is_offered_watched_and_handed_out(page):
    job = {"state": "none", "n_stacks": 0, "stage": "", "done": 0, "total": 0, "words": "", "problem": ""}
    running = job | {"state": "running", "n_stacks": 10, "stage": "fine-tuning", "done": 3, "total": 6}
    done = job | {"state": "done", "words": "10 of 10 stacks labelled\nexpected error 0.08"}
    states = iter([job, running, done])  # when the page is loaded, after the start, when it asks again
    lines = "".join(f"{json.dumps(picked(stack=f's{place}'))}\n" for place in range(10))
    health = page.evaluate("fetch('/health').then((answer) => answer.json())") | {"adapt": True}
    page.route("**/health", lambda route: route.fulfill(json=health))
    page.route("**/adapt", lambda route: route.fulfill(json=next(states)))
    page.route("**/adapt/model", lambda route: route.fulfill(body=b"a zip"))
    page.route(
        "**/pick-focus?*", lambda route: route.fulfill(status=422, json={"code": "several_stacks", "detail": ""})
    )
    page.route("**/pick-focus-batch?*", lambda route: route.fulfill(body=lines))
    page.reload()
    page.get_by_text("Drop 10 or more stacks of this microscope").wait_for()
    assert page.locator("#adapt-start").is_disabled()
    choose(page, in_memory("all.zip", b"PK"))
    page.get_by_role("button", name="Adapt a model to these stacks").click()
    page.get_by_text("10 stacks: fine-tuning").wait_for()
    assert page.locator("#adapt-progress").evaluate("bar => bar.value / bar.max") == 0.5
    page.get_by_text("Expected error 0.08.").wait_for()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download the model").click()
    assert saved.value.suggested_filename == "focus_model.zip"


def score(status="post_focal", **changes):
    """Make an answer of the service about one image."""
    move = {
        "slices": -3.1,
        "standard_error": 0.35,
        "um": -1.55,
        "standard_error_um": 0.17,
        "status": "ok",
        "advice": "",
    }
    made = {"image_path": "6.jpg", "focus_score": 0.62, "lower": 0.5, "upper": 0.75, "status": status, "problem": ""}
    return made | {"move": move} | changes


def test_one_image_says_which_way_to_move(page):
    page.route("**/score?*", lambda route: route.fulfill(json=score()))
    choose(page, EXAMPLE[6])
    page.locator("#single:visible").wait_for()
    assert page.locator("#single-move").inner_text() == (
        "Move the lens towards the sample by 3.10 ± 0.35 slices (1.55 ± 0.17 µm)"
    )
    assert page.locator("#single-arrow").inner_text() == "↓"
    assert "0.50 to 0.75" in page.locator("#single-facts").inner_text()
    assert page.locator("#answer").is_hidden()


def test_one_image_and_a_model_from_elsewhere_name_no_side(page):
    choose(page, EXAMPLE[6])
    page.locator("#single:visible").wait_for()
    assert page.locator("#single-status").inner_text() == "Not calibrated"
    assert page.locator("#single-move").inner_text() == "No move can be told"
    assert "record stacks and run adapt" in page.locator("#single-meaning").inner_text()
    assert "too" not in page.locator("#single").inner_text()
    choose(page, *EXAMPLE)
    assert is_true(best_plane(page)[0])
    assert page.locator("#single").is_hidden()


def test_scores_that_had_no_say_are_grey_and_named(page):
    page.click("#example")
    best_plane(page)
    assert page.locator("#answer.unused-scores").count() == 1
    assert page.locator("#chart .unused").count() == 1
    assert page.locator("#score-head").inner_text() == "Signed score (not used)"
    assert "not calibrated on this microscope" in page.locator("#unused-note").inner_text()
    assert "lens too" not in page.locator("#answer").inner_text()
    answer_with(page, picked(scores_used=True))
    page.click("#example")
    page.get_by_text("made · 4 slices").wait_for()
    assert page.locator("#answer.unused-scores").count() == 0
    assert "lens too" in page.locator("#answer").inner_text()


def test_full_size_goes_through_the_slices_and_flickers(page):
    page.click("#example")
    best_plane(page)
    page.get_by_role("button", name="Full size").click()
    title = page.locator("#viewer-title")
    assert title.inner_text() == "Slice 3 · 3.jpg"
    page.keyboard.press("ArrowRight")
    assert title.inner_text() == "Slice 4 · 4.jpg"
    assert page.locator("#viewer-picture").evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    page.click("#flicker")
    title.get_by_text("Slice 5").wait_for()
    title.get_by_text("Slice 4").wait_for()
    page.keyboard.press("Escape")
    assert page.locator("#viewer").is_hidden()


@pytest.mark.parametrize("step", ["none", "-1", "1e4"])
def test_a_bad_z_step_keeps_the_answer(page, step):
    page.click("#example")
    best_plane(page)
    page.fill("#z-step", step)
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("Not changed").wait_for()
    assert is_true(best_plane(page)[0])


def test_limits_are_told_and_kept_to_before_anything_is_sent(browser):
    with (
        served(FOCUS_PICKER_MAX_FILES="9", FOCUS_PICKER_MAX_REQUEST_BYTES="200000") as address,
        opened(browser, address) as page,
    ):
        page.get_by_text(
            "At most 9 slices or pages a stack, 4.2 million pixels a slice and 24 million a stack; 200 kB an upload; "
            "a zip 100 stacks and 134.2 MB unpacked."
        ).wait_for()
        page.route("**/pick-focus?*", lambda route: pytest.fail("it was sent"))
        choose(page, *EXAMPLE)
        page.get_by_role("alert").get_by_text("has 11 files, more than 9").wait_for()
        choose(page, *(in_memory(f"{place}.tif", bytes(150_000)) for place in range(2)))
        page.get_by_role("alert").get_by_text("has 300 kB, more than 200 kB").wait_for()


def test_the_example_in_micrometres_with_a_decimal_comma(page):
    page.fill("#z-step", "0,5")
    page.get_by_role("button", name="Try the example").click()
    position, error, _ = best_plane(page)
    assert is_true(position)
    text = page.locator("#best-um").inner_text()
    assert text.endswith(" µm from the first slice")
    assert [float(number) for number in re.findall(r"\d\.\d\d", text)] == pytest.approx(
        [position / 2, error / 2], abs=0.01
    )
    page.fill("#z-step", "none")
    page.keyboard.press("Enter")
    page.locator("#problem").get_by_text("distance between slices").wait_for()
    assert page.locator("#z-step").get_attribute("aria-invalid") == "true"
    page.fill("#z-step", "")
    page.keyboard.press("Enter")
    page.locator("#best-um:empty").wait_for(state="attached")
    assert is_true(best_plane(page)[0])


def test_a_tiff_and_a_zip(page):
    tiff, archive = io.BytesIO(), io.BytesIO()
    slices = [Image.open(path) for path in EXAMPLE]
    slices[0].save(tiff, "TIFF", save_all=True, append_images=slices[1:], compression="tiff_lzw")
    choose(page, in_memory("cell.tif", tiff.getvalue()))
    assert is_true(best_plane(page)[0])
    assert page.locator("#stack-name").inner_text() == "cell · 11 slices"
    # The browser cannot show a TIFF; the preview is the service's.
    assert (
        page.locator("#preview").evaluate("image => image.decode().then(() => image.src.slice(0, 10))") == "data:image"
    )
    with zipfile.ZipFile(archive, "w") as writer:
        for path in EXAMPLE:
            writer.write(path, f"inside/{path.name}")
    choose(page, in_memory("packed.zip", archive.getvalue()))
    page.get_by_text("packed · 11 slices").wait_for()
    assert is_true(best_plane(page)[0])


def test_a_bad_file_is_explained_and_the_page_goes_on(page):
    choose(page, in_memory("notes.txt", b"these are no pixels"))
    alert = page.get_by_role("alert")
    alert.get_by_text("notes.txt is not an image").wait_for()
    assert alert.evaluate("alert => alert === document.activeElement")
    assert page.locator("#answer").is_hidden()
    choose(page, *(in_memory(name, b"text") for name in ("a.txt", "b.csv")))
    alert.get_by_text("None of these 2 files is an image").wait_for()
    choose(page, *EXAMPLE)
    assert is_true(best_plane(page)[0])
    assert alert.inner_text() == ""


def test_a_spoilt_slice_is_left_out_and_named(page):
    spoilt = [path if path.stem != "8" else in_memory("8.jpg", b"\xff\xd8\xff cut") for path in EXAMPLE]
    choose(page, *(path if isinstance(path, dict) else in_memory(path.name, path.read_bytes()) for path in spoilt))
    assert is_true(best_plane(page)[0])
    assert "left out 8.jpg" in page.locator("#advice").inner_text().lower()
    assert page.locator("#chart .missing").count() == 2
    assert page.locator(".slice .picture.missing").count() == 1


def test_everything_is_reached_from_the_keyboard(page):
    def tab_to(selector):
        for _ in range(12):
            page.keyboard.press("Tab")
            if page.locator(selector).evaluate("wanted => wanted === document.activeElement"):
                return
        raise AssertionError(f"Tab does not reach {selector}")

    # Listening from before the page is there; expect_file_chooser now and then begins after the key.
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    page.reload()
    tab_to("#files")
    page.keyboard.press("Enter")
    for _ in range(200):
        if choosers:
            break
        page.wait_for_timeout(20)
    choosers[0].set_files(EXAMPLE)
    assert is_true(best_plane(page)[0])
    tab_to("#example")
    tab_to(".slice.best input")
    outline = page.locator(".slice.best").evaluate("slice => getComputedStyle(slice).outlineWidth")
    assert outline == "3px"
    shown = page.locator("#preview-caption .place")
    for key, place in (("ArrowRight", 4), ("ArrowLeft", 3), ("ArrowLeft", 2), ("End", 10), ("Home", 0)):
        page.keyboard.press(key)
        assert shown.inner_text().split()[:2] == ["Slice", str(place)]
    assert page.locator("#preview").evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    tab_to("#download-csv")
    with page.expect_download():
        page.keyboard.press("Enter")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(browser, service, scheme):
    screen = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
    with opened(browser, service, color_scheme=scheme, reduced_motion="reduce", **screen) as page:
        long = f"{'very_long_name_' * 12}.jpg"
        answer_with(page, picked(best_file=long, stack=long, advice=long, status="disagree"))
        page.tap("#example")
        page.locator("#best-plane:visible").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert page.locator("#chart svg").bounding_box()["width"] < 360


def test_downloads_hold_the_answer(page):
    with page.expect_response("**/pick-focus?*") as response:
        page.click("#example")
    answer = response.value.json()
    best_plane(page)
    with page.expect_download() as saved:
        page.click("#download-json")
    assert saved.value.suggested_filename == "example_focus.json"
    for one in answer["slices"]:
        assert one.pop("thumbnail").startswith("data:image/jpeg;base64,")
    assert json.loads(Path(saved.value.path()).read_text(encoding="utf-8")) == answer
    with page.expect_download() as saved:
        page.click("#download-csv")
    rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text(encoding="utf-8"), newline="")))
    assert [{key: row[key] for key in answer["slices"][0]} for row in rows] == [
        {key: str(value) for key, value in one.items()} for one in answer["slices"]
    ]
    assert {(row["best_position"], row["status"], row["model_version"]) for row in rows} == {
        (str(answer["best_position"]), "ok", answer["model"]["version"])
    }


def test_hostile_names_are_text(page):
    files = [in_memory(path.name, path.read_bytes()) for path in EXAMPLE]
    files[3]["name"] = f"3{HOSTILE}"
    choose(page, *files)
    assert best_plane(page)[2] == f"3{HOSTILE}"
    assert page.locator("#rows td").filter(has_text=HOSTILE).count() == 1
    assert page.locator("img[src=x]").count() == 0


def test_hostile_answers_are_text_and_harmless_in_a_spreadsheet(page):
    answer = picked(stack=HOSTILE, best_file=HOSTILE, advice=HOSTILE, method=HOSTILE, status=HOSTILE)
    names = ("-1.jpg", '=cmd|"x".jpg', "a,b.jpg", HOSTILE)
    for one, name in zip(answer["slices"], names, strict=True):
        one |= {"file": name, "thumbnail": "javascript:alert(1)"}
    answer_with(page, answer)
    page.click("#example")
    page.locator("#stack-name").get_by_text(HOSTILE).wait_for()
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("#strip img").count() == 0
    with page.expect_download() as saved:
        page.click("#download-csv")
    assert re.fullmatch(r"[\w.-]+_focus\.csv", saved.value.suggested_filename)
    rows = csv.DictReader(io.StringIO(Path(saved.value.path()).read_text(encoding="utf-8"), newline=""))
    assert [row["file"] for row in rows] == ["-1.jpg", "'" + names[1], "a,b.jpg", HOSTILE]


def test_every_status_is_said_in_words(page):
    gone = {"best_index": None, "best_file": "", "best_position": None, "standard_error": None}
    words = {
        "ok": "Clear answer",
        "edge": "At the edge",
        "flat": "Nothing to focus on",
        "ambiguous": "Two candidates",
        "disagree": "Contradiction",
        "unreadable": "Unreadable",
    }
    assert set(words) == set(STATUSES)
    for status, word in words.items():
        place = status not in ("flat", "unreadable")
        answer_with(page, picked(status=status, advice="take more slices", **({} if place else gone)))
        page.click("#example")
        page.locator("#status").get_by_text(word).wait_for()
        assert page.locator("#status-meaning").inner_text().endswith(".")
        assert page.locator("#advice").inner_text().endswith("Take more slices.")
        assert page.locator("#best-plane").inner_text().startswith("Use" if place else "No best plane")
        assert page.locator("#chart .plane").count() == (2 if place else 0)


def test_slow_work_shows_progress_is_cancelled_and_gives_way_to_newer_work(page):
    held, holding = [], True
    page.route("**/pick-focus?*", lambda route: held.append(route) if holding else route.continue_())
    page.click("#example")
    page.get_by_text("Sending 11 files").wait_for()  # it comes after a moment
    page.get_by_role("button", name="Cancel").click()
    assert page.locator("#working").is_hidden()
    assert page.locator("#announcer").text_content() == "Cancelled."
    choose(page, *EXAMPLE[:2])
    page.get_by_text("Sending 2 files,").wait_for()
    holding = False
    page.click("#example")
    assert is_true(best_plane(page)[0])
    assert page.locator("#working").is_hidden()
    for late in held:
        with suppress(sync_api.Error):  # the page has hung up
            late.fulfill(json=picked(stack="older"))
    page.wait_for_timeout(250)  # the older work would show itself by now
    assert page.locator("#stack-name").inner_text() == "example · 11 slices"
    assert page.locator("#working").is_hidden()


def test_a_wanted_token_is_asked_for_and_kept(browser):
    with served(FOCUS_PICKER_TOKEN=TOKEN) as address, opened(browser, address) as page:
        page.click("#example")
        page.get_by_label("Access token").fill("not-this-one")
        page.keyboard.press("Enter")
        page.get_by_text("does not accept this token").wait_for()
        page.get_by_label("Access token").fill(TOKEN)
        page.get_by_role("button", name="Continue").click()
        assert is_true(best_plane(page)[0])
        assert page.locator("#token-form").is_hidden()
        page.reload()
        page.click("#example")
        assert is_true(best_plane(page)[0])


def test_a_service_that_has_gone_is_said(page):
    page.route("**/pick-focus?*", lambda route: route.abort())
    choose(page, *EXAMPLE[:2])
    page.get_by_role("alert").get_by_text(re.compile("cannot be reached|connection broke")).wait_for()


def test_the_page_for_programs_shows_every_operation_with_examples(page, service):
    page.goto(f"{service}/docs")
    page.get_by_role("heading", name="POST /pick-focus", exact=True).wait_for()
    assert page.locator("section").count() == 8
    page.locator("summary", has_text="413").first.click()
    assert '"code": "too_many_bytes"' in page.locator("pre:visible").first.inner_text()


def test_the_example_is_small_and_drawn():
    assert len(EXAMPLE) == 11
    assert sum(path.stat().st_size for path in EXAMPLE) < 120_000
    assert "cli.py simulate" in (PAGE / "example" / "README.md").read_text()


TEXT = (
    "ink",
    "muted",
    "good-text on good-tint",
    "warn-text on warn-tint",
    "warn-text",
    "on-accent on accent",
    "good-text",
)
MARKS = ("slices", "fit", "good", "warn", "outline", "accent", "none")


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("names", "least"), [(TEXT, 4.5), (MARKS, 3.0)], ids=["text", "marks"])
def test_colours_have_the_contrast_of_wcag_aa(scheme, names, least):
    blocks = re.findall(r":root \{(.*?)\}", (PAGE / "style.css").read_text(), re.S)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[scheme]))
    for name in names:
        ink, _, ground = name.partition(" on ")
        for paper in [ground] if ground else ["surface", "sunken", "ground"]:
            assert contrast(colours[ink], colours[paper]) >= least, (name, paper)


def contrast(one, other):
    """Contrast ratio of WCAG 2.2 of two colours."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    value = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
