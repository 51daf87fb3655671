"""Route A: an engine that knows our action; sequences run unchanged otherwise."""

from collections.abc import Iterable, Iterator
from typing import Any

from pymmcore_plus import CMMCorePlus
from pymmcore_plus.mda import MDAEngine
from useq import CustomAction, HardwareAutofocus, MDAEvent, MDASequence

from focus_picker.autofocus.micromanager.autofocuser import Autofocuser, z_change

ACTION = "focus-picker"


def autofocus_action() -> CustomAction:
    """Return the action that asks for our autofocus in a list of events of one's own."""
    return CustomAction(name=ACTION)


class AutofocusEngine(MDAEngine):
    """The stock engine, with our autofocus for ``AxesBasedAF`` plans and for ``autofocus_action()``.

    The change of z is handed to the z-stacks that follow at the same position; a position where focus was not confirmed
    keeps its z, is named in ``autofocuser.failures``, and is tried once, not three times. Search frames stay out of the
    data.

    Parameters
    ----------
    core
        To drive; ``install`` makes this its engine.
    autofocuser
        Settings, calibration and model.
    """

    def __init__(self, core: CMMCorePlus, autofocuser: Autofocuser, **options: Any) -> None:
        super().__init__(core, **options)
        self.autofocuser = autofocuser

    @classmethod
    def install(cls, core: CMMCorePlus, autofocuser: Autofocuser, **options: Any) -> "AutofocusEngine":
        """Make an engine and hand the core's sequences to it."""
        engine = cls(core, autofocuser, **options)
        core.mda.set_engine(engine)
        return engine

    def setup_sequence(self, sequence: MDASequence) -> Any:
        """Forget the results of the sequence before."""
        self.autofocuser.results.clear()
        return super().setup_sequence(sequence)

    def exec_event(self, event: MDAEvent) -> Iterable:
        """Focus where the event asks for it; leave every other event to the stock engine."""
        return self._focused(event) if _asks_for_focus(event) else super().exec_event(event)

    def _focused(self, event: MDAEvent) -> Iterator:
        place = event.index.get("p")
        name = event.pos_name or str(place if place is not None else 0)
        result = self.autofocuser.run(self.mmcore, position=name)
        self._af_succeeded = result.succeeded
        self._z_correction[place] = self._z_correction.get(place, 0.0) + z_change(result)
        yield from ()


def _asks_for_focus(event: MDAEvent) -> bool:
    action = event.action
    return isinstance(action, HardwareAutofocus) or (isinstance(action, CustomAction) and action.name == ACTION)
