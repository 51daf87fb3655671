"""Losses of teacher and student: soft labels, distillation, handcrafted features as auxiliary target."""

import tensorflow as tf


def label_loss(logits: tf.Tensor, soft_labels: tf.Tensor) -> tf.Tensor:
    """Cross-entropy with soft labels, averaged over the labelled images.

    Parameters
    ----------
    logits, soft_labels
        ``(N, bins)``; a row of zeros is an unlabelled image and costs nothing.
    """
    losses = -tf.reduce_sum(soft_labels * tf.nn.log_softmax(logits), axis=1)
    labelled = tf.cast(tf.reduce_sum(soft_labels, axis=1) > 0, losses.dtype)
    return tf.reduce_sum(losses) / tf.maximum(tf.reduce_sum(labelled), 1e-6)


def distillation_loss(student_logits: tf.Tensor, teacher_logits: tf.Tensor, temperature: float) -> tf.Tensor:
    """Kullback-Leibler divergence of the student's softened distribution from the teacher's, times T^2.

    The factor keeps its gradient at the size of the label loss's, whatever the temperature (Hinton, Vinyals and Dean
    2015, arXiv:1503.02531, section 2). The teacher is the reference: swapping the two would make the student pay for
    what the teacher leaves open.

    Parameters
    ----------
    student_logits, teacher_logits
        ``(N, bins)``; no gradient goes to the teacher.
    temperature
        Softens both.
    """
    teacher = tf.nn.log_softmax(tf.stop_gradient(teacher_logits) / temperature)
    student = tf.nn.log_softmax(student_logits / temperature)
    divergence = tf.reduce_sum(tf.exp(teacher) * (teacher - student), axis=1)
    return temperature**2 * tf.reduce_mean(divergence)


def auxiliary_loss(predicted: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
    """Huber loss of the predicted standardised features ``(N, F)``: outliers of a measure must not rule the network."""
    error = tf.abs(predicted - features)
    return tf.reduce_mean(tf.where(error < 1, 0.5 * error**2, error - 0.5))
