"""Leak scan: copies are found whatever was done to them, blurred cells that look alike are not."""

from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from focus_picker.dataset import leaks
from focus_picker.dataset.fingerprints import Fingerprint, aligned_similarity, fingerprint_image, grey_of
from focus_picker.dataset.images import read_image
from focus_picker.dataset.leaks import find_leaks, linked_fields
from focus_picker.dataset.splits import join_linked
from tests.made_cells import made_cell, photographed, save_image

CROPS = Path(__file__).parents[1] / ".." / "shared" / "data" / "wbc_crops"

COPIES = {
    "JPEG quality 75": lambda image: (image, 75),
    "JPEG quality 50": lambda image: (image, 50),
    "brighter": lambda image: (np.clip(image * 1.06 + 4, 0, 255), 85),
    "less contrast": lambda image: (image * 0.7 + 40, 85),
    "gamma": lambda image: (255 * (image / 255) ** 1.15, 85),
    "white balance": lambda image: (np.clip(image * [1.05, 1, 0.93], 0, 255), 85),
    "cropped by 3": lambda image: (image[3:-2, 2:-4], 85),
    "shifted by 2": lambda image: (image[2:, :-2], 85),
    "resized": lambda image: (cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA), 85),
}


def write_images(root, images, suffix=".png"):
    """Write images, each a field of its own; return the table of them."""
    for number, image in zip(count(), images):
        save_image(root / f"{number}{suffix}", image)
    rows = [(f"{number}{suffix}", f"field_{number}") for number in range(len(images))]
    return pd.DataFrame(rows, columns=["image_path", "field"])


def scan(root, labels):
    return find_leaks(root, labels, jobs=1)


def pairs(found):
    return set(found[["image_a", "image_b"]].itertuples(index=False, name=None))


@pytest.mark.parametrize("blur", [0, 3, 9])
@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_found_and_nothing_else(tmp_path, copy, blur):
    originals = [photographed(made_cell(seed), blur, seed) for seed in range(6)]
    labels = write_images(tmp_path, originals)
    image, quality = COPIES[copy](originals[2])
    save_image(tmp_path / "copy.jpg", np.asarray(image).astype(np.uint8), quality)
    labels.loc[len(labels)] = ["copy.jpg", "field_9"]
    found = scan(tmp_path, labels)
    assert pairs(found) == {("2.png", "copy.jpg")}
    assert found["kind"].tolist() == ["near-identical"]
    assert 0 <= found["distance"][0] <= 1 - leaks.MIN_ALIGNED
    assert linked_fields(found) == {("field_2", "field_9")}


@pytest.mark.parametrize("blur", [0, 6, 20])
def test_different_cells_are_no_leak_however_blurred(tmp_path, blur):
    labels = write_images(tmp_path, [photographed(made_cell(seed), blur, seed) for seed in range(80)])
    assert scan(tmp_path, labels).empty


@pytest.mark.skipif(not CROPS.is_dir(), reason="real crops (../shared/data/wbc_crops) are not here")
@pytest.mark.parametrize("blur", [0, 6, 10])
def test_real_cells(tmp_path, blur):
    files = sorted(CROPS.glob("*/*.jpg"))[::15]  # 100 cells
    cells = [photographed(read_image(file)[80:280, 80:280], blur, seed) for seed, file in enumerate(files)]
    labels = write_images(tmp_path, cells, ".jpg")
    expected = set()
    for number, copy in enumerate(COPIES):
        image, quality = COPIES[copy](cells[number])
        save_image(tmp_path / f"copy{number}.jpg", np.asarray(image).astype(np.uint8), quality)
        labels.loc[len(labels)] = [f"copy{number}.jpg", "other"]
        expected.add((f"{number}.jpg", f"copy{number}.jpg"))
    assert pairs(scan(tmp_path, labels)) == expected


def test_identical_content_is_found_across_file_formats(tmp_path):
    image = made_cell(0)
    save_image(tmp_path / "a.png", image)
    save_image(tmp_path / "b.bmp", image)
    labels = pd.DataFrame({"image_path": ["a.png", "b.bmp"], "field": ["f2", "f1"]})
    found = scan(tmp_path, labels)
    assert found.to_dict("records") == [
        {
            "image_a": "a.png",
            "image_b": "b.bmp",
            "field_a": "f2",
            "field_b": "f1",
            "kind": "identical",
            "distance": 0.0,
        }
    ]
    assert linked_fields(found) == {("f1", "f2")}


