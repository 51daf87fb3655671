"""How far real images lie from simulated ones: by each feature, by a classifier, and in how they change with focus."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from benchmarks.report import DATA, Output, Report, Row, run
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import read_image
from focus_picker.dataset.parallel import parallel_map
from focus_picker.dataset.simulation.kinds import KINDS, draw_instrument
from focus_picker.dataset.stacks import natural_key
from focus_picker.deep.window import native_window
from focus_picker.features import CUES, MEASURES, measure
from focus_picker.training.default_data import SCORE_PER_SLICE, simulate_windows

REAL = ("real_blood", "smear_stack", "lowcost_crops")
SIDE_PX = 96  # all are measured in windows of one size, so that size itself tells nothing
NEAR = (-SCORE_PER_SLICE, 0.0, SCORE_PER_SLICE)  # planes one slice about focus
FAR = (-1.4, -1.0, -0.6, 0.6, 1.0, 1.4)
PICTURE_SHARE, MOST_IMAGES = 0.75, 600
LISTED = 15  # features that real images leave the simulated range by most
FOREST = 200  # trees


def compare_with_real_images(
    output: Output = None,
    data: Annotated[Path, typer.Option(help="Folder of the real images.")] = DATA,
    stacks: Annotated[int, typer.Option(min=1, help="Drawn microscopes of each kind.")] = 25,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> Report:
    """Report where real images lie in the simulated cloud."""
    real = {name: real_images(data / name) for name in REAL if (data / name).is_dir()}
    if not real:
        raise InputError(f"none of {', '.join(REAL)} is in {data}; give the folder that holds them with --data")
    crops = sorted((data / "wbc_crops").rglob("*.jpg"))
    orders = [(kind, number) for number in range(stacks) for kind in KINDS]
    made = list(parallel_map(partial(simulate, crops), orders, "simulating", jobs=jobs))
    cloud = measured([image for images in made for image in images])
    features = {name: measured(images) for name, images in real.items()}
    stack_of = np.repeat(np.arange(len(made)), len(NEAR) + len(FAR))
    note = (
        f"{len(cloud)} simulated images of {len(orders)} drawn microscopes, {SIDE_PX} px windows. Inside: between the "
        "least and the greatest simulated value. AUC: a random forest that tells real from simulated, left-out fifths "
        "of stacks; 0.5 is what it should be. Antisymmetric over symmetric: root mean square of half the difference of "
        "the planes one slice to both sides of focus, over that of their mean less the plane in focus."
    )
    tables = {
        "Images in the simulated range": [
            inside_row(name, table, cloud) | {"AUC": separability(table, cloud, stack_of)}
            for name, table in features.items()
        ],
        "Features that leave it most": outside_rows(features, cloud),
        "Change through focus": [*through_focus_rows(data, real), simulated_focus_row(made)],
    }
    return Report("Realism of the simulation", tables, output, note)


def simulate(crops: Sequence[Path], order: tuple[str, int]) -> list[np.ndarray]:
    """Windows of one drawn microscope, at ``NEAR`` and then ``FAR`` scores."""
    kind, number = order
    rng = np.random.default_rng((300, list(KINDS).index(kind), number))
    instrument = draw_instrument(kind, rng)
    picture = crops[int(rng.integers(len(crops)))] if crops and rng.random() < PICTURE_SHARE else None
    images, _ = simulate_windows(picture, instrument, rng, np.array(NEAR + FAR))
    return [native_window(image, SIDE_PX) for image in images]


def real_images(folder: Path) -> list[np.ndarray]:
    """Windows of a folder's images, evenly chosen where there are very many."""
    paths = [path for path in folder.rglob("*") if path.suffix in {".jpg", ".png"}]
    paths.sort(key=lambda path: natural_key(path.as_posix()))
    return [native_window(read_image(path), SIDE_PX) for path in paths[:: -(-len(paths) // MOST_IMAGES)]]


def measured(images: Sequence[np.ndarray]) -> pd.DataFrame:
    """Feature table of images in memory."""
    return pd.DataFrame([measure(image) for image in images], columns=[*MEASURES, *CUES])


def inside_row(name: str, table: pd.DataFrame, cloud: pd.DataFrame) -> Row:
    """How many features of how many images lie in the cloud's range."""
    inside = ((table >= cloud.min()) & (table <= cloud.max())).to_numpy()
    per_image = inside.mean(axis=1)
    return {
        "images of": name,
        "n": len(table),
        "features inside": float(inside.mean()),
        "images with 95 % of their features inside": float((per_image >= 0.95).mean()),
    }


def separability(table: pd.DataFrame, cloud: pd.DataFrame, stack_of: np.ndarray) -> float:
    """AUC of a forest that tells real from simulated images, each judged by trees that saw no image of its stack."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    both = pd.concat([table, cloud]).to_numpy(np.float32)
    is_real = np.repeat([1, 0], [len(table), len(cloud)])
    groups = np.concatenate([-1 - np.arange(len(table)) // 10, stack_of])  # real stacks have some ten planes
    forest = RandomForestClassifier(FOREST, min_samples_leaf=3, class_weight="balanced", random_state=0, n_jobs=1)
    told = cross_val_predict(
        forest,
        np.nan_to_num(both, posinf=0, neginf=0),
        is_real,
        groups=groups,
        cv=StratifiedGroupKFold(5),
        method="predict_proba",
    )
    return float(roc_auc_score(is_real, told[:, 1]))


def outside_rows(features: dict[str, pd.DataFrame], cloud: pd.DataFrame) -> list[Row]:
    """Features with the largest share of real images outside the cloud's range, by set."""
    shares = pd.DataFrame(
        {name: ((table < cloud.min()) | (table > cloud.max())).mean() for name, table in features.items()}
    )
    worst = shares.max(axis=1).sort_values(ascending=False).head(LISTED).index
    return [{"feature": feature, **shares.loc[feature].to_dict()} for feature in worst]


def antisymmetry(before: np.ndarray, focus: np.ndarray, after: np.ndarray) -> float:
    """Antisymmetric over symmetric change about focus; mean brightness of the planes does not count."""
    planes = [image.astype(np.float32) for image in (before, focus, after)]
    low, middle, high = (image / max(image.mean(), 1.0) for image in planes)
    symmetric = np.sqrt((((low + high) / 2 - middle) ** 2).mean())
    return float(np.sqrt((((high - low) / 2) ** 2).mean()) / max(symmetric, 1e-9))


def through_focus_rows(data: Path, real: dict[str, list[np.ndarray]]) -> list[Row]:
    """Rows of the real stacks whose sharpest plane is known and has neighbours."""
    table = data / "real_blood" / "sharpest.csv"
    if "real_blood" not in real or not table.is_file():
        return []
    best = pd.read_csv(table).set_index("image_path").iloc[:, 0]
    ratios = []
    for stack, slices in best.groupby(best.index.str.rsplit("/", n=1).str[0]):
        middle = round(slices.iloc[0])
        planes = [data / "real_blood" / str(stack) / f"{middle + step}.jpg" for step in (-1, 0, 1)]
        if all(path.is_file() for path in planes):
            ratios.append(antisymmetry(*(native_window(read_image(path), SIDE_PX) for path in planes)))
    return [focus_row("real_blood, one plane of 0.4 um", ratios)]


def simulated_focus_row(made: Sequence[Sequence[np.ndarray]]) -> Row:
    """Row of the drawn microscopes."""
    return focus_row("drawn, 0.6 depths of field", [antisymmetry(*images[: len(NEAR)]) for images in made])


def focus_row(name: str, ratios: Sequence[float]) -> Row:
    """Quartiles of the ratio."""
    low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    return {"stacks of": name, "n": len(ratios), "a quarter below": low, "median": median, "a quarter above": high}


main = partial(run, compare_with_real_images)

if __name__ == "__main__":
    raise SystemExit(main())
