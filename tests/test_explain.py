"""Explanations of a score: what attribution must satisfy, exact contributions, which models, the command."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from focus_picker.cli import main
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.simulation.field import FieldPlan, simulate_field
from focus_picker.dataset.simulation.instrument import load_instrument
from focus_picker.dataset.simulation.optics import through_focus
from focus_picker.dataset.simulation.specimen import Specimen
from focus_picker.dataset.simulation.zero import optical_zero_um
from focus_picker.deep.runtime import Student
from focus_picker.deep.views import alone
from focus_picker.deep.window import native_window
from focus_picker.explain import explanation as explain
from focus_picker.explain.attribution import (
    BATCH,
    BLOCK_PX,
    MOST_PASSES,
    REFERENCES,
    STEPS,
    TOLERANCE,
    Attribution,
    attribute,
    expected_score,
    in_batches,
    regions,
    shuffled_within_blocks,
)  # fmt: skip
from focus_picker.explain.contributions import contributions
from focus_picker.explain.explanation import Models, Verdict, find_models, overlap, reservations_about
from focus_picker.explain.plot import MOST_BYTES
from focus_picker.features.baseline import load_baseline
from focus_picker.features.measures import ALL
from focus_picker.models import DEFAULT_BASELINE, DEFAULT_MODEL, DEFAULT_WEIGHTS
from focus_picker.models.focus_state import NOT_CALIBRATED
from focus_picker.stack_inference.loading import load_model
from tests.made_cells import made_cell, save_image

SIZE = 48
SLICE = 0.2  # score
SHIPPED = Models(DEFAULT_WEIGHTS, DEFAULT_BASELINE)


@pytest.fixture(scope="module")
def stack():
    """A simulated stack of a drawn cell: images of known defocus."""
    return simulate_field(FieldPlan("field", (None,), seed=(5, 1)), load_instrument("dry50"), 0.1)[0]


@pytest.fixture(scope="module")
def student():
    pytest.importorskip("keras", reason="the network needs the extra train")
    return explain.load_student(DEFAULT_WEIGHTS)


@pytest.fixture(scope="module")
def score(student):
    return expected_score(student.network, student.side.bins)


@pytest.fixture(scope="module")
def baseline():
    return load_baseline(DEFAULT_BASELINE)


def grain(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)


def linear(weights):
    return lambda pixels: ((weights * pixels).sum(axis=(1, 2, 3)), np.broadcast_to(weights, pixels.shape))


def mean_reference(image, seed=0):
    """Mean of the references that ``attribute`` makes."""
    rng = np.random.default_rng(seed)
    return np.mean([shuffled_within_blocks(image.astype(np.float32), rng) for _ in range(REFERENCES)], axis=0)


# The reference


def test_a_reference_keeps_the_colours_and_moves_no_pixel_out_of_its_block():
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    place = np.stack([y, x, y * SIZE + x], axis=-1)
    moved = shuffled_within_blocks(place, np.random.default_rng(3))
    assert np.array_equal(np.sort(moved[..., 2], axis=None), np.sort(place[..., 2], axis=None))
    assert 0 < np.abs(moved - place)[..., :2].max() < BLOCK_PX
    assert (moved[..., 2] != place[..., 2]).mean() > 0.9


def test_a_reference_of_a_uniform_image_is_that_image():
    image = np.full((SIZE, SIZE, 3), 200, np.float32)
    assert np.array_equal(shuffled_within_blocks(image, np.random.default_rng(0)), image)


# Integrated gradients of functions with known answers


def test_a_linear_score_is_shared_out_by_its_weights():
    weights = np.random.default_rng(1).normal(size=(SIZE, SIZE, 3)).astype(np.float32) / 1000
    image = grain()
    found = attribute(linear(weights), image, SLICE)
    expected = (weights * (image - mean_reference(image))).sum(axis=-1)
    assert found.pixels == pytest.approx(expected, abs=1e-4)
    assert found.complete
    assert found.gradients == STEPS * REFERENCES  # one pass is enough


def test_a_quadratic_score_is_shared_out_by_squares():
    image = grain()
    found = attribute(lambda p: ((p**2).sum(axis=(1, 2, 3)) / 1e6, 2 * p / 1e6), image, SLICE)
    # Shuffling leaves the sum of squares as it is, so that the score of all references is that of the image.
    assert found.reference_score == pytest.approx(found.expected_score, rel=1e-5)
    rng, squares = np.random.default_rng(0), []
    for _ in range(REFERENCES):
        squares.append(shuffled_within_blocks(image.astype(np.float32), rng) ** 2)
    assert found.pixels == pytest.approx(
        ((image.astype(float) ** 2 - np.mean(squares, 0)) / 1e6).sum(-1), rel=0.1, abs=5e-3
    )


def test_what_the_score_does_not_look_at_gets_nothing():
    weights = np.zeros((SIZE, SIZE, 3), np.float32)
    weights[:, : SIZE // 2] = 0.001
    found = attribute(linear(weights), grain(), SLICE)
    assert np.all(found.pixels[:, SIZE // 2 :] == 0)
    assert np.abs(found.pixels[:, : SIZE // 2]).max() > 0


def test_more_steps_are_taken_until_the_sum_holds():
    """A score that rises in the last fiftieth of the way only: few steps meet it."""

    def steep(pixels):
        distance = np.abs(pixels - image).mean(axis=(1, 2, 3)) / 60
        inside = distance < width
        slope = -np.sign(pixels - image) / (60 * image.size) * inside[:, None, None, None]
        return np.where(inside, 1 - distance / width, 0), slope / width

    image, width = grain(), 0.03
    found = attribute(steep, image, SLICE)
    assert found.complete
    assert found.gradients > STEPS * REFERENCES
    assert found.expected_score - found.reference_score == pytest.approx(1)


def test_a_sum_that_never_holds_is_told():
    found = attribute(
        lambda p: (p.std(axis=(1, 2, 3)) * (p == image).all(axis=(1, 2, 3)), np.zeros_like(p)), image := grain(), SLICE
    )
    assert found.gradients == MOST_PASSES * STEPS * REFERENCES
    assert not found.complete
    assert any("off what it should add up to" in note for note in reservations_about(found))


def test_regions_of_a_made_cell_and_of_an_empty_picture():
    window = native_window(made_cell(1))
    everywhere = Attribution(np.ones(window.shape[:2]), 1.0, 0.0, 1, SLICE)
    for region in regions(everywhere, window):
        assert region.share == pytest.approx(region.area, abs=0.01)
    assert regions(everywhere, np.full_like(window, 200)) == []


# The network: sanity checks of Adebayo et al. 2018 (arXiv:1810.03292) and physics


def test_the_gradient_is_that_of_the_score_the_uint8_network_gives(student, score, stack):
    window = native_window(stack.images[8]).astype(np.float32)
    value, gradient = score(window[np.newaxis])
    outputs = student.predict(alone(window[np.newaxis].astype(np.uint8)))
    assert value[0] == pytest.approx(float(outputs["distribution"][0] @ student.side.bins.centres), abs=1e-4)
    steepest = gradient[0] / np.sqrt((gradient[0] ** 2).sum())
    ahead, behind = (score((window + side * 2 * steepest)[np.newaxis])[0][0] for side in (1, -1))
    assert (ahead - behind) / 4 == pytest.approx(float((gradient[0] * steepest).sum()), rel=0.1)


def test_the_keras_student_scores_as_the_shipped_file_does(student, stack):
    images = list(stack.images[::3])
    file = load_model(DEFAULT_MODEL)
    once = Student(file.weights, file.side.model_copy(update={"turns": False, "corners": False}))
    ours, shipped = student.judge(images), once.judge(images)
    assert ours.score == pytest.approx(shipped.score, abs=0.02)
    assert list(ours.status) == list(shipped.status)


def test_the_map_adds_up_and_has_the_sign_of_defocus(score, stack):
    for index in (2, 9):
        found = attribute(score, native_window(stack.images[index]), SLICE)
        difference = found.expected_score - found.reference_score
        assert found.pixels.sum() == pytest.approx(difference, abs=TOLERANCE * max(abs(difference), SLICE))
        assert np.sign(found.pixels.sum()) == np.sign(stack.defocus_um[index])
        assert found.shown.sum() == pytest.approx(found.pixels.sum() * BLOCK_PX**2, rel=0.05)


def disc_at(defocus_um, radius_um=2.5, stain=(0.75, 1.0, 0.35)):
    """Photograph of a stained disc of higher index alone in the field, with camera noise."""
    instrument = load_instrument("dry50")
    fine = instrument.oversampling
    side = 150 * fine
    y, x = (np.indices((side, side)) - side / 2 + 0.5) * instrument.pixel_um / fine
    inside = 1 / (1 + np.exp((np.hypot(x, y) - radius_um) / 0.1))
    disc = Specimen(inside[..., np.newaxis] * np.array(stain), 0.06 * inside)
    intensity = through_focus(disc, instrument, optical_zero_um(instrument) + np.array([defocus_um]))[0]
    noise = np.random.default_rng(0).normal(0, 1.5, (150, 150, 3))
    return np.clip(np.rint(intensity[fine // 2 :: fine, fine // 2 :: fine] * [220, 215, 210] + noise), 0, 255).astype(
        np.uint8
    )


def test_beyond_and_before_a_phase_disc_the_map_has_opposite_signs_and_lies_on_the_disc(score):
    y, x = np.indices((128, 128)) - 63.5
    near = np.hypot(x, y) < 25 + 12  # the disc and its fringes
    for defocus_um in (-1.2, 1.2):
        found = attribute(score, native_window(disc_at(defocus_um)), SLICE)
        assert np.sign(found.pixels.sum()) == np.sign(defocus_um)
        assert np.abs(found.shown)[near].sum() > 2 * near.mean() * np.abs(found.shown).sum()


def test_the_map_is_another_when_the_weights_are_drawn_anew(student, score, stack):
    import keras

    rng, window = np.random.default_rng(0), native_window(stack.images[9])
    scrambled = keras.models.clone_model(student.network)
    scrambled.set_weights(student.network.get_weights())
    for layer in scrambled.layers:
        if layer.trainable_weights:
            layer.set_weights([rng.permutation(w.ravel()).reshape(w.shape) for w in layer.get_weights()])
    ours = attribute(score, window, SLICE).shown.ravel()
    theirs = attribute(expected_score(scrambled, student.side.bins), window, SLICE).shown.ravel()
    again = attribute(score, window, SLICE, seed=1).shown.ravel()
    assert abs(np.corrcoef(ours, theirs)[0, 1]) < 0.4
    assert np.corrcoef(ours, again)[0, 1] > 0.8  # what other references alone change


def test_shuffled_pixels_do_not_say_on_which_side_the_image_is(score, stack):
    """The reference's score is the same on both sides of focus, near enough: the map is what tells them apart."""

    def without_detail(index: int) -> float:
        window = native_window(stack.images[index]).astype(np.float32)
        shuffled = np.stack([shuffled_within_blocks(window, np.random.default_rng(seed)) for seed in range(BATCH)])
        return float(in_batches(lambda batch: score(batch)[0], shuffled).mean())

    seen = [native_window(stack.images[index])[np.newaxis].astype(np.float32) for index in (2, 9)]
    before, after = (float(score(window)[0][0]) for window in seen)
    assert abs(without_detail(9) - without_detail(2)) < 0.25 * (after - before)


