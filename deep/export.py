"""From the trained student to the files that are shipped: ``.h5``, ``.tflite`` in four precisions, ONNX on request."""

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from focus_picker.dataset.files import atomic_path
from focus_picker.deep.quiet import quiet_stderr

REPRESENTATIVE = 200  # training images that show the int8 converter the range of every tensor
KERNELS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)

Representative = Callable[[], Iterator[list[np.ndarray]]]


def _fp32(converter: tf.lite.TFLiteConverter, representative: Representative) -> None:
    """Plain: four bytes a weight."""


def _fp16(converter: tf.lite.TFLiteConverter, representative: Representative) -> None:
    """Weights in two bytes, arithmetic as before."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def _weights8(converter: tf.lite.TFLiteConverter, representative: Representative) -> None:
    """Weights in one byte, activations as each image has them; see :func:`rounded`."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def _int8(converter: tf.lite.TFLiteConverter, representative: Representative) -> None:
    """Weights and activations in one byte, ranges taken from representative images."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative


VARIANTS: dict[str, Callable[[tf.lite.TFLiteConverter, Representative], None]] = {
    "fp32": _fp32,
    "fp16": _fp16,
    "weights8": _weights8,
    "int8": _int8,
}


def to_tflite(model: keras.Model, variant: str, windows: np.ndarray) -> bytes:
    """Convert the student with read-out.

    Parameters
    ----------
    model
        From :func:`deep.student.with_readout`.
    variant
        Key of ``VARIANTS``.
    windows
        Training windows ``(N, size, size, 3)`` uint8, for int8 ranges.

    Returns
    -------
    bytes
        A ``.tflite`` file without variables or Flex operations.
    """

    def representative() -> Iterator[list[np.ndarray]]:
        for start in range(min(len(windows), REPRESENTATIVE)):
            yield [windows[start : start + 1]]

    converter = tf.lite.TFLiteConverter.from_keras_model(short_named(model))
    VARIANTS[variant](converter, representative)
    with _silenced():
        return converter.convert()


def rounded(model: keras.Model) -> keras.Model:
    """Round a network's kernels, in place, to what ``weights8`` can hold: 127 steps to either side for each filter.

    The file then has the weights of the network that was tried and saved; otherwise they differ by up to half a step.
    """
    for layer in model.layers:
        if not layer.trainable or not isinstance(layer, KERNELS):
            continue
        kernel, *bias = layer.get_weights()
        # A depthwise kernel is (height, width, channels, 1): its filters are its channels.
        axes = (0, 1) if isinstance(layer, layers.DepthwiseConv2D) else tuple(range(kernel.ndim - 1))
        step = np.maximum(np.abs(kernel).max(axis=axes, keepdims=True), 1e-12) / 127
        layer.set_weights([np.rint(kernel / step) * step, *bias])
    return model


def static_batch(model: keras.Model) -> keras.Model:
    """The same model for exactly one image: browsers and microcontrollers want fixed shapes."""
    shape = model.input.shape[1:]
    image = keras.Input(batch_shape=(1, *shape), dtype="uint8", name="image")
    return keras.Model(image, short_named(model)(image), name=model.name)


def short_named(model: keras.Model) -> keras.Model:
    """Copy a network under short names: a ``.tflite`` file repeats a layer's name with each of its tensors."""

    def renamed(layer: layers.Layer) -> layers.Layer:
        return type(layer).from_config({**layer.get_config(), "name": f"l{model.layers.index(layer)}"})

    copy = keras.models.clone_model(model, clone_function=renamed)
    copy.set_weights(model.get_weights())
    return keras.Model(copy.input, copy.output, name="m")


def save_h5(model: keras.Model, path: Path) -> None:
    """Write ``best_model.h5``: the student with read-out, of layers that ship with Keras, without optimizer."""
    with atomic_path(path) as temporary, _silenced():
        model.save(temporary, include_optimizer=False)


def to_onnx(model: keras.Model) -> bytes:
    """Convert the student with read-out to ONNX; needs the extra ``onnx``."""
    import tf2onnx

    signature = [tf.TensorSpec((None, *model.input.shape[1:]), tf.uint8, name="image")]
    with _silenced():
        proto, _ = tf2onnx.convert.from_function(
            tf.function(lambda image: model(image, training=False)), input_signature=signature, opset=17
        )
    return proto.SerializeToString()


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """The converter prints every captured tensor, and Keras warns that .h5 is old; neither is for the user."""
    import absl.logging

    level = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), quiet_stderr():
            yield
    finally:
        absl.logging.set_verbosity(level)
