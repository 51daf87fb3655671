"""Command line of Focus Picker. Each command imports what it needs when it runs, so that the others start at once."""

import json
import logging
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

# `python cli.py` in a checkout or an unpacked submission: this folder is the package, whether installed or not.
if not __package__:
    _here = spec_from_file_location("focus_picker", Path(__file__).with_name("__init__.py"))
    assert _here is not None
    assert _here.loader is not None
    sys.modules["focus_picker"] = module_from_spec(_here)
    _here.loader.exec_module(sys.modules["focus_picker"])

from focus_picker.dataset import shell
from focus_picker.dataset.errors import InputError

app = typer.Typer(
    help="Signed focus scores of white-blood-cell images, and the best plane of a z-stack.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

INTERRUPTED = 130  # what Typer makes of Ctrl-C
EXTRAS = {  # what the plain install leaves out: the extra of pyproject.toml, and the modules that it brings
    "baseline": {"lightgbm", "pandas", "scipy", "sklearn"},
    "train": {"absl", "keras", "tensorflow"},
    "serve": {"fastapi", "prometheus_client", "pydantic_settings", "starlette", "uvicorn"},
    "microscope": {"pymmcore_plus", "useq"},
    "track": {"mlflow", "sqlalchemy"},
    "onnx": {"onnxruntime", "tf2onnx"},
}

OUTPUTS = ("output", "plot", "sheet", "save_profile")  # options that name what a command writes

Dataset = Annotated[Path, typer.Argument(metavar="DATASET", help="Folder with focus_labels.csv and cell_stacks/.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")]
Jobs = Annotated[int, typer.Option(min=1, max=256, help="Processes.")]
Model = Annotated[
    Path | None,
    typer.Option(help="focus_model.tflite, baseline.txt or a run's folder.", show_default="the shipped model"),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
Track = Annotated[bool, typer.Option("--track", help="Log the run to MLflow (extra `track`, docs/tracking.md).")]


@app.command(
    epilog="Examples: `cli.py simulate demo/data --stacks 60` · "
    "`cli.py simulate data --from-images my_crops --instrument dry50 --stacks 400`"
)
def simulate(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder to make.")],
    stacks: Annotated[int, typer.Option(help="Number of z-stacks.")] = 60,
    seed: Seed = 0,
    instrument: Annotated[
        list[str],
        typer.Option(
            help="Name in conf/instruments, a YAML file, or `drawn` / `drawn:KIND` for a microscope drawn by the seed; "
            "repeat it to mix instruments."
        ),
    ] = ["dry50"],  # noqa: B006 - Typer reads the default once and never changes it
    from_images: Annotated[
        Path | None, typer.Option(help="Folder of in-focus crops that become the cells.", show_default=False)
    ] = None,
    source_pixel_um: Annotated[float, typer.Option(help="Pixel size of those crops, micrometres.")] = 0.1,
    vary: Annotated[float, typer.Option(help="Spread of the optics from field to field, 0 to 0.5.")] = 0.0,
    jobs: Jobs = 2,
    overwrite: Annotated[bool, typer.Option(help="Replace a data set that simulate made.")] = False,
) -> None:
    """Make a data set with known truth by partially coherent wave optics."""
    from focus_picker.dataset.simulation.generate import simulate_dataset
    from focus_picker.dataset.simulation.kinds import find_instrument

    table = simulate_dataset(
        dataset,
        [find_instrument(name, seed) for name in instrument],
        stacks=stacks,
        seed=seed,
        from_images=from_images,
        source_pixel_um=source_pixel_um,
        vary_by=vary,
        jobs=jobs,
        overwrite=overwrite,
    )
    print(f"{dataset}: {len(table)} images in {stacks} stacks, labels and truth written")


@app.command(epilog="Example: `cli.py inspect my_data --output contact_sheet.png`")
def inspect(
    dataset: Dataset,
    output: Annotated[
        Path | None, typer.Option(help="Contact sheet to write (.jpg or .png).", show_default=False)
    ] = None,
    jobs: Jobs = 2,
) -> None:
    """Tell what is in a data set and what is wrong with it; exit 2 if it cannot be used for training."""
    from focus_picker.dataset.inspection import describe, inspect_dataset
    from focus_picker.dataset.labels import check_labels
    from focus_picker.dataset.sheet import contact_sheet

    inspection = inspect_dataset(dataset, jobs=jobs)
    print(describe(inspection))
    if inspection.n_images > inspection.n_unreadable:
        labels, _ = check_labels(dataset)
        sheet = contact_sheet(dataset, labels, output or Path(f"{dataset.resolve().name}_contact_sheet.jpg"))
        print(f"contact sheet: {sheet}")
    if not inspection.usable:
        raise InputError(f"{dataset} cannot be used for training; correct the errors listed above")


@app.command(epilog="Example: `cli.py baseline my_data --output results/runs/baseline`")
def baseline(
    dataset: Dataset,
    output: Annotated[Path, typer.Option(metavar="RUN", help="Run folder to write.")],
    seed: Seed = 0,
    jobs: Jobs = 2,
    track: Track = False,
) -> None:
    """Train and test the baseline: handcrafted focus measures and cues into LightGBM."""
    from focus_picker.evaluation.run_claim import claimed_run
    from focus_picker.evaluation.summary import summarise
    from focus_picker.training.baseline_run import run_baseline
    from focus_picker.training.tracking.tracker import tracked

    options: dict = {"dataset": dataset, "seed": seed, "jobs": jobs}
    with claimed_run(output, "baseline"), tracked("baseline", output, track, **options) as tracker:
        metrics = run_baseline(dataset, output, seed=seed, jobs=jobs)
        print(summarise(metrics))
        print(f"run folder: {output}")
        tracker.log_run(output)


@app.command(
    "train-cnn",
    epilog="Examples: `cli.py train-cnn my_data --output results/runs/cnn` · "
    "`cli.py train-cnn my_data --output results/runs/cnn --preset quick --init none`",
)
def train_cnn(
    dataset: Dataset,
    output: Annotated[Path, typer.Option(metavar="RUN", help="Run folder to write.")],
    preset: Annotated[str, typer.Option(help="quick, standard, full, or a YAML file.")] = "standard",
    init: Annotated[
        str,
        typer.Option(help="best_model.h5 or run folder to start from; 'default' is the shipped one, 'none' random."),
    ] = "default",
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last finished epoch.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Discard the checkpoints of an interrupted run.")
    ] = False,
    controls: Annotated[
        bool, typer.Option("--controls", help="Also train the controls (takes several times longer).")
    ] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Also export ONNX (extra `onnx`).")] = False,
    seed: Seed = 0,
    jobs: Jobs = 2,
    track: Track = False,
) -> None:
    """Train the CNN: teacher on image and features, distilled into the student that ships as focus_model.tflite."""
    from focus_picker.deep.quiet import quiet_stderr

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():  # TensorFlow greets from C++ before its log level counts
        if onnx:  # missed now, not after hours of training
            import onnxruntime  # noqa: F401
            import tf2onnx  # noqa: F401
        from focus_picker.training.cnn_run import run_cnn
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # its advice on retracing is for programmers
    from focus_picker.evaluation.run_claim import claimed_run
    from focus_picker.evaluation.summary import summarise, summarise_epoch
    from focus_picker.models import DEFAULT_WEIGHTS
    from focus_picker.training.tracking.tracker import finished_epochs, tracked

    start = {"default": DEFAULT_WEIGHTS, "none": None}.get(init, init)
    settings: dict = {
        "resume": resume,
        "overwrite": overwrite,
        "controls": controls,
        "onnx": onnx,
        "seed": seed,
        "jobs": jobs,
    }
    options = {"dataset": dataset, "preset": preset, "init": init, **settings}
    with claimed_run(output, "train-cnn"), tracked("train-cnn", output, track, **options) as tracker:
        if resume:
            tracker.log_epochs(finished_epochs(output))

        def report(network: str, row: dict[str, float]) -> None:
            print(summarise_epoch(network, row), file=sys.stderr, flush=True)
            tracker.log_epochs([(network, row)])

        metrics = run_cnn(dataset, output, preset=preset, init=start, report=report, **settings)
        print(summarise(metrics))
        print(f"run folder: {output}")
        tracker.log_run(output)


@app.command(
    epilog="Examples: `cli.py label stacks/ --output my_data` · "
    "`cli.py label z1.tif z2.tif --output my_data --reversed` · `cli.py label my_data --check`"
)
def label(
    stacks: Annotated[
        list[Path], typer.Argument(metavar="STACK...", help="Stacks without labels; with --check, a data set.")
    ],
    output: Annotated[
        Path | None, typer.Option(metavar="DATASET", help="Data set to write.", show_default=False)
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Hold a data set's labels against its stacks; write nothing.")
    ] = False,
    reverse: Annotated[
        bool, typer.Option("--reversed", help="Slice 0 is the far end: the lens comes nearer as numbers rise.")
    ] = False,
    score_per_slice: Annotated[float, typer.Option(min=1e-6, help="Score between neighbouring slices.")] = 0.2,
    jobs: Jobs = 2,
) -> None:
    """Label stacks by their own sharpness, as a data set; stacks that do not tell are left out and counted."""
    if check:
        from focus_picker.adaptation.labelled_dataset import check_dataset

        if output is not None or len(stacks) != 1:
            raise InputError("label --check takes one data set and writes nothing; leave --output out")
        print(check_dataset(stacks[0], jobs=jobs).in_words())
        return
    if output is None:
        raise InputError("label needs --output DATASET, the folder to write (or --check, which writes nothing)")
    from focus_picker.adaptation.direction import warning_of
    from focus_picker.adaptation.labelled_dataset import write_dataset
    from focus_picker.adaptation.labelling import in_words, label_stacks
    from focus_picker.dataset.stacks import find_stacks

    found = [stack for path in stacks for stack in find_stacks(path)]
    labelled = label_stacks(found, score_per_slice=score_per_slice, reverse=reverse, jobs=jobs)
    write_dataset(labelled, output)
    print(in_words(labelled, output))
    if warning := warning_of(labelled, score_per_slice):
        print(f"warning: {warning}", file=sys.stderr)


@app.command(epilog="Examples: `cli.py adapt stacks/ --output results/runs/mine` · `cli.py adapt my_data --output run`")
def adapt(
    sources: Annotated[
        list[Path], typer.Argument(metavar="DATASET|STACK...", help="A data set, or stacks without labels.")
    ],
    output: Annotated[Path, typer.Option(metavar="RUN", help="Run folder to write.")],
    reverse: Annotated[
        bool, typer.Option("--reversed", help="Slice 0 of unlabelled stacks is the far end, see label.")
    ] = False,
    init: Annotated[
        str, typer.Option(help="best_model.h5 or run folder to start from; 'default' is the shipped one.")
    ] = "default",
    seed: Seed = 0,
    jobs: Jobs = 2,
) -> None:
    """Make a calibrated model of this microscope from a few stacks, labelled or not, in two minutes."""
    from focus_picker.deep.quiet import quiet_stderr

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():  # TensorFlow greets from C++ before its log level counts
        from focus_picker.adaptation.adapt import adapt as adapt_to
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # its advice on retracing is for programmers
    from focus_picker.dataset.progress import staged
    from focus_picker.evaluation.run_claim import claimed_run
    from focus_picker.models import DEFAULT_WEIGHTS

    start = DEFAULT_WEIGHTS if init == "default" else init
    with claimed_run(output, "adapt"), staged() as report:
        metrics = adapt_to(sources, output, reverse=reverse, init=start, seed=seed, jobs=jobs, report=report)
    print(metrics["words"])
    print(f"run folder: {output}")


autofocus_app = typer.Typer(help="A microscope that focuses itself (extra `microscope`, docs/autofocus.md).")
app.add_typer(autofocus_app, name="autofocus", no_args_is_help=True)

ScopeConfig = Annotated[Path, typer.Option(help="Micro-Manager configuration.")]
ScopeSettings = Annotated[Path, typer.Option(help="YAML with the limits of the drive, see docs/autofocus.md.")]
Adapters = Annotated[
    Path | None, typer.Option(help="Folder of Micro-Manager's device adapters.", show_default="Micro-Manager's own")
]


@autofocus_app.command(
    "calibrate",
    epilog="Example: `cli.py autofocus calibrate --config scope.cfg --settings scope.yaml --depth-um 0.84 "
    "--output scope`",
)
def autofocus_calibrate(
    config: ScopeConfig,
    settings: ScopeSettings,
    depth_um: Annotated[float, typer.Option(min=0.05, help="Depth of field, n lambda / NA^2, micrometres.")],
    output: Annotated[Path, typer.Option(help="Folder to write.")],
    positions: Annotated[
        Path | None, typer.Option(help="CSV, .pos or .json of positions.", show_default="a spiral about here")
    ] = None,
    count: Annotated[int, typer.Option(min=9, help="Positions of the spiral.")] = 24,
    spacing_um: Annotated[float, typer.Option(min=1, help="Distance of the spiral's positions.")] = 200.0,
    range_um: Annotated[float, typer.Option(min=1, help="Half of each recorded stack.")] = 10.0,
    seed: Seed = 0,
    jobs: Jobs = 2,
    adapters: Adapters = None,
) -> None:
    """Record stacks, train on them, measure side, backlash, noise and usable range; starts near focus, ends there."""
    from focus_picker.autofocus.calibrate import Plan
    from focus_picker.autofocus.micromanager.commands import calibrate_core, load_core
    from focus_picker.autofocus.positions import read_positions
    from focus_picker.autofocus.settings import read_settings

    def train(stacks: Path, run: Path) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from focus_picker.adaptation.adapt import adapt as adapt_to

        adapt_to(stacks, run, seed=seed, jobs=jobs)

    places = [(place.x_um, place.y_um) for place in read_positions(positions)] if positions else count
    core = load_core(config, adapters)
    made = calibrate_core(
        core, read_settings(settings), Plan(depth_um, range_um), places, output, train, spacing_um=spacing_um,
        log=lambda step: print(step.why, file=sys.stderr) if step.kind == "stack" else None,
    )  # fmt: skip
    print(
        f"{output}: measured on {made.stacks} held-out stacks; "
        f"a rising drive {'raises' if made.direction > 0 else 'lowers'} the score; "
        f"usable to {made.usable_um:.1f} um; backlash {made.backlash_um:.2f} um"
    )


@autofocus_app.command(
    "run",
    epilog="Example: `cli.py autofocus run --config scope.cfg --settings scope.yaml --calibration scope "
    "--positions scan.csv --output found --dry-run`",
)
def autofocus_run(
    config: ScopeConfig,
    settings: ScopeSettings,
    calibration: Annotated[Path, typer.Option(help="Folder that calibrate wrote.")],
    positions: Annotated[Path, typer.Option(help="CSV, .pos or .json of positions.")],
    output: Annotated[Path, typer.Option(help="Folder for log, pictures, surface and positions with z.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Take one frame a position; the drive does not move.")
    ] = False,
    surface: Annotated[str, typer.Option(help="plane or spline.")] = "plane",
    adapters: Adapters = None,
) -> None:
    """Focus at every position; exit 2 if none was confirmed."""
    from focus_picker.autofocus.micromanager.autofocuser import Autofocuser
    from focus_picker.autofocus.micromanager.commands import load_core, run_core
    from focus_picker.autofocus.positions import read_positions
    from focus_picker.autofocus.settings import read_settings

    made = read_settings(settings)
    made = made.model_copy(update={"dry_run": dry_run or made.dry_run})
    focuser, places = Autofocuser.from_folder(calibration, made), read_positions(positions)
    run_core(
        load_core(config, adapters), focuser, places, output, surface_kind=surface,
        told=lambda place, result: print(
            f"{place.name}: {result.message} ({result.n_images} frames, {result.seconds:.1f} s)", flush=True
        ),
    )  # fmt: skip
    confirmed = sum(map(bool, focuser.results.values()))
    print(f"{output}: focus confirmed at {confirmed} of {len(places)} positions", file=sys.stderr)
    if not confirmed and not made.dry_run:
        raise InputError("focus was confirmed nowhere; the reasons stand above")


@app.command(epilog="Example: `cli.py score crops/ --model results/runs/baseline --output predictions.csv`")
def score(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Images or folders of images.")],
    model: Model = None,
    output: Annotated[Path | None, typer.Option(help="Write a CSV here.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Score single images: signed score, 90 % interval, and what it means. CSV on stdout unless told otherwise."""
    from focus_picker.dataset.files import atomic_text
    from focus_picker.models import DEFAULT_MODEL
    from focus_picker.stack_inference.loading import load_model
    from focus_picker.stack_inference.single_image import find_images, score_files, write_scores

    rows = list(score_files(find_images(paths), load_model(model or DEFAULT_MODEL)))
    for row in rows:
        if row.problem:
            print(row.problem, file=sys.stderr)
    for advice in dict.fromkeys(row.advice for row in rows if row.advice):
        print(f"note: {advice}", file=sys.stderr)
    if output is not None:
        with atomic_text(output) as file:
            write_scores(rows, file)
        print(f"{output}: {len(rows)} images", file=sys.stderr)
    if as_json:
        for row in rows:
            print(json.dumps(row.as_row()))
    elif output is None:
        write_scores(rows, sys.stdout, digits=4)
    if all(row.status == "unreadable" for row in rows):
        raise InputError(f"none of the {len(rows)} files could be scored; the reasons stand above")


@app.command(
    epilog="Examples: `cli.py explain cell.jpg` · "
    "`cli.py explain cell.jpg --cnn results/runs/cnn --baseline results/runs/baseline --output why.png`"
)
def explain(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image file.")],
    cnn: Annotated[
        Path | None, typer.Option(help="best_model.h5 or a run's folder.", show_default="the shipped network")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="baseline.txt or a run's folder.", show_default="the shipped baseline")
    ] = None,
    output: Annotated[Path, typer.Option(help="Picture to write (.png).")] = Path("explain.png"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON object.")] = False,
) -> None:
    """Show why an image got its score: where the network looked and what moved the baseline, as one picture."""
    from focus_picker.explain.explanation import Models, as_record, find_models
    from focus_picker.explain.explanation import explain as explain_image
    from focus_picker.explain.plot import check_output, save_explanation
    from focus_picker.models import DEFAULT_BASELINE, DEFAULT_WEIGHTS

    check_output(output)
    explanation = explain_image(image, find_models(cnn, baseline, Models(DEFAULT_WEIGHTS, DEFAULT_BASELINE)))
    save_explanation(explanation, output)
    if as_json:
        print(json.dumps(as_record(explanation) | {"picture": str(output)}))
        return
    for model, verdict in explanation.verdicts.items():
        print(f"{model}: {verdict.in_words()}")
    for note in explanation.notes:
        print(f"note: {note}")
    print(f"{output}: written")


@app.command(
    "pick-focus",
    epilog="Examples: `cli.py pick-focus stack_folder --plot pick.png` · "
    "`cli.py pick-focus my_data/cell_stacks --output picks.csv` · `cli.py pick-focus z.ome.tif --json`",
)
def pick_focus(
    stacks: Annotated[
        list[Path], typer.Argument(metavar="STACK...", help="Folder of slices, folder of stacks, or multi-page TIFF.")
    ],
    model: Model = None,
    method: Annotated[
        str | None, typer.Option(help="fused (default) or a single method; see docs/stack_inference.md.")
    ] = None,
    measure: Annotated[str, typer.Option(help="Focus measure of the sharpness curve.")] = "tenengrad",
    z_step_um: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=1000, help="Distance of the slices; best_z_um is given when known.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
    output: Annotated[Path | None, typer.Option(help="Write picks.csv here.", show_default=False)] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture of the pick here.", show_default=False)] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Write a contact sheet of the picked slices here (at most 48 stacks).", show_default=False),
    ] = None,
    jobs: Jobs = 2,
) -> None:
    """Find the best plane of z-stacks, between slices, with its standard error and a status."""
    from focus_picker.dataset.stacks import find_stacks
    from focus_picker.models import DEFAULT_MODEL
    from focus_picker.stack_inference.batch import pick_many, write_picks
    from focus_picker.stack_inference.decide import uses_scores
    from focus_picker.stack_inference.loading import load_model
    from focus_picker.stack_inference.plot import THUMBNAIL_PX, picked_sheet, plot_picks

    found = [stack for path in stacks for stack in find_stacks(path)]
    # A named curve fit without a model means the sharpness curve; only what uses scores takes the shipped model.
    if model is None and uses_scores(method):
        model = DEFAULT_MODEL
    picks = []
    for pick in pick_many(
        found,
        measure=measure,
        method=method,
        model=load_model(model) if model else None,
        z_step_um=z_step_um,
        thumbnail_px=THUMBNAIL_PX if plot or sheet else 0,
        jobs=jobs,
    ):
        print(pick.as_json() if as_json else pick.as_sentence(), flush=True)
        picks.append(pick)
    if output is not None:
        write_picks(picks, output)
    if plot is not None:
        plot_picks(picks, plot)
    if sheet is not None:
        picked_sheet(picks, sheet)
    if all(pick.status == "unreadable" for pick in picks):
        raise InputError(f"none of the {len(picks)} stacks could be read; the reasons stand above")


@app.command(epilog="Example: `cli.py compare results/runs/baseline results/runs/cnn --output results`")
def compare(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUN...]", help="Run folders; all below results/runs if none given.")
    ] = None,
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="For compare.md, .csv and .png.")] = Path("results"),
    track: Track = False,
) -> None:
    """Put runs side by side: errors, sign accuracy, coverage, and whether they differ.

    The tables also go into report.md beside the output folder, between its markers.
    """
    from focus_picker.evaluation.compare import compare_runs, to_markdown
    from focus_picker.evaluation.runs import find_runs
    from focus_picker.training.tracking.tracker import tracked

    # The report lies beside the results folder; a comparison written elsewhere leaves it alone.
    report = output.parent / "report.md"
    compared = runs or find_runs("results/runs")
    with tracked("compare", output, track, runs=compared) as tracker:
        comparison = compare_runs(compared, output, report if report.is_file() else None)
        print(to_markdown(comparison))
        print(f"written: {output / 'compare.md'}, compare.csv and compare.png")
        tracker.log_comparison(comparison, compared, output)