# The baseline


def test_contributions_add_up_to_the_score_exactly(baseline, stack):
    for image in (stack.images[0], stack.images[9], made_cell(3)):
        found = contributions(baseline, image)
        predicted = baseline.judge([image]).score[0]
        assert found.score == pytest.approx(predicted, abs=1e-9)
        assert len(found.rows) == len(baseline.feature_names_)
        size = [abs(row.contribution) for row in found.rows]
        assert size == sorted(size, reverse=True)
        assert found.bias + sum(row.contribution for row in found.rows[:10]) + found.others(10) == pytest.approx(
            predicted
        )


def test_a_value_is_placed_in_its_training_range(baseline, stack):
    found = contributions(baseline, stack.images[5])
    for row in found.rows:
        assert row.meaning == ALL[row.feature].label
        assert row.outside == (not 0 <= row.place <= 1)
    blank = contributions(baseline, np.full((128, 128, 3), 220, np.uint8))
    assert blank.n_outside > found.n_outside


def test_the_shipped_baseline_knows_the_sides_of_focus(baseline, stack):
    judged = baseline.judge(list(stack.images))
    far = np.abs(stack.defocus_um) > 0.5  # one slice
    assert np.array_equal(np.sign(judged.score)[far], np.sign(stack.defocus_um)[far])
    assert DEFAULT_BASELINE.stat().st_size < 400_000


