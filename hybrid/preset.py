"""Training presets: every setting of a run on one line with its reason, read from ``conf/training``."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from focus_picker.dataset.declared import names_in, read_named

PRESET_FOLDER = Path(__file__).parents[1] / "conf" / "training"

Share = Annotated[float, Field(ge=0, le=1)]
Epochs = Annotated[int, Field(ge=1, le=10_000)]


class Preset(BaseModel):
    """How a teacher and a student are trained.

    Attributes
    ----------
    backbone
        Key of ``deep.backbones.BACKBONES``, for both.
    batch
        Images a step.
    learning_rate
        Peak rate of a training from random weights and of the head-first phase; a tenth of it once all layers of a
        started network learn.
    teacher_epochs, student_epochs
        Of the phase in which all layers learn.
    head_epochs
        Of the head-first phase, when weights are given.
    patience
        Epochs without a better validation error that end a phase.
    label_sigma
        Width of the soft labels in score units.
    distillation
        Share of the teacher in the student's loss; the labels have the rest.
    temperature
        Of the distillation.
    auxiliary
        Weight of predicting the handcrafted features.
    refine
        Whether labels are refined to fractions of a slice first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    backbone: str = "focus_net"
    batch: Annotated[int, Field(ge=2, le=4096)] = 64
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 3e-3
    teacher_epochs: Epochs
    student_epochs: Epochs
    head_epochs: Annotated[int, Field(ge=0, le=10_000)] = 2
    patience: Annotated[int, Field(ge=1)] = 1000
    label_sigma: Annotated[float, Field(gt=0, le=10)] = 0.06
    distillation: Share = 0.5
    temperature: Annotated[float, Field(ge=1, le=20)] = 2.0
    auxiliary: Annotated[float, Field(ge=0, le=100)] = 0.1
    refine: bool = True


def known_presets() -> list[str]:
    """Names of the presets that come with the project."""
    return names_in(PRESET_FOLDER)


def load_preset(name: str) -> Preset:
    """Read a preset by name, or from a YAML file of one's own.

    Raises
    ------
    InputError
        Unknown name, unreadable file, or a setting that is out of range.
    """
    return read_named(name, PRESET_FOLDER, Preset, what="preset")
