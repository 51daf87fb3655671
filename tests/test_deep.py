"""Bins, windows, intervals, competence, the student and its files."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focus_picker.dataset.errors import InputError
from focus_picker.deep.competence import image_properties, learn_competence, other_side, outside_competence
from focus_picker.deep.views import ORIENTATIONS, ImageWindows, alone, oriented, turned, windows_of
from focus_picker.deep.window import centre, native_window, spread_windows
from focus_picker.models.bins import DEFAULT_BINS, ScoreBins

keras = pytest.importorskip("keras", reason="training needs the extra train")

import tensorflow as tf  # noqa: E402

from focus_picker.deep import augment  # noqa: E402
from focus_picker.deep.backbones import BACKBONES, backbone  # noqa: E402
from focus_picker.deep.export import KERNELS, VARIANTS, rounded, save_h5, static_batch, to_tflite  # noqa: E402
from focus_picker.deep.fused import fused  # noqa: E402
from focus_picker.deep.pipeline import Batches  # noqa: E402
from focus_picker.deep.runtime import Student, load_student  # noqa: E402
from focus_picker.deep.student import (  # noqa: E402
    EMBEDDING,
    LOGITS,
    build_student,
    copy_backbone,
    load_trained,
    start_from,
    with_readout,
)
from focus_picker.deep.training import (  # noqa: E402
    Checkpoint,
    Schedule,
    TrainingDiverged,
    deterministic,
    one_core_an_operation,
    train,
)
from focus_picker.hybrid.losses import label_loss  # noqa: E402
from focus_picker.hybrid.teacher import build_teacher  # noqa: E402
from focus_picker.models import DEFAULT_WEIGHTS  # noqa: E402
from focus_picker.models.intervals import Widening, learn_widening  # noqa: E402
from focus_picker.models.side_file import Competence, StudentSide, read_model, write_model  # noqa: E402
from focus_picker.models.stack_calibration import StackCalibration  # noqa: E402
from focus_picker.training.ship import rounded_if_as_good, why_refused  # noqa: E402

ROOT = Path(__file__).parents[1]
SIZE = 32
one_core_an_operation()  # before TensorFlow's first operation, as commands do: other processes must compute the same


def windows(n: int, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """Noise about a level and of a strength that differ from image to image and colour to colour."""
    rng = np.random.default_rng(seed)
    level, strength = rng.uniform(30, 225, (n, 1, 1, 3)), rng.uniform(2, 60, (n, 1, 1, 1))
    return np.clip(level + strength * rng.standard_normal((n, size, size, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def readout():
    """A student with random weights whose scores differ from image to image."""
    keras.utils.set_random_seed(1)
    student = build_student(DEFAULT_BINS, size=SIZE)
    for _ in range(40):  # let BatchNorm learn the scale of activations, which random weights make vanish
        student(windows(32), training=True)
    head, embed = student.get_layer(LOGITS), keras.Model(student.input, student.get_layer(EMBEDDING).output)
    embedding = embed.predict(windows(64), verbose=0)  # random gates leave little of what differs: a head that sees it
    kernel = head.get_weights()[0] / (embedding.std(axis=0)[:, None] + 1e-6)
    head.set_weights([kernel, -embedding.mean(axis=0) @ kernel])
    return with_readout(student, DEFAULT_BINS)


def side(**changes) -> StudentSide:
    values = {
        "window_px": SIZE, "score_per_slice": 0.2, "intervals": Widening(widening=0.01),
        "competence": Competence(contrast=(5, 200), brightness=(20, 240), chroma=(0, 255), saturated=0.5, spread=2.0),
    }  # fmt: skip
    return StudentSide(**{**values, **changes})


# Bins


@given(st.floats(-1.5, 1.5))  # three sigma inside: the outer edge cuts a tail off
@settings(deadline=None)
def test_the_median_of_a_soft_label_is_the_score(score):
    soft = DEFAULT_BINS.soft_labels([score], 0.15)
    assert soft.sum() == pytest.approx(1, abs=1e-5)
    assert DEFAULT_BINS.quantile(soft, 0.5)[0] == pytest.approx(score, abs=0.01)


def test_quantiles_of_a_uniform_distribution_are_linear():
    bins = ScoreBins(-1, 1, 4)
    uniform = np.full((1, 4), 0.25)
    for level in (0.1, 0.25, 0.5, 0.8):
        assert bins.quantile(uniform, level)[0] == pytest.approx(-1 + 2 * level)


def test_an_unlabelled_image_has_no_soft_label_and_costs_nothing():
    soft = DEFAULT_BINS.soft_labels([np.nan, 0.4], 0.06)
    assert soft[0].sum() == 0
    logits = tf.random.stateless_normal((2, DEFAULT_BINS.count), (0, 1))
    both = label_loss(logits, tf.constant(soft))
    alone = label_loss(logits[1:], tf.constant(soft[1:]))
    assert float(both) == pytest.approx(float(alone))


def test_widened_bins_keep_their_width_and_hold_the_score():
    wide = DEFAULT_BINS.widened(3.3)
    assert wide.width == pytest.approx(DEFAULT_BINS.width)
    assert wide.high >= 3.3
    assert wide.low == pytest.approx(-wide.high)
    assert DEFAULT_BINS.widened(1.0) == DEFAULT_BINS


# Windows


@pytest.mark.parametrize("shape", [(200, 150), (100, 150), (40, 300), (5, 7)])
def test_native_window_is_about_the_centre_and_never_resamples(shape):
    image = np.zeros((*shape, 3), np.uint8)
    image[shape[0] // 2, shape[1] // 2] = 255
    window = native_window(image, 128)
    assert window.shape == (128, 128, 3)
    assert set(np.unique(window)) <= {0, 255}
    assert abs(np.argwhere(window[..., 0])[:, 0] - 64).min() <= 1


def test_native_window_takes_16_bit_images():
    image = np.full((50, 50, 3), 257 * 100, np.uint16)
    assert (native_window(image, 64) == 100).all()


@pytest.mark.parametrize(("shape", "count"), [((60, 90), 1), ((128, 140), 1), ((200, 128), 3), ((144, 200), 5)])
def test_windows_spread_to_the_corners_of_an_image_that_is_larger(shape, count):
    image = np.zeros((*shape, 3), np.uint8)
    image[[0, 0, -1, -1], [0, -1, 0, -1]] = 255
    views = spread_windows(image)
    assert len(views) == count
    assert all(view.shape == (128, 128, 3) for view in views)
    np.testing.assert_array_equal(views[0], native_window(image))
    if count == 5:
        assert [int((view[..., 0] > 0).sum()) for view in views] == [0, 1, 1, 1, 1]


def test_orientations_are_the_eight_of_a_square():
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    seen = [view[0].tobytes() for view in turned(image)]
    assert len(set(seen)) == ORIENTATIONS
    assert set(seen) == {np.rot90(side, k).tobytes() for side in (image[0], image[0, ::-1]) for k in range(4)}


def test_windows_are_turned_against_each_other_and_a_single_one_is_seen_four_times():
    cut = windows_of([windows(1, size, seed)[0] for seed, size in enumerate((20, 2 * SIZE, SIZE))], SIZE)
    looks = cut.looks()
    assert list(cut.counts) == [1, 5, 1]
    assert list(looks.counts) == [4, 5, 4]
    own = [cut.windows[np.full(4, 0)], cut.windows[1:6], cut.windows[np.full(4, 6)]]
    expected = [oriented(several[at : at + 1], at)[0] for several in own for at in range(len(several))]
    np.testing.assert_array_equal(looks.windows, np.stack(expected))
    some = cut.of(np.array([False, True, True]))
    assert list(some.first) == [0, 5]
    np.testing.assert_array_equal(some.windows, cut.windows[1:])


def test_looks_that_agree_are_pooled_to_what_they_say_and_one_alone_is_left_as_it_is():
    sure = np.array([[0.0, 0.2, 0.8], [0.0, 0.2, 0.8], [0.8, 0.2, 0.0]])
    mean = ImageWindows(np.zeros((3, 1, 1, 3), np.uint8), np.array([0, 2])).pooled(sure)
    np.testing.assert_allclose(mean, [[0, 0.2, 0.8], [0.8, 0.2, 0]], atol=2e-4)
    both = ImageWindows(np.zeros((2, 1, 1, 3), np.uint8), np.array([0])).pooled(sure[1:])
    np.testing.assert_allclose(both, both[:, ::-1])  # they contradict each other: either side


def test_many_windows_are_judged_as_few_are(readout, monkeypatch):
    student = Student(to_tflite(readout, "fp32", windows(8)), side())
    whole = student.predict(alone(windows(7)))
    monkeypatch.setattr("focus_picker.deep.runtime.MOST_AT_ONCE", 3)
    for name, parts in student.predict(alone(windows(7))).items():
        np.testing.assert_allclose(parts, whole[name], atol=1e-6)


def test_several_looks_are_pooled_image_by_image(readout):
    weights = to_tflite(readout, "fp32", windows(8))
    student, once = Student(weights, side(turns=True, corners=True)), Student(weights, side())
    images = [windows(1, size, seed)[0] for seed, size in enumerate((20, SIZE, 50, 70))]
    judged = student.judge(images)
    for at, image in enumerate(images):
        looks = windows_of([image], SIZE).looks().windows
        each = once.judge_windows(looks).distribution.probability
        mean = np.exp(np.log(np.maximum(each, 1e-4)).mean(axis=0))
        mean /= mean.sum()
        np.testing.assert_allclose(judged.distribution.probability[at], mean, atol=1e-5)
        assert judged.score[at] == pytest.approx(student.side.bins.quantile(mean[np.newaxis], 0.5)[0], abs=1e-4)
    small = [np.ascontiguousarray(np.rot90(images[0], quarter)) for quarter in range(4)]
    assert np.ptp(student.judge(small).score) < 1e-5  # a cell has no upright
    assert np.ptp(once.judge(small).score) > 1e-4
    assert student.judge([]).score.shape == (0,)


# Augmentation keeps what the label is about


def focus_series() -> np.ndarray:
    """Ever more defocused windows of one cell, by wave optics."""
    from focus_picker.dataset.simulation.cells import draw_specimen
    from focus_picker.dataset.simulation.instrument import load_instrument
    from focus_picker.dataset.simulation.optics import through_focus

    instrument = load_instrument("dry50")
    specimen = draw_specimen("neutrophil", (144, 144), 0.1, 0.06, np.random.default_rng(2))
    images = through_focus(specimen, instrument, np.array([-2.0, -1.0, 0.0, 1.0, 2.0]))
    return np.clip(images * 215, 0, 255).astype(np.uint8)


SHARPNESS_SAFE = {
    "shift": lambda x, rng: augment.random_shift(x, 128, rng),
    "turn": augment.random_turn,
    "light": lambda x, rng: augment.random_light(x.astype(np.float32), rng),
    "noise": lambda x, rng: augment.random_noise(x.astype(np.float32), rng),
    "jpeg": augment.random_jpeg,
    "all": lambda x, rng: augment.augment(x, 128, rng),
}


@pytest.mark.parametrize("name", SHARPNESS_SAFE)
def test_augmentation_leaves_sharpness_rank_and_sign_unchanged(name):
    import cv2

    series = focus_series()
    for number in range(4):
        inner = [
            np.float32(SHARPNESS_SAFE[name](image, np.random.default_rng((number, at))))[8:-8, 8:-8]
            for at, image in enumerate(series)
        ]
        # Detail of a few pixels, above the noise that is added: relative energy of a band-pass.
        detail = [
            np.var(cv2.GaussianBlur(i[..., 1], (0, 0), 1.5) - cv2.GaussianBlur(i[..., 1], (0, 0), 4)) / i.mean() ** 2
            for i in inner
        ]
        assert detail[0] < detail[1]
        assert detail[4] < detail[3] < detail[2]
        # The sign: the dense nucleus is darker against the cell before focus than beyond.
        dark = [np.quantile(i[..., 1], 0.02) / np.median(i[..., 1]) for i in inner]
        assert dark[1] < dark[3]


def test_the_same_seed_gives_the_same_pictures():
    image = windows(1, 40)[0]
    once, again, other = (augment.augment(image, SIZE, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()
    assert once.shape == (SIZE, SIZE, 3)
    assert once.dtype == np.uint8


def test_turns_are_the_eight_of_a_square():
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    seen = {augment.random_turn(image, np.random.default_rng(seed)).tobytes() for seed in range(100)}
    assert seen == {np.rot90(side, k).tobytes() for side in (image, image[::-1]) for k in range(4)}


def test_noise_has_the_strength_that_is_drawn_and_is_the_same_in_all_channels_of_a_grey_camera():
    flat = np.full((60, 60, 3), 100, np.float32)
    strength = [(augment.random_noise(flat, np.random.default_rng(seed)) - flat).std() for seed in range(40)]
    assert max(strength) < 1.05 * augment.NOISE_GREY
    assert np.mean(strength) == pytest.approx(augment.NOISE_GREY / 2, rel=0.2)
    grey = augment.random_noise(flat, np.random.default_rng(1), same=True)
    assert np.ptp(grey, axis=2).max() == 0
    assert np.ptp(grey) > 0


def test_an_image_without_colour_has_three_equal_channels():
    image = windows(1)[0].astype(np.float32)
    grey = augment.random_grey(image, 1.0, np.random.default_rng(2))
    assert np.ptp(grey, axis=2).max() == 0
    assert image.min() <= grey.min() <= grey.max() <= image.max()
    np.testing.assert_array_equal(augment.random_grey(image, 0.0, np.random.default_rng(2)), image)


def test_the_twin_of_training_is_the_network_itself():
    student, images = build_student(DEFAULT_BINS, size=SIZE), windows(64)
    twin = fused(student)
    for training in (True, True, False):
        ours, theirs = (model(images, training=training)["logits"] for model in (twin, student))
        if not training:  # dropout differs
            np.testing.assert_allclose(ours, theirs, atol=1e-3)
    for ours, theirs in zip(twin.get_weights(), student.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0.01, atol=1e-4)  # variances of N - 1 and of N


def test_frozen_statistics_stay_in_the_twin():
    student = build_student(DEFAULT_BINS, size=SIZE)
    for layer in student.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    twin = fused(student)
    assert len(twin.trainable_variables) == len(student.trainable_variables)
    twin(windows(8), training=True)
    for ours, theirs in zip(twin.get_weights(), student.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# Student


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_makes_a_student(name):
    student = build_student(DEFAULT_BINS, name, n_auxiliary=3, size=64)
    outputs = student(windows(2, 64))
    assert outputs["logits"].shape == (2, DEFAULT_BINS.count)
    assert outputs["auxiliary"].shape == (2, 3)
    assert np.isfinite(outputs["logits"]).all()


def test_an_unknown_backbone_lists_the_known_ones():
    with pytest.raises(InputError, match="unknown backbone 'resnet'; known ones: focus_net"):
        backbone("resnet")


def test_the_graphs_readout_is_the_bins_own_median_and_spread(readout):
    outputs = readout.predict(windows(16), verbose=0)
    low, median, high = (DEFAULT_BINS.quantile(outputs["distribution"], level) for level in (0.16, 0.5, 0.84))
    assert np.ptp(median) > 0.05
    np.testing.assert_allclose(outputs["score"][:, 0], median, atol=1e-3)
    np.testing.assert_allclose(outputs["spread"][:, 0], (high - low) / 2, atol=1e-3)


def test_h5_loads_with_keras_alone_and_scores_the_same(readout, tmp_path):
    images = windows(3)
    np.save(tmp_path / "images.npy", images)
    save_h5(readout, tmp_path / "best_model.h5")
    code = (
        "import keras, numpy; m = keras.models.load_model('best_model.h5', compile=False);"
        "print(*m.predict(numpy.load('images.npy'), verbose=0)['score'][:, 0])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    scores = [float(word) for word in done.stdout.split()]
    np.testing.assert_allclose(scores, readout.predict(images, verbose=0)["score"][:, 0], atol=1e-5)


def test_weights_start_another_student(readout, tmp_path):
    save_h5(readout, tmp_path / "best_model.h5")
    trained = load_trained(tmp_path)
    student = build_student(DEFAULT_BINS, n_auxiliary=2, size=SIZE)
    start_from(student, trained)
    again = with_readout(student, DEFAULT_BINS).predict(windows(3), verbose=0)["score"]
    np.testing.assert_allclose(again, readout.predict(windows(3), verbose=0)["score"], atol=1e-5)
    with pytest.raises(InputError, match="another backbone"):
        copy_backbone(trained, build_student(DEFAULT_BINS, "mobilenet_v2_035", size=SIZE))


def test_weights_that_are_none_are_refused(tmp_path):
    (tmp_path / "best_model.h5").write_bytes(b"not weights")
    with pytest.raises(InputError, match="is no trained student"):
        load_trained(tmp_path)
    with pytest.raises(InputError, match="do not exist"):
        load_trained(tmp_path / "nowhere.h5")


@pytest.mark.parametrize("changed", [slice(8, 60), slice(3000, 6000), slice(20_000, None)])
def test_damaged_weights_are_refused(changed, tmp_path):
    content = bytearray(DEFAULT_WEIGHTS.read_bytes())
    content[changed] = bytes(len(content[changed]))
    (tmp_path / "best_model.h5").write_bytes(content)
    with pytest.raises(InputError, match="is no trained student"):
        load_trained(tmp_path)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    student = with_readout(build_student(DEFAULT_BINS, size=SIZE), DEFAULT_BINS)
    layer = student.get_layer("logits")
    layer.set_weights([np.full_like(weights, np.nan) for weights in layer.get_weights()])
    save_h5(student, tmp_path / "best_model.h5")
    with pytest.raises(InputError, match="not finite"):
        load_trained(tmp_path)


def test_a_teacher_is_no_student(tmp_path):
    build_teacher(DEFAULT_BINS, 3).save(tmp_path / "teacher.keras")
    with pytest.raises(InputError, match="image alone"):
        load_trained(tmp_path / "teacher.keras")


# Export and runtime


@pytest.mark.parametrize("variant", ["fp32", "fp16"])
def test_converted_models_score_as_keras_does_in_any_batch(readout, variant):
    content = to_tflite(readout, variant, windows(8))
    runtime = Student(content, side())
    images = windows(5, seed=3)
    expected = readout.predict(images, verbose=0)
    tolerance = 1e-4 if variant == "fp32" else 0.05
    np.testing.assert_allclose(runtime.predict(alone(images))["score"], expected["score"][:, 0], atol=tolerance)
    single = np.concatenate([runtime.predict(alone(images[i : i + 1]))["score"] for i in range(5)])
    np.testing.assert_allclose(single, runtime.predict(alone(images))["score"], atol=1e-5)


def test_int8_converts_and_is_smaller():
    student = with_readout(build_student(DEFAULT_BINS, size=SIZE), DEFAULT_BINS)
    sizes = {variant: len(to_tflite(student, variant, windows(8))) for variant in VARIANTS}
    assert max(sizes["int8"], sizes["weights8"]) < sizes["fp16"] < sizes["fp32"]


def test_rounded_kernels_have_255_steps_a_filter_and_weights8_keeps_them(readout):
    model = keras.models.clone_model(readout)
    model.set_weights(readout.get_weights())
    rounded(model)
    before, after = (layer_kernels(network) for network in (readout, model))
    for old, new in zip(before, after, strict=True):
        step = np.abs(old).max(axis=0) / 127
        assert np.all(np.abs(new - old) <= 0.5001 * step)
        np.testing.assert_allclose(new / step, np.rint(new / step), atol=1e-3)
    images = windows(40, seed=4)
    said = model.predict(images, verbose=0)["distribution"]
    shipped = Student(to_tflite(model, "weights8", images), side()).predict(alone(images))["distribution"]
    as_trained = readout.predict(images, verbose=0)["distribution"]
    assert np.abs(shipped - said).mean() < 0.5 * np.abs(shipped - as_trained).mean()


def test_kernels_are_rounded_only_where_that_costs_no_error(readout):
    images, model = windows(60, seed=4), keras.models.clone_model(readout)
    model.set_weights(readout.get_weights())
    truth = np.full(60, 300.0)  # so far off that what rounding adds to the error is nothing
    truth[:5] = np.nan
    rounded_if_as_good(model, images, truth)
    assert any((new != old).any() for new, old in zip(layer_kernels(model), layer_kernels(readout), strict=True))
    # A weight that nothing comes through takes all steps of its filter: the others would become zero.
    spoilt = readout.get_weights()
    head = next(at for at, weights in enumerate(spoilt) if weights.shape == readout.get_layer(LOGITS).kernel.shape)
    embedding = keras.Model(readout.input, readout.get_layer(EMBEDDING).output).predict(images, verbose=0)
    silent = int(np.argmin(np.abs(embedding).max(axis=0)))
    assert np.abs(embedding[:, silent]).max() < 1e-6
    spoilt[head][silent] = 1e4 * np.abs(spoilt[head]).max()
    model.set_weights(spoilt)
    truth = model.predict(images, verbose=0)["score"][:, 0] + 0.01
    rounded_if_as_good(model, images, truth)
    for new, old in zip(model.get_weights(), spoilt, strict=True):
        np.testing.assert_array_equal(new, old)


def layer_kernels(model) -> list[np.ndarray]:
    """Kernels of the layers that learn, a column a filter."""
    kernels = [layer.get_weights()[0] for layer in model.layers if layer.trainable and isinstance(layer, KERNELS)]
    return [kernel.reshape(-1, kernel.shape[-1] if kernel.shape[-1] > 1 else kernel.shape[-2]) for kernel in kernels]


def test_the_static_variant_takes_exactly_one_image(readout):
    content = to_tflite(static_batch(readout), "fp32", windows(2))
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    assert list(interpreter.get_input_details()[0]["shape_signature"]) == [1, SIZE, SIZE, 3]


@pytest.fixture
def model_path(readout, tmp_path) -> Path:
    content = to_tflite(readout, "fp32", windows(2))
    write_model(tmp_path / "focus_model.tflite", content, side())
    return tmp_path / "focus_model.tflite"


def test_a_written_model_loads_and_survives_a_trip_to_a_worker(model_path):
    import cloudpickle  # what joblib sends scorers with

    model = load_student(model_path)
    images = [np.zeros((40, 50, 3), np.uint8), windows(1)[0]]
    table = model.judge(images).as_table()
    assert list(table.columns) == ["score", "lower", "upper", "status"]
    assert (table.lower <= table.upper).all()
    assert table.status[0] == "unsure"  # blank
    other = cloudpickle.loads(cloudpickle.dumps(model))
    assert other.judge(images).as_table().equals(table)
    assert len(model.judge([])) == 0


STACK_CALIBRATION = {"stacks": 20, "offset": 0.1, "error": 0.2, "rate": [0.7, 1.4], "scatter": 0.3}


def test_a_tampered_or_incomplete_model_is_refused(model_path):
    beside = model_path.with_suffix(".json")
    content = bytearray(model_path.read_bytes())
    content[len(content) // 2] ^= 1
    model_path.write_bytes(content)
    with pytest.raises(InputError, match="SHA-256 differs"):
        load_student(model_path)
    values = json.loads(beside.read_text())
    for changes, fault in (
        ({"bins": "many"}, "bins"),
        ({"bins": {"low": 1, "high": -1, "count": 41}}, "bins"),
        ({"format": "focus-picker student 1"}, "format"),
        ({"kind": "baseline"}, "kind"),
        ({"score_per_slice": 0}, "score_per_slice"),
        ({"stack_calibration": {**STACK_CALIBRATION, "heat": 1}}, "heat"),
        ({"stack_calibration": {"stacks": 20}}, "stack_calibration"),
    ):
        beside.write_text(json.dumps({**values, **changes}))
        with pytest.raises(InputError, match=fault):
            load_student(model_path)
    beside.unlink()
    with pytest.raises(InputError, match="is missing"):
        load_student(model_path)
    model_path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        load_student(model_path)


def test_a_stack_calibration_comes_back_and_that_of_other_weights_is_refused(model_path):
    weights, known = read_model(model_path, StudentSide)
    learned = StackCalibration.model_validate(STACK_CALIBRATION)
    write_model(model_path, weights, known.model_copy(update={"stack_calibration": learned}))
    assert load_student(model_path).side.stack_calibration == learned
    with_calibration = model_path.with_suffix(".json").read_bytes()
    write_model(model_path, weights + b"other", known)
    model_path.with_suffix(".json").write_bytes(with_calibration)
    with pytest.raises(InputError, match="SHA-256 differs"):
        load_student(model_path)


def test_scoring_needs_no_tensorflow(model_path):
    code = (
        "import sys, numpy as np; from focus_picker.deep.runtime import load_student;"
        f"load_student({str(model_path)!r}).judge([np.zeros((50, 60, 3), np.uint8)]);"
        "print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("mae", "fp32", "agreement", "passes"),
    [(0.060, 0.060, 1.0, True), (0.0613, 0.060, 1.0, False), (0.06, 0.06, 0.99, False), (np.nan, 0.06, 1.0, False)],
)
def test_a_variant_that_errs_more_or_decides_otherwise_is_refused(mae, fp32, agreement, passes):
    assert (why_refused(mae, fp32, agreement) == "") is passes


# Intervals and competence


def test_conformal_intervals_cover_what_they_promise_though_the_network_is_too_sure():
    rng = np.random.default_rng(0)
    truth = rng.uniform(-1, 1, 6000)
    distribution = DEFAULT_BINS.soft_labels(truth + 0.1 * rng.standard_normal(6000), 0.03)
    widening = learn_widening(DEFAULT_BINS, distribution[:2000], truth[:2000])
    assert widening.widening > 0.05
    lower, upper = widening.interval(DEFAULT_BINS, distribution[2000:])
    covered = np.mean((lower <= truth[2000:]) & (truth[2000:] <= upper))
    assert covered == pytest.approx(0.9, abs=0.02)


def test_a_network_that_is_too_modest_gets_narrower_intervals():
    truth = np.random.default_rng(0).uniform(-1, 1, 500)
    modest = DEFAULT_BINS.soft_labels(truth, 0.4)
    widening = learn_widening(DEFAULT_BINS, modest, truth)
    assert widening.widening < 0
    lower, upper = widening.interval(DEFAULT_BINS, modest)
    assert (lower <= upper).all()


def test_too_few_images_calibrate_nothing():
    with pytest.raises(InputError, match="90% intervals need at least 9"):
        learn_widening(DEFAULT_BINS, DEFAULT_BINS.soft_labels(np.zeros(3), 0.1), np.zeros(3))


def test_blank_dark_saturated_and_grey_images_are_outside_of_what_was_seen():
    seen = np.clip(windows(20) // 3 + 100, 0, 255).astype(np.uint8)
    competence = learn_competence(seen, np.full(20, 0.1))
    grey = np.repeat(seen[0][..., :1], 3, axis=-1)
    blank, black, white = (np.full_like(grey, level) for level in (128, 0, 255))
    shown = image_properties(np.stack([blank, black, white, grey, seen[0]]))
    flagged = outside_competence(shown, np.full(5, 0.1), np.full(5, 0.4), competence)
    assert flagged.tolist() == [True, True, True, True, False]
    properties, doubt = image_properties(seen), np.full(20, 0.4)
    assert outside_competence(properties, np.full(20, 0.5), doubt, competence).all()
    careful = competence.model_copy(update={"other_side": 0.1})
    assert outside_competence(properties, np.full(20, 0.1), doubt, careful).all()


def test_the_other_side_is_what_the_score_leaves_open():
    sure = DEFAULT_BINS.soft_labels([0.8], 0.05)
    either = 0.7 * sure + 0.3 * DEFAULT_BINS.soft_labels([-0.8], 0.05)
    np.testing.assert_allclose(other_side(DEFAULT_BINS, np.concatenate([sure, either])), [0, 0.3], atol=1e-4)
    assert other_side(DEFAULT_BINS, DEFAULT_BINS.soft_labels([0.0], 0.05))[0] == pytest.approx(0.5)


def test_the_range_is_widened_and_not_the_value():
    """Brightness 100 to 200 in training: a quarter of the range on a logarithmic scale is a factor of 2 ** 0.25."""
    dark, light = np.full((1, SIZE, SIZE, 3), 100, np.uint8), np.full((1, SIZE, SIZE, 3), 200, np.uint8)
    competence = learn_competence(np.concatenate([dark, light]), np.array([0.1]))
    assert competence.brightness == pytest.approx((100 / 2**0.25, 200 * 2**0.25))
    assert learn_competence(dark, np.array([0.1])).brightness == pytest.approx((100 / 1.1, 100 * 1.1))


# Training


def small_training(folder: Path, epochs: int, rate: float = 0.01):
    deterministic(0)
    model = build_student(ScoreBins(-1, 1, 5), size=16)
    score = np.linspace(-0.8, 0.8, 24)
    targets = {"soft": ScoreBins(-1, 1, 5).soft_labels(score, 0.2)}
    batches = Batches(windows(24, 20), targets, 8, seed=3, size=16)

    def loss(outputs, given):
        return label_loss(outputs["logits"], given["soft"])

    def validate(network):
        return float(np.abs(network(centre(windows(24, 20), 16), training=False)["logits"]).mean())

    history = train(model, batches, loss, validate, Schedule(epochs, rate), folder)
    return model, history


def test_a_killed_training_resumes_to_the_same_weights(tmp_path):
    """SIGKILL in the middle of an epoch; what resumes must end where an undisturbed run ends."""
    whole, history = small_training(tmp_path / "whole", 4)
    code = (
        "import os, signal; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3';"
        "import focus_picker.deep.training as t; from pathlib import Path;"
        "from tests.test_deep import small_training;"
        "save = t.Checkpoint.save;"
        "t.Checkpoint.save = lambda self, history, *, best: (save(self, history, best=best),"
        " len(history) == 2 and os.kill(os.getpid(), signal.SIGKILL));"
        f"small_training(Path({str(tmp_path / 'killed')!r}), 4)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
    assert done.returncode == -9
    resumed, again = small_training(tmp_path / "killed", 4)
    np.testing.assert_allclose(again.loss, history.loss, rtol=1e-6)
    for ours, theirs in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Checkpoint:
    """State of a small network after its first epoch."""
    model = build_student(ScoreBins(-1, 1, 5), size=16)
    optimizer = keras.optimizers.AdamW()
    optimizer.build(model.trainable_variables)
    state = Checkpoint(tmp_path_factory.mktemp("checkpoint"), model, optimizer)
    state.save([{"epoch": 0, "loss": 1, "validation_mae": 1, "learning_rate": 1, "seconds": 1}], best=True)
    return state


def without(name: str):
    """Damage that takes one array out of a checkpoint, whose zip file stays whole."""

    def take(content: bytes) -> bytes:
        arrays = dict(np.load(io.BytesIO(content)))
        del arrays[name]
        return npz(**arrays)

    return take


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"garbage" * 100,
        lambda content: content[:-1000],
        lambda content: content[:20_000] + bytes(500) + content[20_500:],
        lambda content: npz(**dict(np.load(io.BytesIO(content))) | {"history": "[1, 2]"}),
        lambda content: npz(**dict(np.load(io.BytesIO(content))) | {"history": '[{"epoch": 0}]'}),
        lambda content: npz(**dict(np.load(io.BytesIO(content))) | {"best_0": np.zeros(3)}),
        without("history"),
        without("best_2"),
        without("optimizer_3"),
    ],
)
def test_a_damaged_checkpoint_is_refused_before_anything_is_trained(checkpoint, damage, tmp_path):
    assert len(checkpoint.restore()) == 1
    (tmp_path / checkpoint.path.name).write_bytes(damage(checkpoint.path.read_bytes()))
    with pytest.raises(InputError, match="--overwrite"):
        Checkpoint(tmp_path, checkpoint.model, checkpoint.optimizer).restore()


def test_a_loss_that_is_no_number_stops_with_the_step(tmp_path, monkeypatch):
    monkeypatch.setattr("focus_picker.deep.training.compiled", lambda step: step)
    with pytest.raises(TrainingDiverged, match=r"loss is (nan|inf) in epoch 1, step \d"):
        small_training(tmp_path, 2, rate=1e38)


def test_batches_of_an_epoch_are_the_same_whenever_asked_for():
    batches = Batches(windows(20, 20), {"y": np.arange(20.0)}, 8, seed=1, size=16)
    first, again = ([(images, targets["y"]) for images, targets in batches.epoch(3)] for _ in range(2))
    for (images, y), (images2, y2) in zip(first, again, strict=True):
        np.testing.assert_array_equal(images, images2)
        np.testing.assert_array_equal(y, y2)
    other = next(iter(batches.epoch(4)))
    assert (other[1]["y"] != first[0][1]).any()
