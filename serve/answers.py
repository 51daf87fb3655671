"""The typed answers of the service, with the examples that OpenAPI shows."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from focus_picker.serve.engine import Picked, Scored

MODEL = {"name": "focus_model.tflite", "version": "0.1.0", "sha256": "0" * 64, "calibrated": True}
MOVE = {
    "slices": -2.15,
    "standard_error": 0.2,
    "um": -1.075,
    "standard_error_um": 0.1,
    "status": "ok",
    "advice": "move the lens towards the sample",
}
SCORE = {
    "image_path": "5.jpg",
    "focus_score": 0.43,
    "lower": 0.37,
    "upper": 0.5,
    "status": "post_focal",
    "problem": "",
    "move": MOVE,
    "model": MODEL,
}
UNREADABLE = {
    "image_path": "6.jpg",
    "focus_score": None,
    "lower": None,
    "upper": None,
    "status": "unreadable",
    "problem": "6.jpg is empty (zero bytes): copy or export it again.",
    "move": None,
    "model": None,
}
PICK = {
    "stack": "stack_001_cell_0",
    "n_slices": 11,
    "best_index": 5,
    "best_file": "5.jpg",
    "best_position": 5.32,
    "standard_error": 0.08,
    "best_z_um": 2.66,
    "standard_error_um": 0.04,
    "z_step_um": 0.5,
    "status": "ok",
    "advice": "",
    "method": "fused",
    "scores_used": True,
    "slices": [{"index": 0, "file": "0.jpg", "score": -0.98, "sharpness": 0.11, "thumbnail": None}],
    "fit": {"position": [4.0, 5.3, 6.6], "sharpness": [0.3, 0.41, 0.29]},
    "model": MODEL,
}
STACK_PROBLEM = {
    "stack": "stack_002_cell_0",
    "status": "unreadable",
    "problem": "stack_002_cell_0: no slice can be read.",
    "code": "not_usable",
}


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class Health(BaseModel):
    """Whether the service can answer, and with which model."""

    model_config = ConfigDict(protected_namespaces=()) | _example(
        {
            "status": "ok",
            "version": "0.1.0",
            "model_loaded": True,
            "model": "focus_model.tflite",
            "model_version": "0.1.0",
            "model_sha256": "0" * 64,
            "calibrated": False,
            "adapt": False,
            "limits": {"max_files": 200},
        }
    )

    status: Literal["ok"]
    version: str = Field(description="Of the service.")
    model_loaded: bool
    model: str = Field(description="File name of the model.")
    model_version: str | None = Field(None, description="Of the project that exported it, if the model says.")
    model_sha256: str
    calibrated: bool = Field(description="Whether the model was calibrated on the microscope that it is for.")
    adapt: bool = Field(description="Whether /adapt makes a model of one's own.")
    limits: dict[str, int] = Field(description="Of one request: bytes, files (slices), stacks, pixels.")


class State(BaseModel):
    """That what was asked for is the case; otherwise the answer is a problem."""

    model_config = _example({"status": "ok"})

    status: Literal["ok"]


class ModelAnswer(BaseModel):
    """Which model has scored."""

    model_config = _example(MODEL)

    name: str = Field(description="File name.")
    version: str | None = Field(None, description="Of the project that exported it, if the model says.")
    sha256: str
    calibrated: bool = Field(description="Whether its intervals were measured on the microscope that it is for.")


class MoveAnswer(BaseModel):
    """The step of the lens that cures the defocus: negative towards the sample."""

    model_config = _example(MOVE)

    slices: float | None = Field(None, description="In slices of the model's training stacks; null when not known.")
    standard_error: float | None = Field(None, description="In slices.")
    um: float | None = Field(None, description="In micrometres; null unless z_step_um is given.")
    standard_error_um: float | None = None
    status: str = Field(description="ok, in_focus (stay), unsure (take a second image or a stack) or uncalibrated.")
    advice: str


class ScoreAnswer(BaseModel):
    """One image."""

    model_config = _example(SCORE)

    image_path: str = Field(description="Name of the file as it was sent.")
    focus_score: float | None = Field(None, description="0 in focus; positive: lens too far; negative: too close.")
    lower: float | None = Field(None, description="Lower end of the 90 % interval; null where none was measured.")
    upper: float | None = Field(None, description="Upper end.")
    status: str = Field(description="in_focus, pre_focal, post_focal, unsure, unreadable or uncalibrated.")
    problem: str = Field(description="Why an image of a batch could not be used; empty otherwise.")
    move: MoveAnswer | None = None
    model: ModelAnswer | None = Field(None, description="Null within a batch, which names it once.")

    @classmethod
    def of(cls, scored: Scored, model: ModelAnswer | None = None) -> Self:
        """Make it of what the engine found."""
        move = MoveAnswer(**_finite(vars(scored.move))) if scored.move else None
        return cls(**_finite(vars(scored.row)), move=move, model=model)


class BatchAnswer(BaseModel):
    """Many images; one that cannot be read has status ``unreadable`` and stops no other."""

    model_config = _example(
        {"n_images": 2, "n_unreadable": 1, "images": [{**SCORE, "model": None}, UNREADABLE], "model": MODEL}
    )

    n_images: int
    n_unreadable: int
    images: list[ScoreAnswer] = Field(description="In the order sent.")
    model: ModelAnswer

    @classmethod
    def of(cls, scored: list[Scored], model: ModelAnswer) -> Self:
        """Make it of what the engine found."""
        images = [ScoreAnswer.of(one) for one in scored]
        unreadable = sum(one.status == "unreadable" for one in images)
        return cls(n_images=len(images), n_unreadable=unreadable, images=images, model=model)


class SliceAnswer(BaseModel):
    """One slice of a stack."""

    index: int = Field(description="In z order, from 0.")
    file: str
    score: float | None = Field(None, description="Signed focus score; null where not known.")
    sharpness: float | None = Field(None, description="Focus measure; null where the slice is left out.")
    thumbnail: str | None = Field(None, description="JPEG as a data URL; null unless thumbnails are asked for.")


class FitAnswer(BaseModel):
    """The fitted sharpness curve about the best plane, for drawing."""

    position: list[float] = Field(description="In slices from 0.")
    sharpness: list[float]


class PickAnswer(BaseModel):
    """The best plane of a stack: the object of ``cli.py pick-focus --json``, with thumbnails and the fit."""

    model_config = _example(PICK)

    stack: str
    n_slices: int
    best_index: int | None = Field(None, description="Slice nearest to best_position.")
    best_file: str
    best_position: float | None = Field(None, description="In slices from 0, fractional.")
    standard_error: float | None = Field(None, description="Of best_position; +-1.645 of it is the 90 % interval.")
    best_z_um: float | None = Field(None, description="From the first slice; null where the z step is not known.")
    standard_error_um: float | None = Field(None, description="Of best_z_um.")
    z_step_um: float | None = Field(None, description="Between two slices: as given, or as the TIFF stack says.")
    status: str = Field(description="ok, edge, flat, ambiguous, disagree or unreadable.")
    advice: str
    method: str
    scores_used: bool = Field(False, description="Whether the model's scores passed the stack's test and have a say.")
    slices: list[SliceAnswer]
    fit: FitAnswer | None = None
    model: ModelAnswer | None = None

    @classmethod
    def of(cls, picked: Picked, model: ModelAnswer) -> Self:
        """Make it of what the engine found."""
        pick, step = picked.pick, picked.z_step_um
        error_um = _number(pick.standard_error * step) if step else None
        slices = [
            SliceAnswer(**_finite(vars(part)), thumbnail=thumbnail)
            for part, thumbnail in zip(pick.slices, picked.thumbnails, strict=True)
        ]
        fit = pick.fitted and FitAnswer(position=_rounded(pick.fitted[0]), sharpness=_rounded(pick.fitted[1]))
        um = {"standard_error_um": error_um, "z_step_um": _number(step) if step else None}
        return cls(**pick.as_row() | um, slices=slices, fit=fit or None, model=model)


class StackProblem(BaseModel):
    """A stack of a batch that could not be used."""

    model_config = _example(STACK_PROBLEM)

    stack: str
    status: Literal["unreadable"] = "unreadable"
    problem: str = Field(description="One sentence: what is wrong, where, and how to fix it.")
    code: str = Field(description="Stable name of the reason, as in a refusal.")


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """Give NaN as None, which JSON has, and floats with six digits."""
    return {name: _number(value) if isinstance(value, float) else value for name, value in row.items()}


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if abs(value) < float("inf") else None


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


class AdaptAnswer(BaseModel):
    """How far an adaptation is."""

    model_config = _example(
        {
            "state": "running",
            "n_stacks": 24,
            "stage": "fine-tuning",
            "done": 120,
            "total": 300,
            "words": "",
            "problem": "",
        }
    )

    state: Literal["none", "receiving", "running", "done", "failed"]
    n_stacks: int = 0
    stage: str = Field(default="", description="What is being done.")
    done: int = Field(default=0, description="How much of the stage.")
    total: int = 0
    words: str = Field(default="", description="What can be expected of the model, for people.")
    problem: str = Field(default="", description="Why it failed.")