@app.command(
    epilog="Examples: `cli.py drift last_month today --plot drift.png` · "
    "`cli.py drift my_data --save-profile reference.json` · `cli.py drift reference.json today --output drift.csv`"
)
def drift(
    reference: Annotated[
        Path, typer.Argument(metavar="REFERENCE", help="Data set, folder of images or stacks, or a saved profile.")
    ],
    new: Annotated[
        Path | None,
        typer.Argument(metavar="NEW", help="Data set or folder; may be left out with --save-profile."),
    ] = None,
    model: Model = None,
    output: Annotated[
        Path | None, typer.Option(help="Write one row a quantity here (CSV).", show_default=False)
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture here (.png).", show_default=False)] = None,
    save_profile: Annotated[
        Path | None,
        typer.Option(help="Write the reference as JSON, for later and for the service.", show_default=False),
    ] = None,
    group_by: Annotated[
        str, typer.Option(help="What counts as one piece of evidence: auto, folder or image; see docs/drift.md.")
    ] = "auto",
    as_json: AsJson = False,
    jobs: Jobs = 2,
) -> None:
    """Tell whether new images differ from a reference, in what, and what that usually means.

    The exit code is 0 whether they drift or not.
    """
    from focus_picker.drift.comparison import read_reference, run_drift
    from focus_picker.drift.plot import plot_drift
    from focus_picker.models import DEFAULT_MODEL

    options: dict = {"model": model or DEFAULT_MODEL, "group_by": group_by, "jobs": jobs}
    if new is None and save_profile is None:
        raise InputError("drift compares REFERENCE with NEW; give both, or REFERENCE with --save-profile")
    if new is None:
        profile, problems = read_reference(reference, **options)
    else:
        comparison = run_drift(reference, new, **options)
        profile, problems = comparison.profile, comparison.problems
        print(json.dumps(comparison.as_json()) if as_json else comparison.as_text())
        if output is not None:
            comparison.write_table(output)
        if plot is not None:
            plot_drift(comparison, plot)
    for problem in problems:
        print(problem, file=sys.stderr)
    if save_profile is not None:
        profile.write(save_profile)
        print(f"{save_profile}: profile of {profile.n_images} images in {profile.n_groups} groups", file=sys.stderr)


@app.command(epilog="Example: `cli.py package results/runs/cnn --name focus_picker --output submission.zip`")
def package(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished train-cnn run.")],
    name: Annotated[str, typer.Option(help="Folder name inside the zip.")],
    output: Annotated[Path, typer.Option(help="Zip file to write.")],
) -> None:
    """Make the submission zip: model, weights, train.py with its code, report; checked by scoring an image with it."""
    from focus_picker.training.package import package_run

    names = package_run(run, name, output)
    print(f"{output}: {len(names)} files, {output.stat().st_size / 1e6:.1f} MB; the unpacked model scored its sample")


@app.command(epilog="Examples: `cli.py serve` · `cli.py serve --port 9000 --model results/runs/cnn`")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    model: Model = None,
    reference: Annotated[
        Path | None, typer.Option(help="Profile of `drift --save-profile`: /metrics then tells drift from it.")
    ] = None,
    adapt: Annotated[bool, typer.Option("--adapt", help="Let clients adapt a model (extra `train`).")] = False,
) -> None:
    """Serve scores and picks over HTTP, with a page to drop images and stacks on; stops on Ctrl-C.

    Limits and the bearer token are set by environment variables; see docs/serve.md.
    """
    from focus_picker.serve.server import run
    from focus_picker.serve.settings import load_settings

    run(
        load_settings(model=model, reference=reference, adapt=adapt or None),
        host,
        port,
        announce=lambda address: print(f"{address} (Ctrl-C stops)", flush=True),
    )


