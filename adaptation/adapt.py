"""From a few stacks to a calibrated model of one microscope, in two minutes: all of ``cli.py adapt``."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

from focus_picker.adaptation.calibrated import calibrate_left_out, judged, side_of
from focus_picker.adaptation.cross_validation import LeftOut, cross_validate
from focus_picker.adaptation.direction import direction_warning
from focus_picker.adaptation.examples import Examples, read_examples
from focus_picker.adaptation.expectation import expect
from focus_picker.adaptation.labelling import LabelledStack, Report, count_left_out, in_words, silent
from focus_picker.adaptation.network import Tuning, fine_tune
from focus_picker.adaptation.run_folder import predictions_of, write_tables
from focus_picker.adaptation.sources import Source, label_source
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import as_text, sha256_of
from focus_picker.deep.export import save_h5, to_tflite
from focus_picker.deep.student import load_trained, with_readout
from focus_picker.deep.training import deterministic
from focus_picker.evaluation.metrics import evaluate
from focus_picker.evaluation.run_claim import clear_run
from focus_picker.models import DEFAULT_WEIGHTS
from focus_picker.models.bins import DEFAULT_BINS, ScoreBins
from focus_picker.models.contract import Judgement
from focus_picker.models.side_file import StudentSide, write_model

MODEL_FILE, WEIGHTS_FILE = "focus_model.tflite", "best_model.h5"
TUNING = Tuning()


def adapt(
    source: Source,
    output: str | Path,
    *,
    reverse: bool = False,
    init: str | Path = DEFAULT_WEIGHTS,
    tuning: Tuning = TUNING,
    seed: int = 0,
    jobs: int = 2,
    report: Report = silent,
) -> dict[str, Any]:
    """Label what has no labels, fine-tune, blend, calibrate, and leave a run folder.

    Parameters
    ----------
    source
        A data set (labelled, partly or not at all), a folder of stacks, one stack, or several of the latter.
    output
        Run folder, as ``train-cnn`` leaves it but for a teacher.
    reverse
        Whether slice 0 of unlabelled stacks is the far end.
    init
        ``best_model.h5`` to start from.
    tuning
        Length and speed of the fine-tuning.
    seed, jobs
        Of all that is random; processes that label stacks.
    report
        Called with the name of a stage, and how much of it is done and in all.

    Returns
    -------
    dict
        The contents of ``metrics.json``; ``words`` tells people what can be expected.

    Raises
    ------
    InputError
        No stack could be labelled, faulty labels, or weights that do not fit.
    """
    started, output = time.perf_counter(), Path(output)
    labelled, step = label_source(source, reverse=reverse, jobs=jobs, report=report)
    examples = _examples(labelled, step, report)
    deterministic(seed)
    start, bins = load_trained(init), bins_for(examples)
    left_out = cross_validate(
        examples, start, bins, tuning, seed=seed, report=lambda done, total: report("cross-validation", done, total)
    )
    side = side_of(examples, left_out, bins)
    judgement = judged(examples, left_out.blend(bins), side)
    side = side.model_copy(update={"stack_calibration": calibrate_left_out(examples, judgement, side)})
    history: list[dict[str, float]] = []

    def told(number: int, loss: float) -> None:
        history.append({"step": number, "loss": loss})
        report("fine-tuning", number, tuning.all_steps)

    student = fine_tune(
        start, examples.windows, examples.score, bins, tuning, seed=seed, grey=examples.grey, report=told
    )
    report("writing", 0, 1)
    size = _write_model(student, side, examples, output)
    chosen = {"init": as_text(Path(init).name), "seed": seed}
    metrics = {
        "training_seconds": round(time.perf_counter() - started, 1),
        "model_bytes": size,
        "init": chosen["init"],
        "left_out": count_left_out(labelled),
        **_figures(labelled, examples, left_out, judgement, side, seed),
    }
    config = {"command": "adapt", "reverse": reverse, "tuning": asdict(tuning), **chosen}
    write_tables(output, labelled, predictions_of(examples, judgement), metrics, config, history)
    report("writing", 1, 1)
    return metrics


def _figures(
    labelled: Sequence[LabelledStack],
    examples: Examples,
    left_out: LeftOut,
    judgement: Judgement,
    side: StudentSide,
    seed: int,
) -> dict[str, Any]:
    """What ``metrics.json`` says about the model, from the judgement of images while their fields were left out."""
    predictions = predictions_of(examples, judgement)
    expected = expect(examples, judgement.score, judgement.status, seed=seed)
    words = [in_words(labelled), expected.in_words(), blend_in_words(left_out), direction_warning(examples)]
    return {
        "model": "student fine-tuned on stacks of one microscope" + (", with features" if left_out.share else ""),
        "score_per_slice": side.score_per_slice,
        "test": evaluate(predictions, side.score_per_slice) | {"n_fields": int(predictions["field"].nunique())},
        "calibrated": side.calibrated,
        "stack_calibration": side.stack_calibration.stacks if side.stack_calibration else 0,
        "expectation": expected.as_row(),
        "words": "\n".join(filter(None, words)),
        "share_of_features": left_out.share,
    }


def _examples(labelled: Sequence[LabelledStack], step: float, report: Report) -> Examples:
    """Read the labelled stacks; InputError where there is none."""
    if all(one.left_out for one in labelled):
        reasons = ", ".join(f"{count} {reason}" for reason, count in count_left_out(labelled).items())
        raise InputError(
            f"none of {len(labelled)} stacks could be labelled ({reasons}); record stacks that pass through focus, "
            "with cells in view"
        )
    return read_examples(labelled, step, report)


def bins_for(examples: Examples) -> ScoreBins:
    """The default bins in the scale of the labels, so that the start's head fits; wider where labels reach beyond."""
    scale = examples.score_per_slice / 0.2
    bins = ScoreBins(scale * DEFAULT_BINS.low, scale * DEFAULT_BINS.high, DEFAULT_BINS.count)
    return bins.widened(float(abs(examples.score).max()) + examples.score_per_slice)


def blend_in_words(left_out: LeftOut) -> str:
    """What the model is made of."""
    if not left_out.share:
        return "the network alone answers: handcrafted features would not help it"
    return f"handcrafted features have a share of {left_out.share:.0%} in the answer, the network has the rest"


def _write_model(student: keras.Model, side: StudentSide, examples: Examples, output: Path) -> int:
    """Write the student with its side file and the weights to start from; return the size of the former, bytes."""
    model = with_readout(student, side.bins)
    weights = to_tflite(model, side.variant, examples.seen)
    clear_run(output, "adapt")
    save_h5(model, output / WEIGHTS_FILE)
    stated = {"trained_sha256": sha256_of(output / WEIGHTS_FILE)}
    write_model(output / MODEL_FILE, weights, side.model_copy(update=stated))
    return len(weights)
