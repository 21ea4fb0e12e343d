"""A released SPADE or SEAN generator as a run of `stylebridge synthesize`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError
from stylebridge.interop.label_channels import (
    PUBLISHED,
    LabelChannels,
    Published,
    channels_of,
    published_space,
)
from stylebridge.interop.sean import label_channels, load_sean, load_spade, load_spade_encoder
from stylebridge.jobs.apply.models.synthesizer import save_synthesizer
from stylebridge.jobs.exchange.imported_run import origin, versions, write_run
from stylebridge.jobs.recipe.synthesize import SynthesisRecipe, load_synthesis_recipe
from stylebridge.jobs.runs.outputs import RUN, replaced_folder
from stylebridge.networks.sean import SEANNetworks
from stylebridge.networks.spade import SPADEConfig, SPADENetworks

Upsampling = Literal["normal", "more"]


@dataclass(frozen=True)
class SynthesizerFile:
    """A generator file, and what it does not tell.

    ``channels``, ``label_space``: see :func:`~stylebridge.interop.label_channels.channels_of`. ``image_size``: (width,
    height) that it was trained at. ``upsampling``: ``normal`` or ``more``, which leave no trace in the weights.
    ``encoder``: ``latest_net_E.pth`` of a SPADE with a VAE. What is None is that of the published network with so many
    channels, or the published default.
    """

    kind: str
    path: Path
    channels: str | None = None
    label_space: str | Path | None = None
    image_size: tuple[int, int] | None = None
    upsampling: Upsampling | None = None
    encoder: Path | None = None


def import_synthesizer(wish: SynthesizerFile, folder: Path) -> list[str]:
    """Read the file and write the run folder.

    Returns:
        What was read and what was assumed, a line each.

    Raises:
        UserError: the file holds no such weights, or what is stated does not fit it.
    """
    what = wish.kind.upper()
    named = LabelSpace.load(wish.label_space) if wish.label_space is not None else None
    count = label_channels(wish.path, what)
    channels = channels_of(count, wish.channels, named, wish.path.name)
    if wish.kind == "sean" and channels.edges:
        raise DataError(
            f"{wish.path.name} has {count} label channels, {channels.in_words}: SEAN with instance edges is not "
            f"supported. If it has none, give its channels with --channels {count} or {count - 1}+void."
        )
    published = PUBLISHED.get(count)
    published = published if published is not None and published.channels == channels else None
    space = named or _space(channels, published)
    size = wish.image_size or (published.size if published else (256, 256))
    networks = _networks(wish, channels, published, size)
    config = networks.config
    if isinstance(config, SPADEConfig) and config.vae:
        size = config.image_size
    facts = {
        "kind": "synthesize",
        "recipe": wish.kind,
        "data": None,
        "label_space": space.as_dict(),
        "imported": origin(wish.path)
        | {"channels": str(channels), "encoder": origin(wish.encoder) if wish.encoder else None},
        "versions": versions(),
    }
    with replaced_folder(folder, RUN) as beside:
        save_synthesizer(networks, None, beside)
        write_run(beside, _recipe(wish.kind, config.upsampling, size), facts)
    return _told(wish, channels, space, size, published, networks)


def _space(channels: LabelChannels, published: Published | None) -> LabelSpace:
    return LabelSpace.generic(channels.classes) if published is None else published_space(published.data)


def _networks(
    wish: SynthesizerFile, channels: LabelChannels, published: Published | None, size: tuple[int, int]
) -> SEANNetworks | SPADENetworks:
    upsampling: Upsampling = wish.upsampling or (published.upsampling if published else "normal")  # type: ignore[assignment]
    if wish.kind == "sean":
        sean_config, state = load_sean(wish.path, upsampling, void_class=channels.void)
        with torch.device("meta"):  # 267 million random values would be thrown away
            sean = SEANNetworks(sean_config)
        sean.load_state_dict(state, assign=True)
        return sean
    told = size if wish.image_size or published else None
    config, state = load_spade(wish.path, upsampling, told, void_class=channels.void, edges=channels.edges)
    if wish.encoder is not None and not config.vae:
        raise DataError(
            f"{wish.path.name} is a SPADE without a VAE, which no encoder belongs to: leave out --encoder."
        )
    with torch.device("meta"):
        networks = SPADENetworks(config)
    if wish.encoder is not None:
        state |= {f"encoder.{key}": value for key, value in load_spade_encoder(wish.encoder, config).items()}
    else:
        networks.encoder = None
    networks.load_state_dict(state, assign=True)
    return networks


def _recipe(kind: str, upsampling: str, size: tuple[int, int]) -> SynthesisRecipe:
    preset = kind if upsampling == "normal" else f"{kind}-{upsampling}"
    changes = [f"preset={preset}", f"size=[{size[0]}, {size[1]}]", "load=null"]
    return load_synthesis_recipe(kind, changes)


def _told(
    wish: SynthesizerFile,
    channels: LabelChannels,
    space: LabelSpace,
    size: tuple[int, int],
    published: Published | None,
    networks: SEANNetworks | SPADENetworks,
) -> list[str]:
    given = " (as given)" if wish.channels else f" (as for {published.data})" if published else ""
    ids = sorted(raw for raw, train in space.raw_ids.items() if train < space.num_classes)
    others = sorted(set(space.raw_ids) - set(ids))
    known = [f"{ids[0]} to {ids[-1]}"] if ids == list(range(ids[0], ids[-1] + 1)) else [f"{len(ids)} ids"]
    lines = [
        f"label channels: {channels.count}, {channels.in_words}{given}",
        f"label space: {space.name}; label maps hold the ids {known[0]}"
        + (f", and {', '.join(map(str, others))} for no class" if others else ""),
        f"trained at {size[0]}×{size[1]}, upsampling {networks.config.upsampling}",
    ]
    if not wish.channels and wish.label_space is None and published is None:
        lines.append(
            f"If the last of the {channels.count} channels are pixels without a class or instance edges, import it "
            f"again with --channels, such as {channels.count - 1}+void."
        )
    if channels.edges:
        lines.append("Each label map needs its instance map: `synthesize apply --instances MAP`.")
    if isinstance(networks, SPADENetworks) and networks.config.vae and networks.encoder is None:
        lines.append("It has a VAE: import it with --encoder latest_net_E.pth to take the look of a photo.")
    return lines
