"""The import of released weights: a method's declaration for ``stylebridge import``, and a reader's result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from stylebridge.data.label_space import LabelSpace
from stylebridge.networks.segmenters.base import Segmenter

#: The files and options of the command; an importer declares some of them.
FILES = ("file", "generator", "encoder", "feature_extractor")
OPTIONS = ("label_space", "image_size", "channels", "upsampling")


@dataclass(frozen=True)
class Given:
    """The user's input: files, and the options that the importer declares; None: not given.

    Attributes:
        files: by the names in :data:`FILES`; includes all required files.
        image_size: the side, or (width, height), in pixels.
        channels: meaning of the label channels (:meth:`~stylebridge.interop.label_channels.LabelChannels.parse`).
    """

    files: Mapping[str, Path]
    label_space: str | Path | None = None
    image_size: int | tuple[int, int] | None = None
    channels: str | None = None
    upsampling: str | None = None


@dataclass(frozen=True)
class Imported:
    """The result of a reader.

    Attributes:
        networks: the networks by name; each is saved as ``networks/NAME.safetensors``.
        settings: JSON to rebuild the networks (``networks/config.json``); None: the run has no such file, as in
            ``adapt``.
        segmenter: for an ``adapt`` run; also needs ``space``, and ``recipe`` for the inference settings.
        space: the label space.
        recipe: the name of the recipe for these weights, or None.
        changes: keys of the recipe (dotted) that differ, with JSON values.
        facts: further facts for ``run.yaml`` besides the files' names and hashes.
        lines: the settings read and assumptions made, for the user.
    """

    networks: Mapping[str, nn.Module] = field(default_factory=dict)
    settings: str | None = None
    segmenter: Segmenter | None = None
    space: LabelSpace | None = None
    recipe: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReleasedFile:
    """A file that an importer reads. ``name``: the authors' file name."""

    name: str
    required: bool = True


@dataclass(frozen=True)
class Importer:
    """A reader of released weights.

    Attributes:
        files: by the names in :data:`FILES`.
        options: a short description of each supported option in :data:`OPTIONS`.
        read: creates the networks. Raises UserError if a file does not contain such weights. Files are read with
            ``weights_only``: no code in them is executed.
        use: the arguments of the next command to use the run, containing ``{run}``.

    Raises:
        ValueError: a file or option is unknown, or no file is required.
    """

    files: Mapping[str, ReleasedFile]
    read: Callable[[Given], Imported]
    use: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = [name for name in self.files if name not in FILES]
        unknown += [name for name in self.options if name not in OPTIONS]
        if unknown:
            raise ValueError(
                f"an importer declares {', '.join(unknown)}: choose among {', '.join(FILES + OPTIONS)}"
            )
        if not any(file.required for file in self.files.values()):
            raise ValueError("an importer declares no required file")