def test_copies_within_a_field_are_no_leak(tmp_path):
    labels = write_images(tmp_path, [made_cell(0), made_cell(0), made_cell(0)[2:, 3:]]).assign(field="one")
    assert scan(tmp_path, labels).empty


def test_many_identical_images_give_one_pair_less_than_images(tmp_path):
    labels = write_images(tmp_path, [made_cell(0)] * 9)
    labels["field"] = list("aaabbbccc")
    found = scan(tmp_path, labels)
    assert len(found) == 8
    assert set(join_linked("abc", linked_fields(found)).values()) == {"a"}
    assert (found["field_a"] != found["field_b"]).all()
    assert set(found["image_a"]) | set(found["image_b"]) == set(labels["image_path"])


def test_copied_stack_is_listed_slice_by_slice(tmp_path):
    stack = [photographed(made_cell(0), blur, seed) for seed, blur in enumerate((12, 8, 4, 0))]
    again = [COPIES["cropped by 3"](image)[0] for image in stack]
    labels = write_images(tmp_path, stack + again)
    labels["field"] = ["one"] * 4 + ["two"] * 4
    assert pairs(scan(tmp_path, labels)) == {(f"{k}.png", f"{k + 4}.png") for k in range(4)}


def test_blank_and_unreadable_images_are_passed_over(tmp_path):
    blank = np.full((40, 50, 3), 230, np.uint8)
    labels = write_images(tmp_path, [blank, blank, made_cell(0), made_cell(1)])
    (tmp_path / "3.png").write_bytes(b"not an image")
    assert scan(tmp_path, labels).empty
    assert scan(tmp_path, labels.iloc[:0]).columns.tolist() == list(leaks.COLUMNS)


def test_small_and_deep_images(tmp_path):
    rng = np.random.default_rng(0)
    labels = write_images(tmp_path, [rng.integers(0, 255, (8, 8, 3)).astype(np.uint8) for _ in range(20)])
    assert scan(tmp_path, labels).empty
    cell = made_cell(0)
    deep, plain = fingerprint_of(tmp_path, cell.astype(np.uint16) * 257), fingerprint_of(tmp_path, cell)
    assert deep.depth == 16
    assert deep.contrast == pytest.approx(plain.contrast, rel=0.02)


def fingerprint_of(root, image):
    import imagecodecs

    (root / "one.png").write_bytes(imagecodecs.png_encode(image))
    return fingerprint_image(root, "one.png")


def test_tiles_change_nothing(tmp_path, monkeypatch):
    originals = [photographed(made_cell(seed), 2, seed) for seed in range(60)]
    copies = [COPIES["cropped by 3"](image)[0] for image in originals[:12]]
    labels = write_images(tmp_path, originals + copies)
    expected = scan(tmp_path, labels)
    assert len(expected) == 12
    monkeypatch.setattr(leaks, "TILE", 7)
    assert scan(tmp_path, labels).equals(expected)


def test_copies_are_found_among_thousands():
    """All pairs of 12,000 images, of which the last 20 are copies of the first."""
    rng = np.random.default_rng(0)
    descriptors = rng.standard_normal((12_000, 255), dtype=np.float32)
    descriptors[-20:] = descriptors[:20] + 0.1 * rng.standard_normal((20, 255), dtype=np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    prints = [Fingerprint(str(number), descriptor=row) for number, row in enumerate(descriptors)]
    number = np.arange(len(prints))
    found = leaks._look_alikes(prints, number, number)
    assert sorted(found) == [(index, 11_980 + index) for index in range(20)]


def test_flood_of_copies_stays_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(leaks, "MAX_PAIRS", 50)
    image = made_cell(0)
    labels = write_images(tmp_path, [photographed(image, 1, seed) for seed in range(25)])  # 300 pairs
    found = scan(tmp_path, labels)
    assert 0 < len(found) <= 50


def test_similarity_is_one_for_itself_and_low_for_others():
    one, other = (grey_of(made_cell(seed)) for seed in (0, 1))
    assert aligned_similarity(one, one) == pytest.approx(1, abs=1e-4)
    assert aligned_similarity(one, 0.5 * one + 20) == pytest.approx(1, abs=1e-4)
    assert aligned_similarity(one, other) < 0.7
    assert aligned_similarity(one, one[:, ::-1]) < 0.9  # a mirrored copy is not recognised: documented
