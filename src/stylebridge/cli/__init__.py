"""The command line: parses, calls a job, prints. No logic."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stylebridge.errors import StylebridgeError, UserError
from stylebridge.version import __version__

app = typer.Typer(
    help="Carry a segmentation model over to a domain without labels.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Data: draw the built-in toy world.", no_args_is_help=True)
recipes_app = typer.Typer(help="Recipes: list them, or show one.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(recipes_app, name="recipes")

#: The exit code that typer gives to Ctrl-C.
_INTERRUPTED = 130

Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu or cuda")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on the terminal")]
LabelSpaceOption = Annotated[
    str | None,
    typer.Option("--label-space", help="Name or YAML file; without it, taken from the labels and told"),
]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version")] = False) -> None:
    if version:
        print(f"stylebridge {__version__}")
        raise typer.Exit


@app.command()
def adapt(
    source: Annotated[Path | None, typer.Option(help="Labelled folder: images/ and labels/")] = None,
    target: Annotated[Path | None, typer.Option(help="Unlabelled folder: images/")] = None,
    out: Annotated[Path, typer.Option(help="Run folder to make")] = Path("runs/adapt"),
    recipe: Annotated[
        str | None, typer.Option(help="Recipe name (see `stylebridge recipes list`) or YAML file")
    ] = None,
    label_space: LabelSpaceOption = None,
    evaluate_on: Annotated[
        Path | None, typer.Option(help="Labelled folder of the target's domain, for the report only")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change the recipe: stages.0.trainer.steps=100")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Replaces the recipe's seed", min=0)] = None,
    device: Device = "auto",
    workers: Annotated[int | None, typer.Option(help="Processes that load images", min=0)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out")] = False,
    reuse: Annotated[
        Path | None, typer.Option(help="Take finished stages over from this run where all settings are equal")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Adapt a segmentation model from a labelled source to an unlabelled target."""
    from stylebridge.jobs.adapt import adapt as job
    from stylebridge.jobs.tables import print_adaptation

    result = job(
        source,
        target,
        out,
        recipe=recipe,
        label_space=label_space,
        evaluate_on=evaluate_on,
        seed=seed,
        device=device,
        overrides=set_,
        resume=resume,
        overwrite=overwrite,
        reuse=reuse,
        workers=workers,
        quiet=quiet,
    )
    print_adaptation(result, Console())


@app.command()
def segment(
    run: Annotated[Path, typer.Argument(help="Run folder of `stylebridge adapt`")],
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images")],
    out: Annotated[Path, typer.Option(help="Folder for the label maps")],
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write images with colours laid over")
    ] = False,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over files in --out")] = False,
    quiet: Quiet = False,
) -> None:
    """Label images with an adapted model: one palette PNG an image, values are class indices."""
    from stylebridge.jobs.segment import segment as job

    written = job(run, images, out, overlay=overlay, device=device, overwrite=overwrite, quiet=quiet)
    Console().print(f"{written} label map(s) written to {out}", highlight=False)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder of `stylebridge adapt`")],
    data: Annotated[Path, typer.Option(help="Labelled folder: images/ and labels/")],
    label_space: LabelSpaceOption = None,
    out: Annotated[Path | None, typer.Option(help="Also write the scores to this JSON file")] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Score an adapted model on labelled images: per-class IoU, mIoU, pixel accuracy."""
    from stylebridge.jobs.evaluate import evaluate as job
    from stylebridge.jobs.tables import print_scores

    scores = job(run, data, label_space=label_space, out=out, device=device, quiet=quiet)
    print_scores(scores, Console(), title=f"{run} on {data}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Run folder to make")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out")] = False,
) -> None:
    """Draw a toy simulator and a toy camera, adapt a model from one to the other, and write a report."""
    from stylebridge.jobs.demo import demo as job
    from stylebridge.jobs.tables import print_adaptation

    print_adaptation(job(out, seed=seed, device=device, overwrite=overwrite), Console())


@data_app.command("toy")
def data_toy(
    out: Annotated[Path, typer.Argument(help="Folder to make: images/ and labels/")],
    look: Annotated[str, typer.Option(help="sim or camera")] = "sim",
    count: Annotated[int, typer.Option(help="How many scenes", min=1)] = 100,
    first_seed: Annotated[int, typer.Option(help="Seed of the first scene", min=0)] = 0,
    width: Annotated[int, typer.Option(min=32)] = 240,
    height: Annotated[int, typer.Option(min=32)] = 180,
    labels: Annotated[bool, typer.Option(help="Write label maps too")] = True,
) -> None:
    """Draw street scenes of the toy world, with exact labels."""
    from stylebridge.jobs.toy import draw_toy

    draw_toy(out, look, count, first_seed=first_seed, size=(width, height), labels=labels)
    Console().print(f"{count} scene(s) drawn in {out}", highlight=False)


@recipes_app.command("list")
def recipes_list() -> None:
    """The built-in recipes, a line each."""
    from stylebridge.jobs.tables import print_recipes

    print_recipes(Console())


@recipes_app.command("show")
def recipes_show(name: Annotated[str, typer.Argument(help="Recipe name or YAML file")]) -> None:
    """A recipe as YAML, every default spelt out: a starting point for your own."""
    from stylebridge.jobs.recipe import load_recipe

    print(load_recipe(name).to_yaml(), end="")


def main() -> None:
    """Entry point of the console script: a user's mistake is one sentence and exit code 2, never a traceback."""
    try:
        app()
    except StylebridgeError as error:
        word = "Error" if isinstance(error, UserError) else "Stopped"
        Console(stderr=True).print(f"[bold red]{word}:[/] ", end="")
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:
            print("Interrupted. A run goes on from its last checkpoint with --resume.", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
