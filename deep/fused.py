"""A network's twin for training, whose BatchNorm layers take their statistics in one pass: half of a step's time.

The twin is never saved: a file holds layers of Keras alone.
"""

import keras
import tensorflow as tf
from keras import layers


class FusedBatchNormalization(layers.BatchNormalization):
    """Keras's own layer with TensorFlow's fused operation in training."""

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Normalise ``(N, H, W, C)``: by the batch in training, by the moving statistics where it is frozen or used."""
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        none = tf.zeros([0])
        made = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=self.gamma, offset=self.beta, mean=none, variance=none, epsilon=self.epsilon
        )
        for moving, batch in ((self.moving_mean, made.batch_mean), (self.moving_variance, made.batch_variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return made.y


def fused(model: keras.Model) -> keras.Model:
    """Copy a network, its weights in the same order and its frozen layers frozen."""

    def twin(layer: layers.Layer) -> layers.Layer:
        kind = FusedBatchNormalization if type(layer) is layers.BatchNormalization else type(layer)
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=twin)
    copy.set_weights(model.get_weights())
    return copy