def test_the_shipped_baseline_leaves_the_default_model_alone():
    network, baseline = load_model(DEFAULT_MODEL.parent), load_model(DEFAULT_BASELINE)
    assert network.side.kind == "student"
    assert not network.side.calibrated
    assert not baseline.side.calibrated


# Verdicts


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict(0.62, 0.51, 0.73, "post_focal"), "post-focal by 0.62 (0.51 to 0.73): lens too far"),
        (Verdict(-0.62, -0.73, -0.51, "pre_focal"), "pre-focal by 0.62 (0.51 to 0.73): lens too close"),
        (Verdict(-0.15, -0.31, 0.02, "pre_focal"), "pre-focal by 0.15 (-0.02 to 0.31): lens too close"),
        (Verdict(0.03, -0.05, 0.11, "in_focus"), "in focus: 0.03 (-0.05 to 0.11)"),
        (
            Verdict(0.4, 0.3, 0.5, "uncalibrated"),
            f"0.40, {NOT_CALIBRATED}",
        ),
        (Verdict(0.4, -0.5, 1.2, "unsure"), "unsure: 0.40 (-0.50 to 1.20), do not move on this image alone"),
    ],
)
def test_a_verdict_in_words(verdict, words):
    assert verdict.in_words() == words


def test_models_agree_where_their_intervals_overlap():
    near, far = Verdict(0.1, 0.0, 0.2, "in_focus"), Verdict(0.6, 0.5, 0.7, "post_focal")
    assert not overlap(near, far)
    assert not overlap(far, near)
    assert overlap(near, Verdict(0.4, 0.2, 0.6, "post_focal"))
    assert overlap(Verdict(0.3, -1, 1, "unsure"), near)


