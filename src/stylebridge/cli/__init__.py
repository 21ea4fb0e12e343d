"""The command line: parses, calls a job, prints. No logic."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from stylebridge.cli.adapt import adapt_app
from stylebridge.cli.data import data_app
from stylebridge.cli.evaluate import evaluate_app
from stylebridge.cli.exchange import import_
from stylebridge.cli.interrupts import InterruptibleGroup, ended_by_signals
from stylebridge.cli.mix import mix_app
from stylebridge.cli.options import Device, Quiet
from stylebridge.cli.refusals import ensure_utf8, refusal
from stylebridge.cli.synthesize import synthesize_app
from stylebridge.cli.train import recipes_app
from stylebridge.cli.translate import translate_app
from stylebridge.errors import StylebridgeError, UserError
from stylebridge.launch import is_main
from stylebridge.terminal import open_console, say
from stylebridge.version import __version__

app = typer.Typer(
    cls=InterruptibleGroup,
    help="Adapt a segmentation model to a domain without labels.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(adapt_app, name="adapt")
app.add_typer(data_app, name="data")
app.add_typer(translate_app, name="translate")
app.add_typer(synthesize_app, name="synthesize")
app.add_typer(mix_app, name="mix")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(recipes_app, name="recipes")


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version")] = False) -> None:
    if version:
        print(f"stylebridge {__version__}")
        raise typer.Exit


@app.command()
def segment(
    run: Annotated[Path, typer.Argument(help="Run folder that can segment")],
    images: Annotated[
        list[str],
        typer.Argument(help="Images, videos, folders, zip files or quoted patterns", metavar="INPUT…"),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the label maps")],
    write: Annotated[
        str, typer.Option(help="index (label maps), overlay (class colours over the image), or both")
    ] = "index",
    overlay: Annotated[bool, typer.Option("--overlay", help="The same as --write both")] = False,
    window: Annotated[
        tuple[int, int] | None,
        typer.Option(help="Predict large images at full size with a sliding window of this width and height"),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option(
            "--flip/--no-flip",
            help="Average the predictions of the image and its mirror image; default: as in the recipe",
        ),
    ] = None,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files in --out")] = False,
    quiet: Quiet = False,
) -> None:
    """Segment images and videos: one palette PNG for each image, whose values are class indices."""
    from stylebridge.jobs.apply.segment import segment as job

    written = job(
        run,
        images,
        out,
        write=write,  # type: ignore[arg-type]
        overlay=overlay,
        window=window,
        flip=flip,
        device=device,
        overwrite=overwrite,
        quiet=quiet,
    )
    say(open_console(), f"{written} label map(s) written to {out}")


adapt_app.command("apply")(segment)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run folder that can segment")],
    onnx: Annotated[Path, typer.Option(help="The file to write")],
    images: Annotated[
        str | None,
        typer.Option(help="Images for the comparison; default: the target of the run", metavar="DATA"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file")] = False,
    quiet: Quiet = False,
) -> None:
    """Export a segmenter to ONNX (any batch and image size) and compare it with the torch model on real images."""
    from stylebridge.cli.tables import print_export
    from stylebridge.jobs.exchange.export import export as job

    print_export(job(run, onnx=onnx, images=images, overwrite=overwrite, quiet=quiet), open_console())


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Run folder to make")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out")] = False,
) -> None:
    """Draw toy simulator and camera images, adapt a model from one domain to the other, and write a report."""
    from stylebridge.cli.tables import print_adaptation
    from stylebridge.jobs.demo import demo as job

    print_adaptation(job(out, seed=seed, device=device, overwrite=overwrite), open_console())


@app.command()
def studio(
    run: Annotated[
        Path | None, typer.Option(help="Run that the page opens with; default: chosen on the page")
    ] = None,
    segmenter: Annotated[
        Path | None, typer.Option(help="Run that can segment: predicts missing label maps")
    ] = None,
    port: Annotated[
        int, typer.Option(help="Port on this machine; 0: any free port", min=0, max=65535)
    ] = 7860,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser")] = False,
    max_side: Annotated[
        int,
        typer.Option(
            help="Longest side of an image, in pixels; larger images are scaled down", min=64, max=4096
        ),
    ] = 1024,
    device: Device = "auto",
) -> None:
    """Open a web page on this machine (127.0.0.1) to paint label maps, choose styles, segment, translate and mix."""
    from stylebridge.studio import launch

    launch(run, segmenter=segmenter, port=port, open_browser=open_browser, max_side=max_side, device=device)


app.command("import")(import_)


def main() -> None:
    """Entry point of the console script: a user's mistake is one sentence and exit code 2, Ctrl-C and SIGTERM one
    sentence and exit codes 130 and 143; never a traceback."""
    if not is_main():  # only the main process prints results
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    with ended_by_signals():
        try:
            ensure_utf8(sys.argv[1:])
            app()
        except (StylebridgeError, OSError) as raised:
            error = refusal(raised) if isinstance(raised, OSError) else raised
            if error is None:
                raise
            word = "Error" if isinstance(error, UserError) else "Stopped"
            open_console(stderr=True).print(f"{word}:", style="bold red", end=" ")
            print(error, file=sys.stderr)
            sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
