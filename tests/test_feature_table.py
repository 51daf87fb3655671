"""The feature table: order, parallel work, cache, faults."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from focus_picker.dataset.errors import InputError
from focus_picker.features import CUES, MEASURES, measure
from focus_picker.features import table as feature_table_module
from focus_picker.features.table import cache_file, feature_table, feature_version, sources


@pytest.fixture
def images(tmp_path) -> list[Path]:
    """Six small colour images on disk, the last two of the same content."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in (2, 10, 1, 3, 7, 8)]
    for path in paths[:5]:
        cv2.imwrite(str(path), cv2.GaussianBlur(rng.integers(0, 256, (24, 30, 3), dtype=np.uint8), (0, 0), 2))
    paths[5].write_bytes(paths[4].read_bytes())
    return paths


@pytest.fixture
def counted(monkeypatch) -> list[np.ndarray]:
    """Every image that is really measured."""
    seen = []

    def counting(image):
        seen.append(image)
        return measure(image)

    monkeypatch.setattr(feature_table_module, "measure", counting)
    return seen


def test_rows_follow_the_paths_and_columns_the_dicts(images):
    table = feature_table(images)
    assert list(table.index) == [str(path) for path in images]
    assert list(table.columns) == [*MEASURES, *CUES]
    assert set(table.dtypes) == {np.dtype(np.float32)}
    first = measure(cv2.imread(str(images[0]))[..., ::-1])
    assert table.iloc[0].to_dict() == pytest.approx(first, rel=1e-6)
    assert table.iloc[4].equals(table.iloc[5])


def test_paths_may_repeat_and_may_be_strings(images):
    names = [str(images[1]), str(images[0]), str(images[1])]
    table = feature_table(names)
    assert list(table.index) == names
    assert table.iloc[0].equals(table.iloc[2])


def test_no_paths_give_an_empty_table():
    table = feature_table([])
    assert table.shape == (0, len(MEASURES) + len(CUES))


def test_processes_change_nothing(images, monkeypatch):
    alone = feature_table(images, jobs=1)
    monkeypatch.setattr(feature_table_module, "PROCESSES_FROM", 1)
    monkeypatch.setattr(feature_table_module, "BATCH", 2)
    pd.testing.assert_frame_equal(feature_table(images, jobs=2), alone)


def test_same_content_is_measured_once_and_kept(images, counted, tmp_path):
    table = feature_table(images, cache=tmp_path / "cache")
    assert len(counted) == 5
    again = feature_table(images[::-1], cache=tmp_path / "cache")
    assert len(counted) == 5
    pd.testing.assert_frame_equal(again[::-1], table)


def test_changed_content_is_measured_anew(images, counted, tmp_path):
    before = feature_table(images[:1], cache=tmp_path / "cache")
    images[0].write_bytes(images[1].read_bytes())
    after = feature_table(images[:1], cache=tmp_path / "cache")
    assert len(counted) == 2
    assert not after.equals(before)


def test_edited_code_starts_afresh(images, counted, tmp_path, monkeypatch):
    feature_table(images, cache=tmp_path / "cache")
    monkeypatch.setattr(feature_table_module, "feature_version", lambda: "0123456789abcdef")
    feature_table(images, cache=tmp_path / "cache")
    assert len(counted) == 10


def test_version_covers_every_module_that_makes_features():
    """What Python itself loads of ours to read each kind of image and to measure it."""
    code = """if True:
        import sys
        from focus_picker.features.measures import measure
        from focus_picker.dataset import images, tiff
        print(*(module.__file__ for name, module in sys.modules.items() if name.startswith("focus_picker.")))"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {Path(file) for file in run.stdout.split() if not file.endswith("__init__.py")}
    assert set(sources()) == {file for file in loaded if file.stem != "version"}  # which the package itself shows
    assert {"tiff_metadata", "kernels", "asymmetry"} <= {file.stem for file in loaded}


def test_an_edit_of_any_source_changes_the_version(monkeypatch):
    read = Path.read_bytes
    versions = {feature_version.__wrapped__()}
    for edited in sources():
        monkeypatch.setattr(Path, "read_bytes", lambda path, edited=edited: read(path) + b"#" * (path == edited))
        versions.add(feature_version.__wrapped__())
    assert len(versions) == len(sources()) + 1


@pytest.mark.parametrize("damage", ["cut short", "not an archive", "empty", "other arrays", "pickled"])
def test_damaged_cache_is_built_anew_with_a_warning(images, counted, tmp_path, damage):
    table = feature_table(images, cache=tmp_path)
    file = cache_file(tmp_path)
    if damage == "cut short":
        file.write_bytes(file.read_bytes()[:-200])
    elif damage == "other arrays":
        np.savez(file, digests=np.array(["a" * 64]), values=np.zeros((2, 3), np.float32))
    elif damage == "pickled":
        np.savez(file, digests=np.array([{"a": 1}], dtype=object), values=np.zeros((1, 3), np.float32))
    else:
        file.write_bytes(b"not a zip" if damage == "not an archive" else b"")
    with pytest.warns(UserWarning, match="damaged"):
        again = feature_table(images, cache=tmp_path)
    pd.testing.assert_frame_equal(again, table)
    feature_table(images, cache=tmp_path)  # whole again: no warning
    assert len(counted) == 10


def test_unreadable_images_are_all_counted_and_the_others_kept(images, counted, tmp_path):
    bad = [tmp_path / f"bad_{number}.png" for number in range(5)]
    for number, path in enumerate(bad[:4]):
        path.write_bytes(b"no image %d" % number)
    with pytest.raises(InputError, match=r"5 of 11 images cannot be measured: .*; and 2 more") as caught:
        feature_table([*bad, *images], cache=tmp_path / "cache")
    assert "bad_4.png" in str(caught.value)
    assert "\n" not in str(caught.value)
    feature_table(images, cache=tmp_path / "cache")
    assert len(counted) == 5


def test_too_small_image_is_named(tmp_path):
    cv2.imwrite(str(tmp_path / "speck.png"), np.zeros((5, 30, 3), np.uint8))
    with pytest.raises(InputError, match=r"speck\.png.*too small"):
        feature_table([tmp_path / "speck.png"])


def test_interruption_keeps_what_is_done(images, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_table_module, "BATCH", 1)
    done = []

    def interrupted(image):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(image)
        return measure(image)

    monkeypatch.setattr(feature_table_module, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        feature_table(images, cache=tmp_path / "cache")
    with np.load(cache_file(tmp_path / "cache")) as content:
        assert len(content["digests"]) == 3
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [cache_file(tmp_path).name]


def test_measuring_leaves_opencv_threads_alone(images):
    before = cv2.getNumThreads()
    feature_table(images)
    assert cv2.getNumThreads() == before
