"""How a method's released weights are read: what it declares for ``stylebridge import``, and what a reader returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from stylebridge.data.label_space import LabelSpace
from stylebridge.networks.segmenters.base import Segmenter

#: The files and the options that the command takes; an importer declares some of them.
FILES = ("file", "generator", "encoder", "feature_extractor")
OPTIONS = ("label_space", "image_size", "channels", "upsampling")


@dataclass(frozen=True)
class Given:
    """What the user gave: the files, and the options that the importer declares; None: not given.

    Attributes:
        files: by the names of :data:`FILES`; those that the importer requires are there.
        image_size: the side, or (width, height), in pixels.
        channels: what the label channels are (:meth:`~stylebridge.interop.label_channels.LabelChannels.parse`).
    """

    files: Mapping[str, Path]
    label_space: str | Path | None = None
    image_size: int | tuple[int, int] | None = None
    channels: str | None = None
    upsampling: str | None = None


@dataclass(frozen=True)
class Imported:
    """What a reader made of the files.

    Attributes:
        networks: the parts by name; each is saved as ``networks/NAME.safetensors``.
        settings: JSON that the networks are built from again (``networks/config.json``); None: the run has no such
            file, as in ``adapt``.
        segmenter: of an ``adapt`` run; ``space`` must be given too, and ``recipe``, which has its inference settings.
        space: the label space.
        recipe: the recipe that the weights were trained with, by name; None: there is none.
        changes: the recipe's keys (with dots) that differ, and their values as JSON has them.
        facts: what ``run.yaml`` says of the files besides their names and hashes.
        lines: what was read and what was assumed, for the user.
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
    """A file that an importer takes. ``name``: what the authors call it."""

    name: str
    required: bool = True


@dataclass(frozen=True)
class Importer:
    """A reader of released weights.

    Attributes:
        files: by the names of :data:`FILES`.
        options: what each of the :data:`OPTIONS` that it takes means, in a few words.
        read: makes networks of what was given. Raises UserError where a file holds no such weights. Files are read
            with ``weights_only``: nothing in them is executed.
        use: the arguments of the command that uses the run next, with ``{run}`` in them.

    Raises:
        ValueError: the command has no such file or option, or no file is required.
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
            raise ValueError("an importer declares no file that is required")
