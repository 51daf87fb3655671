"""The shipped default model: see README.md here for what it was trained on and where it may be trusted."""

from pathlib import Path

DEFAULT_MODEL = Path(__file__).parent / "focus_model.tflite"
DEFAULT_WEIGHTS = Path(__file__).parent / "best_model.h5"
DEFAULT_BASELINE = Path(__file__).parent / "baseline.txt"
