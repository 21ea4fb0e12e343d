"""``stylebridge import``: released weights become run folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylebridge.cli.options import Overwrite, parse_size
from stylebridge.terminal import open_console, say


def _list(wanted: bool) -> None:
    if wanted:
        from stylebridge.cli.tables import print_importers

        print_importers(open_console())
        raise typer.Exit


_Kind = Annotated[
    str,
    typer.Argument(help="Kind of weights, such as fada or nice-gan; --list prints all", metavar="KIND"),
]
_List = Annotated[
    bool,
    typer.Option("--list", callback=_list, is_eager=True, help="Print the kinds, their files and options"),
]
_Out = Annotated[Path, typer.Option(help="Run folder to create")]
_File = Annotated[
    Path | None,
    typer.Argument(
        help="Released checkpoint: .pth, .pt or .safetensors; some kinds take --generator … instead"
    ),
]
_Generator = Annotated[Path | None, typer.Option(help="File of the generator")]
_Encoder = Annotated[Path | None, typer.Option(help="File of the encoder")]
_Extractor = Annotated[Path | None, typer.Option(help="File of the feature extractor")]
_Classes = Annotated[
    str | None,
    typer.Option(
        "--label-space",
        help="Label space of the model: a name or a YAML file; default: inferred from the number of classes",
    ),
]
_Size = Annotated[
    str | None,
    typer.Option(help="Size of the training images: 256 or 512x256", metavar="SIDE|WIDTHxHEIGHT"),
]
_Channels = Annotated[
    str | None,
    typer.Option(
        help="Meaning of the label channels: 35+edges, 150+void; default: inferred from their number",
        metavar="CLASSES[+void][+edges]",
    ),
]
_Upsampling = Annotated[
    str | None, typer.Option(help="normal or more, as in training", metavar="normal|more")
]


def import_(
    kind: _Kind,
    out: _Out,
    file: _File = None,
    label_space: _Classes = None,
    image_size: _Size = None,
    channels: _Channels = None,
    upsampling: _Upsampling = None,
    generator: _Generator = None,
    encoder: _Encoder = None,
    feature_extractor: _Extractor = None,
    overwrite: Overwrite = False,
    list_: _List = False,
) -> None:
    """Convert a released checkpoint into a run folder for the other commands."""
    from stylebridge.jobs.exchange.import_weights import find_importer
    from stylebridge.jobs.exchange.import_weights import import_weights as job

    lines: list[str] = []
    run = job(
        kind,
        file,
        out,
        generator=generator,
        encoder=encoder,
        feature_extractor=feature_extractor,
        label_space=label_space,
        image_size=parse_size(image_size, "--image-size"),
        channels=channels,
        upsampling=upsampling,
        overwrite=overwrite,
        tell=lines.append,
    )
    use = find_importer(kind)[1].use.format(run=run)
    say(open_console(), f"{file or generator or encoder} is now the run {run}: stylebridge {use}")
    for line in lines:
        say(open_console(), line)
