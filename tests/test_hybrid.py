"""Teacher, distillation, blend and presets."""

import numpy as np
import pytest

from focus_picker.dataset.errors import InputError
from focus_picker.hybrid.blend import learn_blend
from focus_picker.hybrid.preset import Preset, known_presets, load_preset
from focus_picker.models import DEFAULT_WEIGHTS
from focus_picker.models.bins import ScoreBins

keras = pytest.importorskip("keras", reason="training needs the extra train")

import tensorflow as tf  # noqa: E402

from focus_picker.deep.student import copy_backbone, load_trained  # noqa: E402
from focus_picker.deep.training import deterministic  # noqa: E402
from focus_picker.hybrid.distill import Part, Recipe, build_and_train_student, build_and_train_teacher, predict_logits  # noqa: E402
from focus_picker.hybrid.losses import auxiliary_loss, distillation_loss  # noqa: E402
from focus_picker.hybrid.teacher import Standardiser, build_teacher  # noqa: E402

BINS = ScoreBins(-1, 1, 5)


def part(n: int, seed: int) -> Part:
    rng = np.random.default_rng(seed)
    score = rng.uniform(-0.9, 0.9, n)
    level = (128 + 90 * score)[:, None, None, None]
    images = np.clip(level + 8 * rng.standard_normal((n, 144, 144, 3)), 0, 255).astype(np.uint8)
    return Part(images, np.column_stack([score, score**2]).astype(np.float32), score)


# Losses


def test_distillation_loss_against_a_value_computed_by_hand():
    teacher, student, temperature = np.array([[2.0, 0.0]]), np.array([[0.0, 1.0]]), 2.0
    p = np.exp(teacher / 2) / np.exp(teacher / 2).sum()  # 0.7311, 0.2689
    q = np.exp(student / 2) / np.exp(student / 2).sum()  # 0.3775, 0.6225
    by_hand = 4 * float((p * np.log(p / q)).sum())
    assert by_hand == pytest.approx(1.0295, abs=1e-3)
    value = distillation_loss(tf.constant(student), tf.constant(teacher), temperature)
    assert float(value) == pytest.approx(by_hand, rel=1e-6)
    swapped = distillation_loss(tf.constant(teacher), tf.constant(student), temperature)
    assert float(swapped) != pytest.approx(by_hand, rel=1e-2)


def test_distillation_vanishes_for_a_perfect_student_and_its_gradient_keeps_its_size():
    logits = tf.constant([[1.0, -0.5, 0.3]])
    assert float(distillation_loss(logits, logits, 3.0)) == pytest.approx(0, abs=1e-6)
    student, teacher = tf.Variable([[0.1, 0.0, 0.0]]), tf.constant([[0.0, 0.1, 0.0]])
    sizes = []
    for temperature in (1.0, 8.0):
        with tf.GradientTape() as tape:
            value = distillation_loss(student, teacher, temperature)
        sizes.append(float(tf.norm(tape.gradient(value, student))))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)  # without T^2 it would be 64 times smaller


