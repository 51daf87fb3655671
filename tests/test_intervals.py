import numpy as np
import pytest

from focus_picker.dataset.errors import InputError
from focus_picker.models.intervals import HalfWidths, conformal_quantile, learn_half_widths


def test_conformal_quantile_by_hand():
    # 9 residuals at 90 %: rank ceil(10 * 0.9) = 9, the largest. 19 residuals: rank 18, the second largest.
    assert conformal_quantile(np.arange(1.0, 10.0), 0.9) == 9.0
    assert conformal_quantile(np.arange(19.0, 0.0, -1), 0.9) == 18.0


def test_too_few_images_cannot_promise_coverage():
    with pytest.raises(InputError, match=r"There are 8 labelled images .* need at least 9"):
        conformal_quantile(np.arange(8.0), 0.9)


def _exchangeable(n, seed):
    """Predictions whose error grows with their distance from zero."""
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(-1, 1, n)
    return predicted, predicted + rng.laplace(0, 0.02 + 0.2 * np.abs(predicted))


def test_coverage_on_exchangeable_data_overall_and_locally():
    half_widths = learn_half_widths(*_exchangeable(1500, 0))
    predicted, label = _exchangeable(20000, 1)
    inside = np.abs(label - predicted) <= half_widths.at(predicted)
    assert 0.87 <= inside.mean() <= 0.93
    near, far = np.abs(predicted) < 0.2, np.abs(predicted) > 0.8
    assert 0.84 <= inside[near].mean() <= 0.96
    assert 0.84 <= inside[far].mean() <= 0.96
    assert half_widths.half_widths[-1] > 2 * half_widths.half_widths[0]


def test_coverage_holds_on_average_with_few_images():
    shares = []
    for seed in range(200):
        half_widths = learn_half_widths(*_exchangeable(30, seed))
        predicted, label = _exchangeable(300, 1000 + seed)
        shares.append((np.abs(label - predicted) <= half_widths.at(predicted)).mean())
    assert 0.89 <= np.mean(shares) <= 0.94


def test_unlabelled_images_do_not_learn_half_widths():
    predicted, label = _exchangeable(300, 0)
    with_gaps = learn_half_widths(np.r_[predicted, np.zeros(50)], np.r_[label, np.full(50, np.nan)])
    assert with_gaps == learn_half_widths(predicted, label)


def test_constant_predictions_get_one_width():
    rng = np.random.default_rng(0)
    half_widths = learn_half_widths(np.full(600, 0.3), rng.normal(size=600))
    assert half_widths.edges == ()
    assert len(half_widths.half_widths) == 1


def test_half_widths_by_bin_and_through_json():
    half_widths = HalfWidths(edges=(0.2, 0.5), half_widths=(0.1, 0.2, 0.3))
    assert half_widths.at(np.array([0.0, -0.19, 0.2, -0.49, 0.5, -9.0])).tolist() == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]
    assert np.isnan(half_widths.at(np.array([np.nan]))).all()
    assert HalfWidths.model_validate_json(half_widths.model_dump_json()) == half_widths
    with pytest.raises(ValueError, match="2 half widths"):
        HalfWidths(half_widths=(1, 2))