def test_a_grey_image_is_explained_with_its_doubt(student, baseline):
    grey = np.repeat(made_cell(2).mean(axis=-1, keepdims=True), 3, axis=-1).astype(np.uint8)
    verdict = explain.explain_network(student, grey).verdict
    assert verdict.status == "unsure"
    assert verdict.doubt == "both sides of focus are possible"
    part = explain.explain_baseline(baseline, np.full((128, 128, 3), 220, np.uint8))
    assert "outside the range of training" in part.verdict.doubt
    (note,) = explain.reservations(None, part, None)
    assert "not to be trusted" in note


def test_the_reader_is_told_of_disagreement_and_of_a_reference_that_is_not_neutral():
    assert explain.reservations(None, None, False) == [
        "network and baseline disagree: their 90 % intervals do not overlap"
    ]
    far = Attribution(np.full((4, 4), -0.2 / 16), 0.9, 1.1, 1, SLICE)
    (note,) = reservations_about(far)
    assert "scores +1.10" in note
    assert reservations_about(Attribution(np.full((4, 4), 0.8 / 16), 0.9, 0.1, 1, SLICE)) == []


# Which models


@pytest.fixture
def folders(tmp_path):
    for folder, files in {
        "both": ("best_model.h5", "baseline.txt"),
        "cnn": ("best_model.h5",),
        "trees": ("baseline.txt",),
        "none": (),
    }.items():
        (tmp_path / folder).mkdir()
        for file in files:
            (tmp_path / folder / file).touch()
    return tmp_path


def test_without_a_choice_both_shipped_models_explain():
    assert find_models(None, None, SHIPPED) == SHIPPED


