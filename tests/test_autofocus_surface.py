"""Focus surfaces, and positions in the formats of others."""

import json
import math

import numpy as np
import pytest

from focus_picker.autofocus.pictures import draw_search, draw_surface
from focus_picker.autofocus.positions import Position, read_positions, write_positions
from focus_picker.autofocus.scan import Scan, filled, focus_positions
from focus_picker.autofocus.surface import fit_surface
from focus_picker.dataset.errors import InputError
from tests.test_autofocus import focused, microscope

GRID = [(x, y) for x in range(0, 4000, 1000) for y in range(0, 4000, 1000)]


def tilted(x, y, bow=0.0):
    return 5 + 0.002 * x - 0.001 * y + bow * ((x - 1500) / 1500) ** 2


def points(noise=0.05, outliers=(), bow=0.0):
    rng = np.random.default_rng(1)
    return [
        Position(f"p{n}", x, y, tilted(x, y, bow) + noise * rng.standard_normal() + (15.0 if n in outliers else 0.0))
        for n, (x, y) in enumerate(GRID)
    ]


def test_a_plane_is_not_moved_by_outliers():
    surface = fit_surface(points(outliers=(3, 9)))
    for x, y in [(500, 500), (2500, 100), (3000, 3000)]:
        assert surface.at(x, y)[0] == pytest.approx(tilted(x, y), abs=0.5)
    clean = fit_surface(points())
    assert clean.error_um < 0.2
    assert clean.at(9000, 9000)[1] > clean.at(1500, 1500)[1]


def test_a_spline_follows_a_bow_once_outliers_are_left_out():
    surface = fit_surface(points(outliers=(5,), bow=3.0), "spline")
    assert surface.used.sum() == len(GRID) - 1
    assert not surface.used[5]
    assert surface.at(1500, 1500)[0] == pytest.approx(tilted(1500, 1500, 3.0), abs=0.4)


def test_too_few_points_or_points_on_a_line_are_no_surface():
    with pytest.raises(InputError, match="4 are needed"):
        fit_surface(points()[:3])
    with pytest.raises(InputError, match="one line"):
        fit_surface([Position("p", x, 2 * x, 1.0) for x in range(6)])
    with pytest.raises(InputError, match="plane, spline"):
        fit_surface(points(), "cube")


@pytest.mark.parametrize("suffix", [".csv", ".pos", ".json"])
def test_positions_come_back_as_they_were_written(tmp_path, suffix):
    places = [Position("a", 1.5, -2.0, 3.25), Position("b", 4.0, 5.0)]
    path = tmp_path / f"scan{suffix}"
    write_positions(places, path, table="Table", drive="Drive")
    back = read_positions(path)
    assert [(place.name, place.x_um, place.y_um) for place in back] == [("a", 1.5, -2.0), ("b", 4.0, 5.0)]
    assert back[0].z_um == 3.25
    assert math.isnan(back[1].z_um)


def test_useq_takes_the_positions(tmp_path):
    useq = pytest.importorskip("useq", reason="needs the extra microscope")
    write_positions([Position("a", 1.5, -2.0, 3.25)], tmp_path / "scan.json")
    sequence = useq.MDASequence(stage_positions=json.loads((tmp_path / "scan.json").read_text()))
    assert (sequence.stage_positions[0].x, sequence.stage_positions[0].z) == (1.5, 3.25)


@pytest.mark.parametrize("text", ["", "name,x\na,1\n", "x,y\n1,wide\n", "x,y\nnan,1\n"])
def test_files_without_positions_are_refused(tmp_path, text):
    (tmp_path / "scan.csv").write_text(text)
    with pytest.raises(InputError, match="holds no positions"):
        read_positions(tmp_path / "scan.csv")


def test_a_scan_starts_each_search_on_the_surface_and_fills_gaps_from_it():
    """A slide tilted by eight micrometres: without the surface the last searches would start that far off."""
    starts, here = {}, [0.0, 0.0, 0.0]

    def search(position):
        starts[position.name] = here[2]
        focus_um = tilted(position.x_um, position.y_um)
        lost = position.name == "p7"
        result = focused(microscope(focus_um=focus_um + (40 if lost else 0), start_um=here[2]))
        assert bool(result) is not lost
        here[2] = result.z_after
        return result

    scan = Scan(lambda x, y: here.__setitem__(slice(0, 2), (x, y)), lambda z: here.__setitem__(2, z), search)
    places = [Position(place.name, place.x_um, place.y_um) for place in points()]
    found = [place for place, _ in focus_positions(places, scan)]
    assert math.isnan(found[7].z_um)
    whole = filled(found, fit_surface(found))
    assert whole[7].z_um == pytest.approx(tilted(*GRID[7]), abs=0.5)
    assert starts["p15"] == pytest.approx(tilted(*GRID[15]), abs=0.6)


def test_pictures_are_drawn(tmp_path):
    draw_search(focused(microscope(start_um=3.0)), tmp_path / "search.png")
    draw_surface(fit_surface(points(outliers=(5,), bow=3.0), "spline"), tmp_path / "surface.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("search.png", "surface.png"))
