"""Handcrafted focus measures and signed cues of one image, the feature table, and the LightGBM baseline on it."""

from focus_picker.features.intermediates import Intermediates
from focus_picker.features.measures import CUES, MEASURES, measure

__all__ = ["CUES", "MEASURES", "Intermediates", "measure"]