def test_a_run_is_explained_by_what_it_holds(folders):
    weights, trees = folders / "cnn" / "best_model.h5", folders / "trees" / "baseline.txt"
    both = find_models(folders / "both", None, SHIPPED)
    assert (both.weights, both.baseline, both.notes) == (
        folders / "both/best_model.h5",
        folders / "both/baseline.txt",
        (),
    )
    for named in (folders / "cnn", weights):
        alone = find_models(named, None, SHIPPED)
        assert (alone.weights, alone.baseline) == (weights, None)
        assert "explained by the network alone" in alone.notes[0]
    for cnn, baseline in ((None, folders / "trees"), (folders / "trees", None), (None, trees)):
        alone = find_models(cnn, baseline, SHIPPED)
        assert (alone.weights, alone.baseline) == (None, trees)
        assert "explained by the baseline alone" in alone.notes[0]
    assert find_models(folders / "cnn", trees, SHIPPED) == Models(weights, trees)


def test_a_path_without_a_model_is_told(folders):
    with pytest.raises(InputError, match="holds neither"):
        find_models(folders / "none", None, SHIPPED)
    with pytest.raises(InputError, match="does not exist"):
        find_models(None, folders / "nowhere", SHIPPED)


def test_without_tensorflow_the_baseline_explains_and_a_named_network_is_refused(folders, monkeypatch):
    monkeypatch.setattr(explain, "has_tensorflow", lambda: False)
    assert find_models(None, None, SHIPPED).weights is None
    assert "TensorFlow is not installed" in find_models(None, None, SHIPPED).notes[0]
    with pytest.raises(InputError, match=r"focus-picker\[train\]"):
        find_models(folders / "cnn", None, SHIPPED)


@pytest.mark.parametrize("bins", [(-1, 1, 20), (-2.05, 2.05, 41)])
def test_weights_of_another_network_are_refused(bins, student, tmp_path):
    keras = pytest.importorskip("keras")
    from focus_picker.deep.export import save_h5
    from focus_picker.deep.student import build_student, with_readout
    from focus_picker.models.bins import ScoreBins

    bins = ScoreBins(*bins)
    save_h5(with_readout(build_student(bins), bins), tmp_path / "best_model.h5")
    for suffix in ("tflite", "json"):
        (tmp_path / f"focus_model.{suffix}").write_bytes(DEFAULT_MODEL.with_suffix(f".{suffix}").read_bytes())
    with pytest.raises(InputError, match="keep a run's files together"):
        explain.load_student(tmp_path / "best_model.h5")
    keras.backend.clear_session()


# The command


def test_explain_draws_a_picture_and_prints_figures(student, stack, tmp_path, capsys):
    image, picture = save_image(tmp_path / "cell.png", stack.images[9]), tmp_path / "why.png"
    assert main(["explain", str(image), "--output", str(picture), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {record[model]["status"] for model in ("network", "baseline")} <= {"unsure", "uncalibrated"}
    assert record["agree"] is True
    assert len(record["baseline"]["contributions"]) == 10
    assert record["network"]["attribution"]["completeness_error"] <= TOLERANCE
    assert picture.stat().st_size < MOST_BYTES
    with Image.open(picture) as drawn:
        assert drawn.width > 600


def test_explain_by_the_baseline_alone_needs_no_network(tmp_path, capsys):
    image = save_image(tmp_path / "cell.png", made_cell(4))
    for file in (DEFAULT_BASELINE, DEFAULT_BASELINE.with_suffix(".json")):
        shutil.copy(file, tmp_path)
    alone = tmp_path / DEFAULT_BASELINE.name
    arguments = ["explain", str(image), "--baseline", str(alone), "--output", str(tmp_path / "why.png")]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "explained by the baseline alone" in printed
    assert "network:" not in printed


def test_explain_of_bad_input_ends_with_2_and_writes_nothing(tmp_path, capsys):
    image = save_image(tmp_path / "cell.png", made_cell(4))
    (tmp_path / "no.png").write_text("not an image")
    for arguments in (
        [str(tmp_path / "no.png"), "--output", str(tmp_path / "why.png")],
        [str(image), "--output", str(tmp_path / "why.jpg")],
        [str(image), "--cnn", str(tmp_path), "--output", str(tmp_path / "why.png")],
    ):
        assert main(["explain", *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.glob("why*"))
