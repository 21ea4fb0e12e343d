"""Readers of released SPADE and SEAN generators, completed by settings that the files do not contain."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch

from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError
from stylebridge.interop.importer import Given, Imported, Importer, ReleasedFile
from stylebridge.interop.label_channels import (
    PUBLISHED,
    LabelChannels,
    Published,
    channels_of,
    published_space,
)
from stylebridge.interop.sean import label_channels, load_sean, load_spade, load_spade_encoder
from stylebridge.networks.sean import SEANNetworks
from stylebridge.networks.spade import SPADEConfig, SPADENetworks


def read_generator(kind: Literal["sean", "spade"], given: Given) -> Imported:
    """The networks of ``latest_net_G.pth``, and of ``latest_net_E.pth`` for a SPADE with a VAE.

    Values not given are those of the published network with this number of label channels, or the published default.
    ``upsampling`` (``normal`` or ``more``) cannot be read from the weights.

    Raises:
        UserError: the file does not contain such weights, or a given value does not fit it.
    """
    if given.upsampling not in (None, "normal", "more"):
        raise DataError(f"--upsampling is {given.upsampling!r}", "choose normal or more")
    path = given.files["file"]
    named = LabelSpace.load(given.label_space) if given.label_space is not None else None
    count = label_channels(path, kind.upper())
    channels = channels_of(count, given.channels, named, path.name)
    if kind == "sean" and channels.edges:
        raise DataError(
            f"{path.name} has {count} label channels, {channels.in_words}: SEAN with instance edges is not "
            f"supported. If it has none, give its channels with --channels {count} or {count - 1}+void."
        )
    published = PUBLISHED.get(count)
    published = published if published is not None and published.channels == channels else None
    space = named or _space(channels, published)
    networks = _networks(kind, given, channels, published)
    config, size = networks.config, _size(given, published) or (256, 256)
    if isinstance(config, SPADEConfig) and config.vae:
        size = config.image_size
    preset = kind if config.upsampling == "normal" else f"{kind}-{config.upsampling}"
    return Imported(
        networks=dict(networks.named_children()),
        settings=config.model_dump_json(),
        space=space,
        recipe=kind,
        changes={"preset": preset, "size": size, "load": None},
        facts={"channels": str(channels), "encoder": None},  # replaced by the file's name and hash
        lines=_lines(given, channels, space, size, published, networks),
    )


def _space(channels: LabelChannels, published: Published | None) -> LabelSpace:
    return LabelSpace.generic(channels.classes) if published is None else published_space(published.data)


def _size(given: Given, published: Published | None) -> tuple[int, int] | None:
    """(width, height) of the training images, if known."""
    if isinstance(given.image_size, int):
        return given.image_size, given.image_size
    return given.image_size or (published.size if published else None)


def _networks(
    kind: str, given: Given, channels: LabelChannels, published: Published | None
) -> SEANNetworks | SPADENetworks:
    path, encoder = given.files["file"], given.files.get("encoder")
    upsampling = given.upsampling or (published.upsampling if published else "normal")
    if kind == "sean":
        sean_config, state = load_sean(path, upsampling, void_class=channels.void)  # type: ignore[arg-type]
        with torch.device("meta"):  # avoids drawing 267 million random values
            sean = SEANNetworks(sean_config)
        sean.load_state_dict(state, assign=True)
        return sean
    config, state = load_spade(
        path,
        upsampling,  # type: ignore[arg-type]
        _size(given, published),
        void_class=channels.void,
        edges=channels.edges,
    )
    if encoder is not None and not config.vae:
        raise DataError(f"{path.name} is a SPADE without a VAE and has no encoder: omit --encoder.")
    with torch.device("meta"):
        networks = SPADENetworks(config)
    if encoder is not None:
        state |= {f"encoder.{key}": value for key, value in load_spade_encoder(encoder, config).items()}
    else:
        networks.encoder = None
    networks.load_state_dict(state, assign=True)
    return networks


def _lines(
    given: Given,
    channels: LabelChannels,
    space: LabelSpace,
    size: tuple[int, int],
    published: Published | None,
    networks: SEANNetworks | SPADENetworks,
) -> tuple[str, ...]:
    """The settings read from the file, and assumptions."""
    known = " (as given)" if given.channels else f" (as for {published.data})" if published else ""
    ids = sorted(raw for raw, train in space.raw_ids.items() if train < space.num_classes)
    others = ", ".join(map(str, sorted(set(space.raw_ids) - set(ids))))
    held = f"{ids[0]} to {ids[-1]}" if ids == list(range(ids[0], ids[-1] + 1)) else f"{len(ids)} ids"
    lines = [
        f"label channels: {channels.count}, {channels.in_words}{known}",
        f"label space: {space.name}; label maps have the ids {held}"
        + (f", and {others} for no class" if others else ""),
        f"trained at {size[0]}×{size[1]}, upsampling {networks.config.upsampling}",
    ]
    if not given.channels and given.label_space is None and published is None:
        lines.append(
            f"If the last of the {channels.count} channels mean pixels without a class or instance edges, import it "
            f"again with --channels, such as {channels.count - 1}+void."
        )
    if channels.edges:
        lines.append("Each label map needs its instance map: `synthesize apply --instances MAP`.")
    if isinstance(networks, SPADENetworks) and networks.config.vae and networks.encoder is None:
        lines.append("It has a VAE: import it with --encoder latest_net_E.pth to take the style of a photo.")
    return tuple(lines)


_OPTIONS = {
    "label_space": "default: from the number of label channels",
    "image_size": "training size; default: as published, or 256",
    "channels": "such as 35+edges or 150+void",
    "upsampling": "normal or more, as in training",
}
_GENERATOR = ReleasedFile("latest_net_G.pth")

SEAN = Importer(
    {"file": _GENERATOR},
    partial(read_generator, "sean"),
    "synthesize apply {run} --labels MAP.png --style PHOTO.jpg --out picture.png",
    _OPTIONS,
)
SPADE = Importer(
    {"file": _GENERATOR, "encoder": ReleasedFile("latest_net_E.pth", required=False)},
    partial(read_generator, "spade"),
    "synthesize apply {run} --labels MAP.png --out picture.png",
    _OPTIONS,
)
