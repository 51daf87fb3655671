"""Stacks that go wrong in practice, and images that a model was never trained for: each has its documented answer."""

import cv2
import numpy as np
import pytest

from benchmarks.crafted_stacks import CRAFTED, STRANGE
from benchmarks.real_stacks import split_half_rows
from benchmarks.simulated_stacks import naive_parabola
from focus_picker.dataset.arrays import array_stack
from focus_picker.stack_inference import status
from focus_picker.stack_inference.calibration import best_planes, calibrate, calibrate_dataset
from focus_picker.stack_inference.pick import pick_focus
from focus_picker.stack_inference.scoring import score_stack
from tests.made_cells import make_dataset
from tests.made_models import MadeModel

SIZE = 80


def cell(seed):
    """A textured stained disc on a bright field, (H, W) float."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    disc = 1 / (1 + np.exp(np.hypot(y - SIZE / 2, x - SIZE / 2) - 22))
    return 200 - disc * (70 + cv2.GaussianBlur(rng.normal(0, 60, (SIZE, SIZE)), (0, 0), 1.0))


def made_stack(seed, best=5.3, n=11, change=lambda image: image, side=0.8):
    """Blur by distance; a bright rim inside the edge on the far side and a dark one on the near side gives the sign."""
    rng = np.random.default_rng(seed)
    image = cell(seed)
    rim = cv2.GaussianBlur(np.gradient(cv2.GaussianBlur(image, (0, 0), 2))[1], (0, 0), 1)
    slices = []
    for index in range(n):
        away = index - best
        blurred = cv2.GaussianBlur(image, (0, 0), float(np.hypot(0.7, 0.8 * away))) + side * np.clip(away, -6, 6) * rim
        noisy = np.clip(np.round(blurred + rng.normal(0, 1.5, image.shape)), 0, 255).astype(np.uint8)
        slices.append(change(cv2.cvtColor(noisy, cv2.COLOR_GRAY2RGB)))
    return array_stack(slices, f"made_{seed}")


class RimModel(MadeModel):
    """A model of one instrument: the rim's side by a least-squares fit to the slices of known defocus it was given."""

    def __init__(self):
        super().__init__(lambda images: np.array([self.cues(image) for image in images]) @ self.weights_, 0.15)

    def fit(self, stacks, best):
        rows = [self.cues(part.read()) for stack in stacks for part in stack.slices]
        away = [index - best for stack in stacks for index in range(len(stack.slices))]
        self.weights_ = np.linalg.lstsq(np.array(rows), 0.2 * np.array(away, dtype=float), rcond=None)[0]
        return self

    @staticmethod
    def cues(image):
        grey = image[..., 0].astype(float)
        left, right = np.gradient(cv2.GaussianBlur(grey, (0, 0), 2))[1], cv2.GaussianBlur(grey, (0, 0), 2) - 150
        middle = grey.shape[1] // 2
        return [
            1.0,
            *(
                float(np.mean(part[:, half]))
                for part in (left, right)
                for half in (slice(0, middle), slice(middle, None))
            ),
            float(np.mean(grey[:, :middle]) - np.mean(grey[:, middle:])),
        ]


@pytest.fixture(scope="module")
def model():
    scorer = RimModel().fit([made_stack(seed) for seed in range(12)], 5.3)
    best = np.random.default_rng(1).uniform(3.5, 6.5, 24)
    scores = [score_stack(made_stack(50 + k, plane), model=scorer) for k, plane in enumerate(best)]
    scorer.side = scorer.side.model_copy(update={"stack_calibration": calibrate(scores, best), "calibrated": True})
    return scorer


@pytest.mark.parametrize("change", STRANGE)
def test_a_model_never_makes_a_pick_worse(model, change):
    fused, alone = _errors(model, STRANGE[change])
    assert list(fused) == list(alone)


def _errors(model, change):
    fused, alone = [], []
    for seed, best in enumerate(np.random.default_rng(2).uniform(3.5, 6.5, 10)):
        stack = made_stack(200 + seed, best, change=change)
        fused.append(abs(pick_focus(stack, model=model).best_position - best))
        alone.append(abs(pick_focus(stack).best_position - best))
    return np.array(fused), np.array(alone)


@pytest.mark.parametrize("kind", CRAFTED)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_crafted_stacks_get_the_right_status(kind, seed):
    craft, expected = CRAFTED[kind]
    images = [part.read() for part in made_stack(seed, best=7.3, n=14, side=0).slices]
    made = craft(images, np.random.default_rng(seed))
    pick = pick_focus(array_stack(made, kind))
    assert pick.status in expected
    if kind not in ("good stack", "reverse order", "every slice twice", "sizes differ"):
        assert pick.advice


def test_rival_peaks_are_named_with_their_places():
    one = np.exp(-((np.arange(15.0) - 4) ** 2) / 3) + 0.85 * np.exp(-((np.arange(15.0) - 11) ** 2) / 3)
    assert status.rival_peaks(one) == (4, 11)
    gap = one.copy()
    gap[6] = np.nan
    assert status.rival_peaks(gap) == (4, 11)


@pytest.mark.parametrize(
    "focus",
    [
        np.exp(-((np.arange(15.0) - 7) ** 2) / 8),
        np.exp(-((np.arange(15.0) - 4) ** 2) / 3) + 0.4 * np.exp(-((np.arange(15.0) - 11) ** 2) / 3),
        np.exp(-((np.arange(15.0) - 6) ** 2) / 3) + 0.9 * np.exp(-((np.arange(15.0) - 8) ** 2) / 3),
        np.where(np.arange(15) == 11, 0.9, np.exp(-((np.arange(15.0) - 4) ** 2) / 3)),
        [1.0, 2.0],
    ],
    ids=["one peak", "a low second", "too close", "one spoilt slice", "two slices"],
)
def test_no_rival_is_seen_where_there_is_one_peak(focus):
    assert status.rival_peaks(np.asarray(focus)) == ()


def test_calibrating_on_a_data_set_takes_its_labels(tmp_path):
    make_dataset(tmp_path / "data", fields=12, cells=2, slices=5)
    planes = best_planes(tmp_path / "data")
    assert len(planes) == 24
    assert set(planes.values()) == {2.0}

    perfect = MadeModel(lambda images: 0.2 * (np.arange(len(images)) - 2.1))  # knows the slice by its place in the list
    learned = calibrate_dataset(tmp_path / "data", set(planes), perfect)
    assert learned.stacks == 24
    assert learned.offset == pytest.approx(0.1, abs=0.03)
    (tmp_path / "data" / "truth.csv").write_text(
        "image_path,defocus_um,best_z_slice\n"
        + "".join(f"cell_stacks/stack_001_cell_0/{k}.jpg,0,2.3\n" for k in range(5))
    )
    assert best_planes(tmp_path / "data") == {"stack_001_cell_0": 2.3}


def test_benchmark_halves_of_a_smooth_curve_agree(tmp_path):
    stacks = np.array([np.exp(-((np.arange(12.0) - at) ** 2) / 9) for at in np.linspace(4, 7, 9)])
    np.savez(tmp_path / "made.npz", curves=stacks[:, :, None], measures=np.array(["tenengrad"]))
    rows = {row["method"]: row for row in split_half_rows(tmp_path / "made.npz", "tenengrad")}
    assert rows["argmax"]["mean"] == pytest.approx(1)
    assert rows["parabola_log"]["mean"] < 0.01
    assert rows["skewed"]["mean"] < 0.15
    assert naive_parabola(np.array([0.0, 1, 4, 3, 1])) == pytest.approx(2.25)