def _how_to_install(error: ModuleNotFoundError) -> str:
    """Name the extra that brings the missing module; a module that is in none is a defect of ours, and raised."""
    module = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if module in modules:
            also = "" if extra != "baseline" else " (or [train], where a network is to be trained)"
            return f"this needs {module}, which is not installed: pip install 'focus-picker[{extra}]'{also}"
    raise error


class Command(TyperCommand):
    """A command whose outputs are looked at before it reads anything, and whose prints are out when it ends."""

    def invoke(self, ctx: Any) -> Any:
        """Check, run and flush."""
        try:
            self._check_outputs(ctx.params)
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader has seen enough, as with `| head`
            shell.drop_stdout()
            return shell.BROKEN_PIPE
        except KeyboardInterrupt:
            shell.end_workers()
            raise
        except OSError as error:
            raise InputError(shell.in_one_sentence(error)) from error
        return result

    def _check_outputs(self, values: dict[str, Any]) -> None:
        from focus_picker.dataset.outputs import check_output

        outputs = [parameter for parameter in self.params if parameter.name in OUTPUTS and values[parameter.name]]
        read = [Path(path) for name, value in values.items() if name not in OUTPUTS for path in _paths(value)]
        for parameter in outputs:
            check_output(values[parameter.name], read, folder=parameter.metavar in ("DATASET", "FOLDER", "RUN"))
            read.append(values[parameter.name])  # nor may one result replace another


def _paths(value: Any) -> list[str | Path]:
    """Paths among the values of an option: what it says, whether it was declared as a path or as a name or path."""
    values = value if isinstance(value, list | tuple) else [value]
    return [path for path in values if isinstance(path, Path) or (isinstance(path, str) and len(path) < 200)]


for registered in app.registered_commands:
    registered.cls = Command


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 2 the input is at fault, 130 interrupted; a defect raises."""
    shell.open_streams()
    try:
        with shell.ended_by_sigterm():
            code = app(args=arguments, standalone_mode=False) or 0
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except typer.TyperException as error:
        if message := error.format_message():  # empty when the help was shown for want of arguments
            print(f"error: {message} (see --help)", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        print(f"error: {_how_to_install(error)}", file=sys.stderr)
        return 2
    if code == INTERRUPTED:
        print("interrupted: nothing half-written is left behind", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
