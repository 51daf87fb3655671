"""The teacher: image and standardised handcrafted features together, larger than the student."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from focus_picker.deep.backbones import backbone
from focus_picker.deep.student import EMBEDDING, LOGITS
from focus_picker.deep.window import WINDOW_PX
from focus_picker.models.bins import ScoreBins


@dataclass(frozen=True)
class Standardiser:
    """Mean and scale of each feature, from training images; robust, because some measures have long tails.

    Attributes
    ----------
    centre, scale
        ``(F,)`` median and interquartile range (over 1.349, a standard deviation where the feature is normal).
    """

    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray) -> "Standardiser":
        """Learn from the training features ``(N, F)``."""
        low, centre, high = np.quantile(features, (0.25, 0.5, 0.75), axis=0)
        scale = (high - low) / 1.349
        return cls(centre, np.where(scale > 1e-9, scale, 1.0))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Standardise ``(N, F)``; beyond five scales values are cut, since one wild feature must not rule a network."""
        return np.clip((features - self.centre) / self.scale, -5, 5).astype(np.float32)


def build_teacher(
    bins: ScoreBins, n_features: int, backbone_name: str = "focus_net", size: int = WINDOW_PX
) -> keras.Model:
    """Build the teacher.

    Parameters
    ----------
    bins
        Of its head.
    n_features
        Handcrafted features; 0 builds the control without them.
    backbone_name
        Of its image branch; the student's own by default, so that it can start from the same weights.
    size
        Side of the window in pixels.

    Returns
    -------
    keras.Model
        ``image`` and ``features`` (or ``image`` alone) -> ``logits`` ``(N, bins)``.
    """
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 64.0, offset=-2.0)(image)
    x = layers.Dropout(0.1, name=EMBEDDING)(backbone(backbone_name)(x))
    inputs: keras.KerasTensor | dict[str, keras.KerasTensor] = image
    if n_features:
        features = keras.Input((n_features,), name="features")
        inputs = {"image": image, "features": features}
        y = layers.Dropout(0.1)(layers.Dense(96, activation="relu")(features))
        x = layers.Concatenate()([x, layers.Dense(64, activation="relu")(y)])
    x = layers.Dropout(0.1)(layers.Dense(192, activation="relu", name="mixer")(x))
    return keras.Model(inputs, {"logits": layers.Dense(bins.count, name=LOGITS)(x)}, name="teacher")
