"""Our autofocus on a core, for whoever drives it: settings, calibration and model, and what failed where."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

from pymmcore_plus import CMMCorePlus

from focus_picker.autofocus.calibration import MODEL_FOLDER, Calibration, read_calibration
from focus_picker.autofocus.devices import ShouldCancel
from focus_picker.autofocus.focus import focus
from focus_picker.autofocus.micromanager.devices import core_microscope
from focus_picker.autofocus.result import FocusResult
from focus_picker.autofocus.search import Log
from focus_picker.autofocus.settings import Settings
from focus_picker.models.contract import Model
from focus_picker.stack_inference.loading import load_model


@dataclass
class Autofocuser:
    """Focuses a core.

    Parameters
    ----------
    settings
        Limits and budgets.
    calibration, model
        Of this microscope; None for both sweeps.
    log
        Told every step.
    results
        Of every search, by the name of its position; a later search at the same position replaces the earlier.
    """

    settings: Settings
    calibration: Calibration | None = None
    model: Model | None = None
    log: Log = field(default=lambda step: None)
    results: dict[str, FocusResult] = field(default_factory=dict)

    @classmethod
    def from_folder(cls, folder: str | Path, settings: Settings, log: Log = lambda step: None) -> "Autofocuser":
        """Take calibration and model from the folder that ``autofocus calibrate`` wrote."""
        return cls(settings, read_calibration(folder), load_model(Path(folder) / MODEL_FOLDER), log)

    def run(
        self,
        core: CMMCorePlus,
        *,
        focus_device: str = "",
        position: str = "",
        should_cancel: ShouldCancel | None = None,
    ) -> FocusResult:
        """Focus where the core stands.

        Parameters
        ----------
        core
            With a loaded configuration.
        focus_device
            Label of the drive; empty takes the core's.
        position
            Name under which the result is kept.
        should_cancel
            None asks the core's running sequence.
        """
        scope = core_microscope(core, focus_device)
        cancel = should_cancel or sequence_cancelled(core)
        result = focus(scope, self.settings, self.calibration, self.model, should_cancel=cancel, log=self.log)
        self.results[position] = result
        return result

    @property
    def failures(self) -> dict[str, str]:
        """Why focus was not confirmed, by position."""
        return {name: result.message for name, result in self.results.items() if not result}


def sequence_cancelled(core: CMMCorePlus) -> ShouldCancel:
    """Tell whether somebody asked the core's running sequence to stop."""
    return lambda: bool(core.mda.status.cancel_requested)


@dataclass(frozen=True)
class UpstreamRun:
    """Our autofocus as pymmcore-plus plans to call one: ``run(core, focus_device, settings, *, should_cancel)``.

    ``settings`` overrides keys of the autofocuser's own by name, as upstream hands them over.
    """

    autofocuser: Autofocuser

    def __call__(
        self, core: CMMCorePlus, focus_device: str, settings: dict | None = None, *, should_cancel: ShouldCancel
    ) -> FocusResult:
        """Focus, and return upstream's fields and more."""
        own = self.autofocuser
        changed = replace(own, settings=Settings.model_validate(own.settings.model_dump() | (settings or {})))
        return changed.run(core, focus_device=focus_device, should_cancel=should_cancel)


def z_change(result: FocusResult) -> float:
    """By how much a search moved focus, micrometres; 0 where it was not confirmed."""
    change = result.z_after - result.z_before
    return change if result.succeeded and math.isfinite(change) else 0.0
