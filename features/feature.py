"""What a feature is: a function of an image, and the declaration that tells people what its value means."""

from collections.abc import Callable
from dataclasses import dataclass

from focus_picker.features.intermediates import Intermediates

Compute = Callable[[Intermediates], float]

NUMBER, LOG = "1", "ln"  # units: a pure number, and the natural logarithm of a ratio
COMMON, OURS = "common practice", "this project"  # sources that are no paper


@dataclass(frozen=True)
class Feature:
    """A focus measure or a signed cue; called like its function.

    Attributes
    ----------
    name
        Column of the feature table.
    family
        What kind of thing in an image it looks at.
    compute
        Pure function, whose docstring tells its limits.
    label
        What it is, for people, in at most 62 letters.
    sign
        Of a measure: 1 where the sharper image has the larger value, -1 where it has the smaller, 0 where that depends
        on the image. Of a cue: 1 where it rises at positive defocus (lens too far), -1 where it falls.
    unit
        ``1`` for a pure number, ``ln`` for the natural logarithm of a ratio.
    source
        Paper, where there is one.
    """

    name: str
    family: str
    compute: Compute
    label: str
    sign: int
    unit: str
    source: str

    def __call__(self, image: Intermediates) -> float:
        """Compute the value."""
        return self.compute(image)


class Family(dict[str, Feature]):
    """Features of one kind by name, in the order of their declaration, which is that of the feature table."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def add(self, name: str, compute: Compute, label: str, sign: int, unit: str = NUMBER, source: str = OURS) -> None:
        """Declare a feature, see :class:`Feature`."""
        self[name] = Feature(name, self.name, compute, label, sign, unit, source)

    def declare(self, label: str, sign: int, unit: str = NUMBER, source: str = OURS) -> Callable[[Compute], Compute]:
        """Declare the function below as the feature of its name."""

        def note(compute: Compute) -> Compute:
            self.add(compute.__name__, compute, label, sign, unit, source)
            return compute

        return note
