"""What the default model owes to each part of its simulation and to its network, and what an unmet kind costs.

Every row is one network from random weights that looks at equally many images. Shards are kept in the work folder and
are not made twice; `--work data/default` takes those of the default model's own training. A network needs hundreds of
thousands of images before it tells sides at all: with 60 thousand the rows differ by chance. Trained networks are kept
too, so that an interrupted run goes on.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cv2
import numpy as np
import pandas as pd
import typer

from benchmarks.default_model import figures, other_optics, real_blood
from benchmarks.report import DATA, Output, Report, Row, run
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.simulation.instrument import Camera, Instrument, load_instrument, vary
from focus_picker.dataset.simulation.kinds import KINDS
from focus_picker.dataset.simulation.preparation import Preparation
from focus_picker.deep.pipeline import load_windows
from focus_picker.deep.window import native_window
from focus_picker.evaluation.sides import side_figures
from focus_picker.hybrid.teacher import Standardiser
from focus_picker.models.bins import DEFAULT_BINS
from focus_picker.training.default_data import (
    ALL_KINDS,
    SCORE_PER_SLICE,
    SHIPPED,
    VARY,
    Windows,
    draw,
    load_shards,
    make_shards,
    measured,
    randomness,
)
from focus_picker.training.make_default import SEED, Stage, distributions, held_back, learn, train_stage

if TYPE_CHECKING:
    import keras

WINDOW_PX, LEARNING_RATE = 80, 3e-3  # as in the first stages of the default model
SAMPLING, GREEN_UM = 1.3, 0.54  # where the scale is known: the middle of what is drawn; the wavelength it goes by
KNOWN = {f"microscope_{name}": (0.12, 0.8) for name in "abcd"} | {"microscope_e": (0.25, 0.75)}  # pixel um, aperture


def without_specimen(kind: str, rng: np.random.Generator) -> Instrument:
    """Draw a microscope over a slide of thin stained cells whose phase follows their stain."""
    return draw(kind, rng).model_copy(update={"preparation": Preparation()})


def without_optics(kind: str, rng: np.random.Generator) -> Instrument:
    """Draw a slide and a camera of the kind under a relative of a shipped instrument."""
    drawn = draw(kind, rng)
    optics = vary(load_instrument(SHIPPED[int(rng.integers(len(SHIPPED)))]), VARY, rng)
    return optics.model_copy(update={"camera": drawn.camera, "preparation": drawn.preparation})


def without_camera(kind: str, rng: np.random.Generator) -> Instrument:
    """Draw a microscope whose camera adds noise and light levels only."""
    return draw(kind, rng).model_copy(update={"camera": Camera()})


PARTS: dict[str, Callable[[str, np.random.Generator], Instrument]] = {
    "specimen": without_specimen,
    "optics": without_optics,
    "camera": without_camera,
}


def compare_parts(
    output: Output = None,
    data: Annotated[Path, typer.Option(help="Folder of wbc_crops, other_optics and real_blood.")] = DATA,
    work: Annotated[Path, typer.Option(help="Folder for shards and checkpoints.")] = Path("data/default_parts"),
    stacks: Annotated[int, typer.Option(min=1, help="Simulated stacks that each network learns from.")] = 2500,
    images: Annotated[int, typer.Option(min=1, help="Images that each network looks at.")] = 400_000,
    kinds: Annotated[str, typer.Option(help="Kinds to leave out in turn, with commas.")] = ",".join(KINDS),
    jobs: Annotated[int, typer.Option(help="Processes that simulate.")] = 2,
) -> Report:
    """Report rank correlation and sign by kind met or left out, and with each part of the simulation left out."""
    crops = data / "wbc_crops"
    if not crops.is_dir():
        raise InputError(f"no wbc_crops in {data}; give the folder that holds it with --data")
    left_out = [name for name in kinds.split(",") if name]
    if unknown := set(left_out) - set(KINDS):
        raise InputError(f"unknown kind of microscope '{sorted(unknown)[0]}'; known ones: {', '.join(KINDS)}")
    make_shards(crops, work / "windows", stacks, jobs)
    everything = needed(load_shards(work / "windows"), stacks)
    standard = Standardiser.fit(everything.features)
    everything = replace(everything, features=standard(everything.features))
    strangers = {name: Stranger.of(truth, standard) for name, truth in (other_optics(data) | real_blood(data)).items()}

    def trained(name: str, windows: Windows, network: "keras.Model | None" = None) -> "keras.Model":
        learnt = windows.select(np.isin(windows.stack, np.unique(windows.stack)[:stacks]))
        stage = Stage("networks", images, LEARNING_RATE, WINDOW_PX)
        if network is not None:
            return learn(network, stage, learnt, work / name, 1.0)
        return train_stage(stage, learnt, work / name, 1.0, None)

    whole, test = trained("everything", everything), everything.select(held_back(everything))
    rows = [part_row("everything", whole, test, strangers)]
    for part, drawn in PARTS.items():
        folder = work / f"without_{part}"
        make_shards(crops, folder, stacks, jobs, drawn=drawn)
        rows.append(part_row(f"without its {part}", trained(folder.name, load_shards(folder)), test, strangers))
    networks = [rows[0] | {"trained": "the student"}]
    for name, network in other_networks(everything.features.shape[1]).items():
        networks.append(part_row(name, trained(name.replace(" ", "_"), everything, network), test, strangers))
    known = at_known_scale(everything)
    known_test = known.select(held_back(known))
    placed = {name: strangers[name].at_scale(*scale) for name, scale in KNOWN.items() if name in strangers}
    networks.append(part_row("student, pixel and aperture known", trained("known_scale", known), known_test, placed))
    met = by_kind(whole, test)
    parted = []
    for name in left_out:
        missed = trained(f"no_{name}", everything.select(everything.kind != ALL_KINDS.index(name)))
        parted.append(kind_row(name, met[name], by_kind(missed, test)[name]))
    note = (
        f"Each network starts from random weights and looks at {images} images of {stacks} stacks (the "
        f"default itself at far more); windows of {WINDOW_PX} px. Tested on other stacks and microscopes of the nine "
        "kinds, with all that the simulation has (drawn: mean over the kinds), and on the test folders: Spearman "
        "within a stack, sign right beyond one slice. Without a part: its slides, optics or cameras are those of the "
        f"shipped instruments. Networks: the student has {thousands('focus_net')} thousand parameters, with twice its "
        f"channels {thousands('focus_net_wide')} thousand; image and features: with the handcrafted features of the "
        "whole window beside the image. Pixel and aperture known: every image is resampled to "
        f"{1 / SAMPLING:.2f} of Nyquist's pixel before; real blood states no pixel."
    )
    tables = {"Parts of the simulation": rows, "Networks": networks, "Kinds left out": parted}
    return Report("Parts, networks and kinds", tables, output, note)


def thousands(backbone: str) -> int:
    """Parameters of a student without its auxiliary head, in thousands."""
    from focus_picker.deep.student import build_student

    return round(build_student(DEFAULT_BINS, backbone).count_params() / 1000)


def other_networks(n_features: int) -> dict[str, "keras.Model"]:
    """Networks beside the student, untrained, by what is different."""
    import keras

    from focus_picker.deep.student import build_student
    from focus_picker.hybrid.teacher import build_teacher

    keras.utils.set_random_seed(SEED)
    return {
        "twice its channels": build_student(DEFAULT_BINS, "focus_net_wide", n_features, WINDOW_PX),
        "image and features": build_teacher(DEFAULT_BINS, n_features, size=WINDOW_PX),
    }


@dataclass(frozen=True)
class Stranger:
    """A test folder: its truth, and its images as the networks see them."""

    truth: pd.DataFrame
    windows: Windows

    @classmethod
    def of(cls, truth: pd.DataFrame, standard: Standardiser) -> "Stranger":
        """Read the images and measure them."""
        image = load_windows(list(truth["path"]))
        nothing = np.zeros(len(image))
        return cls(truth, Windows(image, nothing, nothing, nothing, standard(measured(image))))

    def at_scale(self, pixel_um: float, aperture: float) -> "Stranger":
        """The same at the pixel that ``SAMPLING`` asks for."""
        image = np.stack([resampled(image, pixel_um, aperture) for image in self.windows.image])
        return replace(self, windows=replace(self.windows, image=image))


def needed(windows: Windows, stacks: int) -> Windows:
    """What is held back, and enough of the others for ``stacks`` stacks also where a kind is left out."""
    first = np.isin(windows.stack, np.unique(windows.stack)[: round(1.3 * stacks)])
    return windows.select(first | held_back(windows))


def at_known_scale(windows: Windows) -> Windows:
    """The same images with the pixel that ``SAMPLING`` asks for, which the drawn microscope's settings tell."""
    image = np.empty_like(windows.image)
    for at, (kind, stack) in enumerate(zip(windows.kind, windows.stack, strict=True)):
        instrument = draw(ALL_KINDS[kind], randomness(int(stack)))
        image[at] = resampled(windows.image[at], instrument.pixel_um, instrument.numerical_aperture)
    return replace(windows, image=image)


