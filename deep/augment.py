"""Label-preserving augmentation, on batches of uint8 windows inside tf.data.

Only what leaves the blur as it is: flips, quarter turns, whole-pixel shifts, brightness, white balance, sensor noise
and JPEG. No zoom, no rotation by other angles and no blur: they resample or smooth, and so change the label. All
randomness is stateless, from a seed that training derives from epoch and step, so that a resumed run sees the same
pictures.
"""

import tensorflow as tf

GAIN = 0.15  # brightness, relative half width
BALANCE = 0.06  # white balance a channel
NOISE_GREY = 3.0  # largest standard deviation of added noise, grey levels
JPEG_QUALITY = (70, 95)
JPEG_SHARE = 0.25  # of images; coding costs as much time as training on the image


def random_shift(images: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Cut a ``size`` window at a random whole-pixel place, the same for the batch: ``(N, S, S, 3)``."""
    slack = images.shape[1] - size
    corner = tf.random.stateless_uniform([2], seed, 0, slack + 1, tf.int32)
    return tf.slice(images, [0, corner[0], corner[1], 0], [-1, size, size, -1])


def random_turn(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirror and transpose each image with even chance: all eight orientations of a square."""
    chance = tf.random.stateless_uniform([3, tf.shape(images)[0], 1, 1, 1], seed) < 0.5
    images = tf.where(chance[0], images[:, ::-1], images)
    images = tf.where(chance[1], images[:, :, ::-1], images)
    return tf.where(chance[2], tf.transpose(images, [0, 2, 1, 3]), images)


def random_light(images: tf.Tensor, seed: tf.Tensor, balance: float = BALANCE) -> tf.Tensor:
    """Scale brightness and white balance of each image; float 0-255 in and out, not clipped."""
    n = tf.shape(images)[0]
    gain = tf.random.stateless_uniform([n, 1, 1, 1], seed, 1 - GAIN, 1 + GAIN)
    return images * gain * tf.random.stateless_uniform([n, 1, 1, 3], seed + 1, 1 - balance, 1 + balance)


def random_noise(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Add sensor noise of a random strength to each image; float 0-255."""
    strength = tf.random.stateless_uniform([tf.shape(images)[0], 1, 1, 1], seed, 0, NOISE_GREY)
    return images + strength * tf.random.stateless_normal(tf.shape(images), seed + 1)


def random_jpeg(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Code a share of the images as JPEG of random quality; uint8 in and out."""
    n = tf.shape(images)[0]
    chosen = tf.random.stateless_uniform([n], seed) < JPEG_SHARE
    quality = tf.random.stateless_uniform([n], seed + 1, *JPEG_QUALITY, tf.int32)

    def code(arguments: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, wanted, level = arguments
        return tf.cond(wanted, lambda: tf.image.adjust_jpeg_quality(image, level), lambda: image)

    return tf.ensure_shape(tf.map_fn(code, (images, chosen, quality), fn_output_signature=tf.uint8), images.shape)


def random_grey(images: tf.Tensor, share: float, seed: tf.Tensor) -> tf.Tensor:
    """Take the colour from a ``share`` of the images, with weights of any camera without one; float 0-255."""
    n = tf.shape(images)[0]
    chosen = tf.random.stateless_uniform([n, 1, 1, 1], seed) < share
    weights = tf.random.stateless_uniform([n, 1, 1, 3], seed + 1)
    grey = tf.reduce_sum(images * weights, axis=3, keepdims=True) / tf.reduce_sum(weights, axis=3, keepdims=True)
    return tf.where(chosen, tf.broadcast_to(grey, tf.shape(images)), images)


def augment(images: tf.Tensor, size: int, seed: tf.Tensor, *, grey_share: float = 0.0, jpeg: bool = True) -> tf.Tensor:
    """All of it: uint8 ``(N, S, S, 3)`` with a margin for shifts -> uint8 ``(N, size, size, 3)``.

    Parameters
    ----------
    images
        Windows a little larger than ``size``.
    size
        Side of the network's window.
    seed
        ``(2,)`` int32, different for every batch of a training.
    grey_share
        Share of images that lose their colour.
    jpeg
        Whether to code some as JPEG; not where the data have that already.
    """
    images = random_turn(random_shift(images, size, seed), seed + 10)
    light = random_noise(random_light(tf.cast(images, tf.float32), seed + 20), seed + 30)
    if grey_share:
        light = random_grey(light, grey_share, seed + 50)
    coded = tf.cast(tf.clip_by_value(tf.round(light), 0, 255), tf.uint8)
    return random_jpeg(coded, seed + 40) if jpeg else coded