def test_no_gradient_reaches_the_teacher():
    teacher = tf.Variable([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        value = distillation_loss(tf.constant([[0.0, 0.0]]), teacher, 2.0)
    assert tape.gradient(value, teacher) is None


def test_auxiliary_loss_is_quadratic_near_and_linear_far():
    zero = tf.zeros((1, 1))
    assert float(auxiliary_loss(tf.constant([[0.5]]), zero)) == pytest.approx(0.125)
    assert float(auxiliary_loss(tf.constant([[3.0]]), zero)) == pytest.approx(2.5)


# Training


@pytest.fixture(autouse=True, scope="module")
def uncompiled():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("focus_picker.deep.training.compiled", lambda step: step)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hybrid")
    deterministic(0)
    preset = Preset(teacher_epochs=1, student_epochs=1, batch=16, refine=False)
    parts = {"train": part(16, 0), "validation": part(12, 1)}
    recipe = Recipe(BINS, preset, given=None, seed=0, report=lambda name, row: None)
    teacher, _ = build_and_train_teacher(parts, recipe, folder / "teacher")
    before = [weights.copy() for weights in teacher.get_weights()]
    student, history = build_and_train_student(parts, teacher, recipe, folder / "student")
    return parts, teacher, before, student, history


def test_distilling_changes_the_student_and_leaves_the_teacher(trained):
    from focus_picker.deep.student import build_student

    _, teacher, before, student, _ = trained
    for ours, theirs in zip(teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    deterministic(0)
    fresh = build_student(BINS, n_auxiliary=2)
    changed = [not np.array_equal(a, b) for a, b in zip(student.get_weights(), fresh.get_weights(), strict=True)]
    assert all(changed)


def test_the_teacher_uses_image_and_features_and_is_larger(trained):
    parts, _, _, student, _ = trained
    keras.utils.set_random_seed(4)
    teacher, given = build_teacher(BINS, 2), parts["validation"]
    assert teacher.count_params() > student.count_params()
    copy_backbone(load_trained(DEFAULT_WEIGHTS), teacher)  # of random gates and activations nothing is left
    logits = predict_logits(teacher, given)
    other_features = Part(given.windows, given.features + 1, given.score)
    other_images = Part(255 - given.windows, given.features, given.score)
    assert np.abs(predict_logits(teacher, other_features) - logits).max() > 1e-3
    assert np.abs(predict_logits(teacher, other_images) - logits).max() > 1e-3
    assert len(build_teacher(BINS, 0).inputs) == 1


def test_given_weights_are_trained_in_two_phases(trained, tmp_path):
    parts, _, _, student, _ = trained
    preset = Preset(teacher_epochs=1, student_epochs=2, head_epochs=1, batch=16, refine=False)
    recipe = Recipe(BINS, preset, given=student, seed=0, report=lambda name, row: None)
    _, history = build_and_train_student(parts, None, recipe, tmp_path)
    assert history.phase.tolist() == ["head", "all", "all"]


def test_a_standardiser_ignores_outliers_and_constant_features():
    values = np.column_stack([np.r_[np.linspace(-1, 1, 99), 1e6], np.full(100, 7.0)])
    out = Standardiser.fit(values)(values)
    assert np.abs(out[:99, 0]).max() < 2
    assert out[99, 0] == 5
    assert (out[:, 1] == 0).all()


# Blend and presets


def test_a_blend_prefers_the_better_model_and_mixes_independent_errors():
    rng = np.random.default_rng(0)
    truth = rng.uniform(-1, 1, 2000)
    good, bad = truth + 0.01 * rng.standard_normal(2000), truth + rng.standard_normal(2000)
    assert learn_blend(good, bad, truth) == 1.0
    twins = [truth + 0.1 * rng.standard_normal(2000) for _ in range(2)]
    assert 0.3 < learn_blend(*twins, truth) < 0.7


@pytest.mark.parametrize("name", known_presets())
def test_shipped_presets_are_valid(name):
    assert load_preset(name).student_epochs > 0


def test_a_wrong_preset_is_refused(tmp_path):
    with pytest.raises(InputError, match="unknown preset 'fast'; known ones: full, quick, standard"):
        load_preset("fast")
    (tmp_path / "mine.yaml").write_text("teacher_epochs: 1\nstudent_epochs: 1\ntemperature: 0\n")
    with pytest.raises(InputError, match=r"mine.yaml is no preset \(temperature: .*greater than or equal to 1"):
        load_preset(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize("line", ["student_epochs: 0", "student_epochs: .inf", "learning_rate: .nan", "batch: .inf"])
def test_a_preset_that_trains_nothing_or_without_end_is_refused(tmp_path, line):
    (tmp_path / "mine.yaml").write_text(f"teacher_epochs: 1\n{line}\n")
    with pytest.raises(InputError, match=line.split(":")[0]):
        load_preset(str(tmp_path / "mine.yaml"))
