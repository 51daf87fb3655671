"""Fine-tune the student on a few stacks: a fixed number of steps, so that the time does not grow with the data."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from focus_picker.deep.augment import as_grey_levels, random_light, random_noise, random_shift, random_turn
from focus_picker.deep.student import LOGITS, build_student, copy_backbone
from focus_picker.deep.training import WEIGHT_DECAY
from focus_picker.deep.views import alone
from focus_picker.deep.window import WINDOW_PX, centre
from focus_picker.hybrid.losses import label_loss
from focus_picker.models.bins import DEFAULT_BINS, ScoreBins

BATCH = 32
BALANCE, NOISE_GREY = 0.04, 2.0  # half those of the training from scratch: one microscope varies less than many
EVERY = 10  # steps between reports
PREDICTED = 128  # images a batch outside training
STRETCHES = np.geomspace(0.25, 4, 81)  # tried; a slice of the microscope may be another part of its depth of field
BEYOND = 0.3  # logits a bin beyond the start's last one


@dataclass(frozen=True)
class Tuning:
    """How long and how fast a student is fine-tuned.

    Attributes
    ----------
    head_steps, head_rate
        Batches of ``BATCH`` images that the head alone learns from first, and its peak rate: a head in the wrong scale
        would have the layers before it follow its errors (Kumar et al. 2022, arXiv:2202.10054).
    steps, learning_rate
        The same of all layers after that. A rate rises over the first tenth, then falls to zero along a half cosine.
    label_sigma
        Width of the soft labels, score units: about the error of a label and of a bin together.
    start_worth
        Images that the weights before these last steps count as: of ``n`` images to learn from, the result keeps the
        share ``start_worth / (start_worth + n)`` of them. A mean of the weights before and after loses less on images
        unlike the few that were learned from (Wortsman et al. 2022, arXiv:2109.01903), and the fewer the more.
    """

    head_steps: int = 60
    head_rate: float = 2e-3
    steps: int = 80
    learning_rate: float = 1e-3
    label_sigma: float = 0.05
    start_worth: float = 130.0

    @property
    def all_steps(self) -> int:
        """Batches in all."""
        return self.head_steps + self.steps

    def kept(self, images: int) -> float:
        """Share of the weights before the last steps that is kept where so many images are learned from."""
        return self.start_worth / (self.start_worth + images)


def fine_tune(
    start: keras.Model,
    windows: np.ndarray,
    score: np.ndarray,
    bins: ScoreBins,
    tuning: Tuning,
    *,
    seed: int,
    grey: bool,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> keras.Model:
    """Fine-tune a copy of a trained student; BatchNorm keeps its statistics.

    Parameters
    ----------
    start
        Trained student; it is not changed.
    windows, score
        ``(N, S, S, 3)`` uint8 with a margin for shifts, and labels ``(N,)``.
    bins
        Score bins of the new student.
    tuning
        Length and speed.
    seed
        Of order and augmentation.
    grey
        Whether channels must stay the same.
    report
        Called every few steps with their number and mean loss.
    """
    student = build_student(bins)
    copy_backbone(start, student)
    logits = start.get_layer(LOGITS).output
    if logits.shape[-1] == DEFAULT_BINS.count:  # else its bins are not known, and a new head learns from nothing
        said = distributions(keras.Model(start.input, {"logits": logits}), np.ascontiguousarray(centre(windows)))
        carry_head(start, student, bins, stretch(said, score))
    targets = bins.soft_labels(score, tuning.label_sigma)

    def learn(steps: int, rate: float, done: int) -> None:
        step, losses = _step_of(student, steps, rate), []
        for number, rows in enumerate(_batches(len(windows), steps, seed + done)):
            rng = np.random.default_rng((seed, done + number))
            images = np.stack([_varied(windows[row], rng, grey) for row in rows])
            losses.append(step(images, targets[rows]))
            if (number + 1) % EVERY == 0 or number + 1 == steps:
                report(done + number + 1, float(np.mean([float(loss) for loss in losses[-EVERY:]])))

    for layer in student.layers:
        layer.trainable = layer.name == LOGITS
    learn(tuning.head_steps, tuning.head_rate, 0)
    before = student.get_weights()
    for layer in student.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    learn(tuning.steps, tuning.learning_rate, tuning.head_steps)
    pairs, kept = zip(before, student.get_weights(), strict=True), tuning.kept(len(windows))
    student.set_weights([kept * old + (1 - kept) * new for old, new in pairs])
    return student


def stretch(distribution: np.ndarray, score: np.ndarray) -> float:
    """How many score units of this microscope one of the start's is: the slope through zero of least absolute error.

    Parameters
    ----------
    distribution
        What the start says of the images, ``(N, bins)`` over ``DEFAULT_BINS``.
    score
        Their labels ``(N,)``.
    """
    said = DEFAULT_BINS.quantile(distribution, 0.5)
    return float(STRETCHES[np.argmin([np.abs(slope * said - score).mean() for slope in STRETCHES])])


def carry_head(start: keras.Model, student: keras.Model, bins: ScoreBins, by: float) -> None:
    """Give a student the start's head, its scores stretched ``by`` so much: logits are interpolated between bins.

    Bins beyond the start's become the less likely the farther out they lie.
    """
    kernel, bias = start.get_layer(LOGITS).get_weights()
    at = (bins.centres / by - DEFAULT_BINS.centres[0]) / DEFAULT_BINS.width  # in bins of the start
    inside = np.clip(at, 0, DEFAULT_BINS.count - 1)
    low = np.minimum(inside.astype(int), DEFAULT_BINS.count - 2)
    share = inside - low
    carried = [part[..., low] * (1 - share) + part[..., low + 1] * share for part in (kernel, bias)]
    carried[1] = carried[1] - BEYOND * np.abs(at - inside)
    student.get_layer(LOGITS).set_weights([part.astype(np.float32) for part in carried])


def _batches(count: int, steps: int, seed: int) -> np.ndarray:
    """Rows of each batch ``(steps, BATCH)``: every image once before any comes again."""
    rng = np.random.default_rng(seed)
    passes = -(-steps * BATCH // count)
    return np.concatenate([rng.permutation(count) for _ in range(passes)])[: steps * BATCH].reshape(steps, BATCH)


def _step_of(student: keras.Model, steps: int, learning_rate: float) -> Callable:
    warmup = max(steps // 10, 1)
    rate = keras.optimizers.schedules.CosineDecay(
        learning_rate / 20, max(steps - warmup, 1), warmup_target=learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY, clipnorm=1.0)
    optimizer.build(student.trainable_variables)

    @tf.function(reduce_retracing=True)
    def step(images: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = label_loss(student(images, training=True)["logits"], targets)
        optimizer.apply(tape.gradient(loss, student.trainable_variables), student.trainable_variables)
        return loss

    return step


def _varied(image: np.ndarray, rng: np.random.Generator, grey: bool) -> np.ndarray:
    """Turns, shifts, light and noise, which leave the blur as it is; a grey camera's channels stay the same."""
    image = random_turn(random_shift(image, WINDOW_PX, rng), rng)
    light = random_light(image, rng, balance=0.0 if grey else BALANCE)
    return as_grey_levels(random_noise(light, rng, NOISE_GREY, same=grey))


def distributions(student: keras.Model, windows: np.ndarray) -> np.ndarray:
    """Distributions ``(N, bins)`` of central windows, the mean over several looks at each."""
    looks = alone(windows).looks()
    starts = range(0, len(looks.windows), PREDICTED)
    # Not compiled: that takes longer than the few batches do, and TensorFlow warns where it is done again and again.
    logits = [student(looks.windows[at : at + PREDICTED], training=False)["logits"] for at in starts]
    return looks.pooled(np.concatenate([tf.nn.softmax(one).numpy() for one in logits]))
