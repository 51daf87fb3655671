"""The range of a picture's numbers where its file does not say it."""

import numpy as np

TWELVE_BITS = 4095


def assumed_maximum(array: np.ndarray) -> int:
    """Full scale of a picture that declares none: 4095 where 16 bits hold no larger value, else the whole container.

    Cameras of 12 bits are written so. A bright-field picture of 16 bits that is darker than a sixteenth was hardly
    exposed, and on a sixteenth of the scale its grey levels would drown in rounding.
    """
    if array.dtype.itemsize == 2 and array.size and int(array.max()) <= TWELVE_BITS:
        return TWELVE_BITS
    return int(np.iinfo(array.dtype).max) if array.dtype != bool else 1


def scale_to(array: np.ndarray, maximum: int) -> np.ndarray:
    """Map 0..maximum, which holds every value, to the full range of the array's own type."""
    full = int(np.iinfo(array.dtype).max)
    return ((array.astype(np.uint32) * full + maximum // 2) // maximum).astype(array.dtype)