def resampled(image: np.ndarray, pixel_um: float, aperture: float) -> np.ndarray:
    """Window of the same size, its pixel ``lambda / (4 NA)`` over ``SAMPLING``."""
    scale = SAMPLING * pixel_um * 4 * aperture / GREEN_UM
    kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return native_window(cv2.resize(image, None, fx=scale, fy=scale, interpolation=kernel), image.shape[0])


def by_kind(network: "keras.Model", windows: Windows) -> dict[str, dict[str, float]]:
    """Figures of each kind."""
    score = scored(network, windows)
    sure = np.ones(len(score), bool)
    return {
        name: side_figures(score[own], windows.score[own], sure[own], SCORE_PER_SLICE)
        for name in KINDS
        if (own := windows.kind == ALL_KINDS.index(name)).any()
    }


def scored(network: "keras.Model", windows: Windows) -> np.ndarray:
    """Score ``(N,)`` of each image."""
    return DEFAULT_BINS.quantile(distributions(network, windows, WINDOW_PX), 0.5)


def part_row(name: str, network: "keras.Model", test: Windows, strangers: dict[str, Stranger]) -> Row:
    """Row of a network: drawn kinds on the mean, then each test folder."""
    drawn = pd.DataFrame(by_kind(network, test)).T
    row: Row = {
        "trained": name,
        "drawn": float(drawn["spearman"].mean()),
        "drawn, sign": float(drawn["sign"].mean()),
    }
    for folder, stranger in strangers.items():
        made = figures(folder, stranger.truth.assign(score=scored(network, stranger.windows), sure=True))
        row |= {folder: made["within a stack"], f"{folder}, sign": made["sign right"]}
    return row


def kind_row(name: str, met: dict[str, float], missed: dict[str, float]) -> Row:
    """Row of a kind: with and without it in training."""
    return {
        "kind": name,
        "spearman, met": met["spearman"],
        "left out": missed["spearman"],
        "sign, met": met["sign"],
        "sign, left out": missed["sign"],
    }


main = partial(run, compare_parts)

if __name__ == "__main__":
    raise SystemExit(main())
