"""Declared files: one wording of what is wrong with a JSON or YAML file."""

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field

from focus_picker.dataset.declared import read_json, read_named, read_yaml, write_json
from focus_picker.dataset.errors import InputError


class Lens(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal["lens 1"] = "lens 1"
    name: str = "none"
    aperture: float = Field(gt=0)
    rings: tuple[int, ...] = ()


FAULTS = {
    "not JSON": ("{", "is no lens (Invalid JSON"),
    "no object": ("[1]", "is no lens (it holds no 'key: value' pairs)"),
    "missing key": ("{}", "is no lens (key 'aperture' is missing)"),
    "unknown key": ('{"aperture": 1, "coating": 2}', "unknown key 'coating'; known keys: format, name, aperture"),
    "wrong value": ('{"aperture": -1}', "is no lens (aperture: Input should be greater than 0 (given: -1))"),
    "part of a value": ('{"aperture": 1, "rings": [1, "wide"]}', "rings.1: "),
    "another format": ('{"aperture": 1, "format": "lens 2"}', "format: Input should be 'lens 1' (given: 'lens 2')"),
}


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_a_fault_is_one_sentence_with_file_reason_and_remedy(tmp_path, kind, read):
    content, reason = FAULTS[kind]
    file = tmp_path / "lens.json"
    file.write_text(content)
    with pytest.raises(InputError) as caught:
        read(file, Lens, what="lens", fix="measure it again")
    text = str(caught.value)
    assert (reason if (read, kind) != (read_yaml, "not JSON") else "not readable YAML") in text
    assert text.startswith(str(file))
    assert text.endswith(": measure it again.")
    assert "\n" not in text


@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_what_cannot_be_opened_is_named(tmp_path, read):
    with pytest.raises(InputError, match=r"lens .*lens.json does not exist: measure it again"):
        read(tmp_path / "lens.json", Lens, what="lens", fix="measure it again")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path, Lens, what="lens", fix="measure it again")


def test_a_named_file_is_one_of_the_folder_or_ones_own(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "dry.yaml").write_text("aperture: 0.8")
    own = tmp_path / "own.yaml"
    own.write_text("aperture: 0.9\nname: mine")
    for name, expected in (("dry", ("dry", 0.8)), (str(own), ("mine", 0.9))):
        lens = read_named(name, tmp_path / "conf", Lens, what="lens", name="dry")
        assert (lens.name, lens.aperture) == expected
    with pytest.raises(InputError, match=r"unknown lens 'oil'; known ones: dry, or give a \.yaml file"):
        read_named("oil", tmp_path / "conf", Lens, what="lens")


def test_what_was_written_is_read_back(tmp_path):
    lens = Lens(aperture=0.1, rings=(1, 2))
    write_json(tmp_path / "lens.json", lens)
    assert read_json(tmp_path / "lens.json", Lens, what="lens", fix="") == lens


def test_json_is_strict(tmp_path):
    @dataclass
    class Row:
        error: float

    content = {"inf": np.inf, "array": np.array([1, np.nan]), 2: np.float32("nan"), "rows": (Row(0.1), Row(-np.inf))}
    write_json(tmp_path / "a.json", content)
    expected = {"inf": None, "array": [1, None], "2": None, "rows": [{"error": 0.1}, {"error": None}]}
    assert json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail) == expected
    assert read_json(tmp_path / "a.json", dict[str, Any], what="table", fix="") == expected
