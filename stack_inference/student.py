"""The shipped kind of model, asked for the scores and for the distributions of the same slices."""

import numpy as np

from focus_picker.deep.runtime import FocusModel


class StackStudent(FocusModel):
    """A student that runs its network once for the scores and the distributions of the same images."""

    _latest: tuple[np.ndarray, dict[str, np.ndarray]] | None = None

    def predict(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        """Run the network, unless the windows are those of the call before."""
        if self._latest is None or not np.array_equal(self._latest[0], windows):
            self._latest = windows, super().predict(windows)
        return self._latest[1]
