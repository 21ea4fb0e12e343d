"""Import released weights as a run folder for other jobs. Methods declare how their weights are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stylebridge.errors import DataError, RecipeError, RunError, did_you_mean
from stylebridge.interop.importer import OPTIONS, Given, Importer
from stylebridge.jobs.exchange.imported_run import write_imported
from stylebridge.jobs.runs.folder import new_run
from stylebridge.jobs.runs.outputs import ensure_apart
from stylebridge.methods.registry import MethodSpec, all_methods


def import_weights(
    kind: str,
    file: str | Path | None,
    out: str | Path,
    *,
    generator: str | Path | None = None,
    encoder: str | Path | None = None,
    feature_extractor: str | Path | None = None,
    label_space: str | Path | None = None,
    image_size: int | tuple[int, int] | None = None,
    channels: str | None = None,
    upsampling: str | None = None,
    overwrite: bool = False,
    tell: Callable[[str], object] = lambda line: None,
) -> Path:
    """Read released weights and write a run folder for the commands of its task.

    Args:
        kind: the name of a method's importer, such as ``fada``; ``deeplab`` is a DeepLab-V2 in FADA's form, trained
            without FADA. ``stylebridge import --list`` prints all, with their files and options.
        file, generator, encoder, feature_extractor: the released files, read with ``weights_only``: no code in them is
            executed.
        out: the run folder to create.
        label_space: the model's classes, a name or a YAML file; None: from their number.
        image_size: the side, or (width, height), of the training images in pixels.
        channels: meaning of a generator's label channels, such as ``35+edges``.
        upsampling: for a generator, ``normal`` or ``more``.
        overwrite: replace the run in ``out``.
        tell: called with each line about settings read and assumptions.

    Returns:
        The run folder, written atomically.

    Raises:
        UserError: a file does not contain such weights, an option is unknown, or ``out`` exists already.
    """
    spec, importer = find_importer(kind)
    files = {"file": file, "generator": generator, "encoder": encoder, "feature_extractor": feature_extractor}
    paths = {name: Path(path) for name, path in files.items() if path is not None}
    given = Given(paths, label_space, image_size, channels, upsampling)
    _check(kind, importer, given)
    folder = Path(out)
    ensure_apart(folder, {f"the {name.replace('_', ' ')}": path for name, path in paths.items()})
    new_run(folder, overwrite, resumable=False)
    imported = importer.read(given)
    write_imported(spec.task, imported, paths, folder)
    for line in imported.lines:
        tell(line)
    return folder


def importers() -> dict[str, tuple[MethodSpec, Importer]]:
    """The importers of ``stylebridge import`` by name, sorted, with the declaring methods.

    Raises:
        RecipeError: two methods declare the same name, or an installed package's method cannot be loaded.
    """
    found: dict[str, tuple[MethodSpec, Importer]] = {}
    for spec in all_methods().values():
        for kind, importer in spec.importers.items():
            if kind in found:
                raise RecipeError(
                    f"The methods {found[kind][0].name} and {spec.name} both declare an importer {kind!r}",
                    "remove the package of one of them",
                )
            found[kind] = spec, importer
    return dict(sorted(found.items()))


def flag(name: str) -> str:
    """The command-line name of an importer's file or option."""
    return "FILE" if name == "file" else f"--{name.replace('_', '-')}"


def usage(importer: Importer) -> str:
    """The files of an importer in command-line form; optional ones in brackets."""
    words = []
    for name, file in importer.files.items():
        word = file.name if name == "file" else f"{flag(name)} {file.name}"
        words.append(word if file.required else f"[{word}]")
    return " ".join(words)


def find_importer(kind: str) -> tuple[MethodSpec, Importer]:
    """The importer with this name, and the declaring method. Raises RunError if it is unknown."""
    known = importers()
    if kind not in known:
        raise RunError(
            f"{kind!r} is not a kind of released weights{did_you_mean(kind, known)}",
            f"choose one of {', '.join(known)}",
        )
    return known[kind]


def _check(kind: str, importer: Importer, given: Given) -> None:
    """Raises DataError for unsupported options and for missing required files."""
    for name in (*given.files, *(name for name in OPTIONS if getattr(given, name) is not None)):
        if name not in importer.files and name not in importer.options:
            takers = [k for k, (_, other) in importers().items() if name in {*other.files, *other.options}]
            raise DataError(
                f"{flag(name)} is not an option of {kind} weights, only of {', '.join(takers)}", "omit it"
            )
    missing = [
        flag(name) for name, file in importer.files.items() if file.required and name not in given.files
    ]
    if missing:
        raise DataError(
            f"{kind} weights need {' and '.join(missing)}",
            f"write `stylebridge import {kind} {usage(importer)} --out RUN`",
        )
