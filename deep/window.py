"""The window a network sees: a fixed number of native pixels about the image's centre.

Blur is a size in pixels, so an image is cut or continued, never resampled. Training, export checks and the runtime
share this one function.
"""

from itertools import product

import cv2
import numpy as np

from focus_picker.dataset.images import to_uint8

WINDOW_PX = 128  # holds a white cell at 0.1 um a pixel
SHIFT_PX = 16  # margin around the window that shifts use up in training


def native_window(image: np.ndarray, size: int = WINDOW_PX) -> np.ndarray:
    """Cut ``size`` x ``size`` pixels about the centre, or continue a smaller image by reflection.

    Parameters
    ----------
    image
        ``(H, W, 3)`` RGB, uint8 or full-scale uint16.
    size
        Side of the window in pixels.

    Returns
    -------
    np.ndarray
        ``(size, size, 3)`` uint8, contiguous.
    """
    height, width = image.shape[:2]
    top, left = max((height - size) // 2, 0), max((width - size) // 2, 0)
    cut = to_uint8(image[top : top + size, left : left + size])
    missing_y, missing_x = size - cut.shape[0], size - cut.shape[1]
    if missing_y or missing_x:
        above, before = missing_y // 2, missing_x // 2
        # REFLECT repeats as often as needed, also where the image is narrower than the margin.
        cut = cv2.copyMakeBorder(
            cut, above, missing_y - above, before, missing_x - before, borderType=cv2.BORDER_REFLECT
        )
    return np.ascontiguousarray(cut)


def spread_windows(image: np.ndarray, size: int = WINDOW_PX) -> list[np.ndarray]:
    """Cut the central window, and behind it those in the corners of an image that is larger.

    Parameters
    ----------
    image, size
        As in :func:`native_window`.

    Returns
    -------
    list
        The window about the centre alone where the image is larger by less than an eighth both ways; windows at both
        ends too of a side that is larger by more, so that there are three or five.
    """
    more = [max(length - size, 0) for length in image.shape[:2]]
    if max(more) < size // 8:
        return [native_window(image, size)]
    tops, lefts = ((0, extra) if extra >= size // 8 else (extra // 2,) for extra in more)
    corners = [image[top : top + size, left : left + size] for top, left in product(tops, lefts)]
    return [native_window(part, size) for part in (image, *corners)]


def centre(windows: np.ndarray, size: int = WINDOW_PX) -> np.ndarray:
    """Cut the margin off: what the network sees outside training."""
    margin = (windows.shape[1] - size) // 2
    return windows[:, margin : margin + size, margin : margin + size]
