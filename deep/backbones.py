"""Backbones: from a normalised window to a feature vector.

All start from random weights; ImageNet ones cannot be part of this repository and see another kind of picture. Only
layers that ship with Keras are used, so that an ``.h5`` file loads without this project.
"""

from collections.abc import Callable
from functools import partial

import keras
from keras import layers

from focus_picker.dataset.errors import InputError

BN_MOMENTUM = 0.9  # an epoch has some fifty steps: the usual 0.99 would leave the statistics epochs behind the weights

BACKBONE_LAYERS = (layers.Conv2D, layers.DepthwiseConv2D, layers.BatchNormalization)


def separable_block(x: keras.KerasTensor, filters: int, stride: int) -> keras.KerasTensor:
    """Depthwise 3x3, pointwise 1x1, each with BatchNorm and ReLU (Howard et al. 2017, MobileNets)."""
    x = layers.DepthwiseConv2D(3, stride, "same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=BN_MOMENTUM)(x))
    x = layers.Conv2D(filters, 1, use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=BN_MOMENTUM)(x))


def gate(x: keras.KerasTensor) -> keras.KerasTensor:
    """Weigh each channel by what all of them are on the mean (Hu et al. 2018, Squeeze-and-excitation).

    What a blur looks like depends on the microscope, and the mean of the image tells something about that.
    """
    filters = x.shape[-1]
    mean = layers.GlobalAveragePooling2D(keepdims=True)(x)
    narrow = layers.Conv2D(filters // 8, 1, activation="relu")(mean)
    return layers.Multiply()([x, layers.Conv2D(filters, 1, activation="sigmoid")(narrow)])


def focus_net(x: keras.KerasTensor, width: int = 1) -> keras.KerasTensor:
    """The small default: defocus is a matter of fine detail, so few layers at high resolution see most of it.

    ``width`` multiplies the channels of every layer.
    """
    x = layers.Conv2D(24 * width, 3, 2, "same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=BN_MOMENTUM)(x))
    for filters, stride in ((40, 2), (56, 2), (80, 1)):
        x = separable_block(x, filters * width, stride)
    for filters, stride in ((128, 2), (160, 1), (160, 1)):
        x = gate(separable_block(x, filters * width, stride))
    return layers.GlobalAveragePooling2D()(x)


def mobilenet_v2_035(x: keras.KerasTensor) -> keras.KerasTensor:
    """MobileNetV2, width 0.35 (Sandler et al. 2018), which the default is compared with."""
    peer = keras.applications.MobileNetV2(input_tensor=x, alpha=0.35, include_top=False, weights=None, pooling="avg")
    return peer.output


BACKBONES: dict[str, Callable[[keras.KerasTensor], keras.KerasTensor]] = {
    "focus_net": focus_net,
    "focus_net_wide": partial(focus_net, width=2),
    "mobilenet_v2_035": mobilenet_v2_035,
}


def backbone(name: str) -> Callable[[keras.KerasTensor], keras.KerasTensor]:
    """Look a backbone up; an unknown name is an InputError that lists the known ones."""
    if name not in BACKBONES:
        raise InputError(f"unknown backbone '{name}'; known ones: {', '.join(BACKBONES)}")
    return BACKBONES[name]
