"""The student: window in, score, spread and distribution out, with layers that ship with Keras only."""

from pathlib import Path

import keras
import numpy as np
from keras import layers

from focus_picker.dataset.errors import InputError
from focus_picker.deep.backbones import BACKBONE_LAYERS, backbone
from focus_picker.deep.window import WINDOW_PX
from focus_picker.models.bins import LOWER_QUANTILE, UPPER_QUANTILE, ScoreBins

EMBEDDING = "embedding"
LOGITS = "logits"


def build_student(
    bins: ScoreBins, backbone_name: str = "focus_net", n_auxiliary: int = 0, size: int = WINDOW_PX
) -> keras.Model:
    """Build the trainable student.

    Parameters
    ----------
    bins
        Of its head.
    backbone_name
        Key of ``BACKBONES``.
    n_auxiliary
        Handcrafted features that it also predicts while it is trained; 0 for none.
    size
        Side of the window in pixels.

    Returns
    -------
    keras.Model
        ``image`` ``(N, size, size, 3)`` uint8 or float 0-255 -> ``logits`` ``(N, bins)`` and, if asked, ``auxiliary``.
    """
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    # Grey levels about the middle of the scale; brightness and white balance are varied in training instead of being
    # divided out here, which an integer network could not follow.
    x = layers.Rescaling(1 / 64.0, offset=-2.0)(image)
    x = backbone(backbone_name)(x)
    x = layers.Dropout(0.1, name=EMBEDDING)(x)
    outputs = {"logits": layers.Dense(bins.count, name=LOGITS)(x)}
    if n_auxiliary:
        outputs["auxiliary"] = layers.Dense(n_auxiliary, name="auxiliary")(x)
    return keras.Model(image, outputs, name="student")


def with_readout(student: keras.Model, bins: ScoreBins) -> keras.Model:
    """Put the median and the spread behind the logits; what is saved as ``best_model.h5`` and converted.

    Shares the student's weights. The quantile of a distribution needs a cumulative sum, a division and a clip; fixed
    dense layers, ``exp(-log p)`` and a bounded ReLU say the same in layers that any Keras and TFLite know.

    Returns
    -------
    keras.Model
        ``image`` -> ``score`` ``(N, 1)``, ``spread`` ``(N, 1)``, ``distribution`` ``(N, bins)``.
    """
    logits = student.get_layer(LOGITS).output
    distribution = layers.Softmax(name="distribution")(logits)
    surprise = layers.Rescaling(-1.0, name="surprise")(layers.Activation("log_softmax", name="log_p")(logits))
    inverse = layers.Activation("exponential", name="inverse_p")(layers.ReLU(max_value=14.0, name="bounded")(surprise))
    before = _fixed_dense(np.triu(np.ones((bins.count, bins.count)), k=1), None, "before")(distribution)
    quantiles = {}
    for name, level in (("median", 0.5), ("lower", LOWER_QUANTILE), ("upper", UPPER_QUANTILE)):
        missing = layers.Rescaling(-1.0, offset=level, name=f"{name}_missing")(before)
        share = layers.ReLU(max_value=1.0, name=f"{name}_share")(
            layers.Multiply(name=f"{name}_ratio")([missing, inverse])
        )
        quantiles[name] = share
    column = np.full((bins.count, 1), bins.width)
    score = _fixed_dense(column, np.array([bins.low]), "score")(quantiles["median"])
    between = layers.Subtract(name="between")([quantiles["upper"], quantiles["lower"]])
    spread = _fixed_dense(0.5 * column, None, "spread")(between)
    outputs = {"score": score, "spread": spread, "distribution": distribution}
    return keras.Model(student.input, outputs, name="focus_student")


def _fixed_dense(kernel: np.ndarray, bias: np.ndarray | None, name: str) -> layers.Dense:
    """A dense layer that stays what it is."""
    layer = layers.Dense(kernel.shape[1], use_bias=bias is not None, trainable=False, name=name)
    layer.build((None, kernel.shape[0]))
    layer.set_weights([kernel] if bias is None else [kernel, bias])
    return layer


def load_trained(path: str | Path) -> keras.Model:
    """Load a trained student (``best_model.h5``) to start from or to explain.

    Raises
    ------
    InputError
        No such file, or one that is not a student of this project.
    """
    path = Path(path)
    path = path / "best_model.h5" if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"weights {path} do not exist; give a best_model.h5 or the run folder that holds it")
    try:
        # safe_mode: a file from elsewhere must not bring code along.
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        model.get_layer(LOGITS)
        if len(model.inputs) != 1 or not {"score", "spread", "distribution"} <= set(model.output):
            raise ValueError("it does not answer to an image alone, as a teacher does not")
        if not all(np.isfinite(weights).all() for weights in model.get_weights()):
            raise ValueError("its weights are not finite")
    except Exception as error:  # whatever HDF5 and Keras raise for a damaged file
        detail = " ".join(str(error).split())[:120]
        raise InputError(f"{path} is no trained student ({detail}); give a best_model.h5 of train-cnn") from None
    return model


def start_from(student: keras.Model, trained: keras.Model) -> bool:
    """Copy a trained student's backbone, and its head where the bins are the same, into a new one in place.

    Returns
    -------
    bool
        Whether the head was copied too.

    Raises
    ------
    InputError
        The backbones differ.
    """
    copy_backbone(trained, student)
    theirs, ours = trained.get_layer(LOGITS), student.get_layer(LOGITS)
    same = [w.shape for w in theirs.get_weights()] == [w.shape for w in ours.get_weights()]
    if same:
        ours.set_weights(theirs.get_weights())
    return same


def copy_backbone(source: keras.Model, target: keras.Model) -> None:
    """Copy the image branch's weights from one model to another of the same backbone, in place.

    Raises
    ------
    InputError
        The backbones differ.
    """
    theirs, ours = backbone_layers(source), backbone_layers(target)
    shapes = [[[w.shape for w in layer.get_weights()] for layer in part] for part in (theirs, ours)]
    if shapes[0] != shapes[1]:
        raise InputError(
            "the given weights belong to another backbone, or to that of a former version; give other weights, or, for "
            "train-cnn, a preset with their backbone"
        )
    for source_layer, target_layer in zip(theirs, ours, strict=True):
        target_layer.set_weights(source_layer.get_weights())


def backbone_layers(model: keras.Model) -> list[layers.Layer]:
    """Layers with weights of the image branch, in order: convolutions and normalisations."""
    return [layer for layer in model.layers if isinstance(layer, BACKBONE_LAYERS)]
