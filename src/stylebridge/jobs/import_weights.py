"""Make a released checkpoint a run folder, which every other job takes."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from stylebridge.data.label_space import LabelSpace
from stylebridge.engine import checkpoint as ckpt
from stylebridge.errors import DataError, RunError
from stylebridge.interop.fada import ReleasedDeepLab, read_released
from stylebridge.interop.mixnmatch import load_mixnmatch
from stylebridge.interop.nice_gan import load_nice_gan
from stylebridge.interop.sean import load_sean, load_spade
from stylebridge.jobs.mix import save_mixer
from stylebridge.jobs.recipe import InferenceConfig, Recipe, load_recipe
from stylebridge.jobs.run_folder import new_run
from stylebridge.jobs.synthesis_recipe import SynthesisRecipe, load_synthesis_recipe
from stylebridge.jobs.synthesizer import save_synthesizer
from stylebridge.jobs.translation_recipe import TranslationRecipe, load_translation_recipe
from stylebridge.jobs.translator_folder import save_networks
from stylebridge.networks import nice_gan
from stylebridge.networks.sean import SEANNetworks
from stylebridge.networks.spade import SPADENetworks
from stylebridge.version import __version__

KINDS = ("fada", "deeplab", "nice-gan", "sean", "spade")
#: The label space of a released model, by its number of classes.
SPACES = {19: "cityscapes-19", 16: "synthia-16"}
#: Where the published test programs predict: (width, height) after the adversarial stage, and else.
ADVERSARIAL_SIZE, FINAL_SIZE = (1024, 512), (2048, 1024)


def import_weights(
    kind: str,
    file: str | Path,
    out: str | Path,
    *,
    label_space: str | Path | None = None,
    image_size: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Read a released checkpoint and write a run folder that can be segmented with, evaluated and exported.

    Args:
        kind: ``fada``; ``deeplab`` for a DeepLab-V2 in FADA's form that was trained without it; ``nice-gan``;
            ``sean`` or ``spade`` for a generator (``latest_net_G.pth``).
        file: the checkpoint; read with ``weights_only``, so nothing in it is executed.
        out: the run folder to make.
        label_space: the model's classes; None: Cityscapes' 19 or SYNTHIA's 16 by their number, and for sean and spade
            the plain class indices.
        image_size: the size a light NICE-GAN was trained at; None: 256.
        overwrite: replace the run in ``out``.

    Returns:
        The run folder.

    Raises:
        UserError: the file does not hold such weights, or the folder is in the way.
    """
    if kind not in KINDS:
        raise RunError(f"{kind!r} is no kind of released weights: choose one of {', '.join(KINDS)}.")
    path, folder = Path(file), Path(out)
    new_run(folder, overwrite, resumable=False)
    if kind == "nice-gan":
        return _import_translator(path, folder, image_size)
    if kind in ("sean", "spade"):
        return _import_synthesizer(kind, path, folder, label_space, image_size)
    released = read_released(path)
    space = _space(released.segmenter.num_classes, label_space, path)
    recipe = _recipe(kind, released)
    facts = {
        "kind": "adapt",
        "recipe": recipe.name,
        "source": None,
        "target": None,
        "label_space": space.as_dict(),
        "imported": {"file": path.name, "sha256": _digest(path), "iteration": released.iteration},
        "versions": {"stylebridge": __version__, "torch": str(torch.__version__)},
    }
    with _beside(folder) as beside:
        _write(beside, released, recipe, space, facts)
    return folder


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A folder to write the run into, which takes the run's name when everything is in it."""
    beside = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        yield beside
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _import_synthesizer(
    kind: str, path: Path, folder: Path, label_space: str | Path | None, image_size: int | None
) -> Path:
    """A SEAN or SPADE generator in the authors' layout as a run of `stylebridge synthesize`."""
    networks: SEANNetworks | SPADENetworks
    if kind == "sean":
        sean_config, state = load_sean(path)
        with torch.device("meta"):  # 267 million random values would be thrown away
            networks = SEANNetworks(sean_config)
        networks.load_state_dict(state, assign=True)
    else:
        spade_config, state = load_spade(path, image_size=(image_size, image_size) if image_size else None)
        networks = SPADENetworks(spade_config)
        # A VAE's encoder is another file: without it pictures come in looks at random.
        networks.load_state_dict(state, strict=False)
    classes = networks.config.classes
    space = LabelSpace.generic(classes) if label_space is None else _space(classes, label_space, path)
    side = image_size or 256
    recipe = load_synthesis_recipe(kind, [f"size=[{side}, {side}]", "load=null"])
    facts = {
        "kind": "synthesize",
        "recipe": recipe.name,
        "data": None,
        "label_space": space.as_dict(),
        "imported": {"file": path.name, "sha256": _digest(path)},
        "versions": {"stylebridge": __version__, "torch": str(torch.__version__)},
    }
    with _beside(folder) as beside:
        beside.mkdir(parents=True)
        save_synthesizer(networks, None, beside)
        _write_run(beside, recipe, facts)
    return folder


def import_mixnmatch(
    generator: str | Path,
    encoder: str | Path,
    out: str | Path,
    *,
    feature_extractor: str | Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Read the checkpoints of MixNMatch's authors and write a run folder that ``mix apply`` takes.

    Args:
        generator, encoder: ``G.pth`` and ``E.pth``.
        feature_extractor: ``EX.pth``, for feature mode.

    Returns:
        The run folder.

    Raises:
        UserError: a file does not hold such weights, or the folder is in the way.
    """
    folder = Path(out)
    files = {"generator": Path(generator), "encoder": Path(encoder)}
    if feature_extractor is not None:
        files["feature_extractor"] = Path(feature_extractor)
    new_run(folder, overwrite, resumable=False)
    mixer = load_mixnmatch(files["generator"], files["encoder"], files.get("feature_extractor"))
    facts = {
        "kind": "mix",
        "recipe": None,
        "data": None,
        "imported": {name: {"file": path.name, "sha256": _digest(path)} for name, path in files.items()},
        "versions": {"stylebridge": __version__, "torch": str(torch.__version__)},
    }
    with _beside(folder) as beside:
        beside.mkdir(parents=True)
        save_mixer(mixer, beside)
        _write_run(beside, None, facts)
    return folder


def _import_translator(path: Path, folder: Path, image_size: int | None) -> Path:
    """A NICE-GAN checkpoint in the authors' layout as a run of `stylebridge translate`."""
    networks = load_nice_gan(path, image_size)
    preset = next((n for n, c in nice_gan.PRESETS.items() if c == networks.config), "nice-gan")
    recipe = load_translation_recipe("nice-gan", [f"preset={preset}", "load=null"])
    facts = {
        "kind": "translate",
        "recipe": recipe.name,
        "a": None,
        "b": None,
        "imported": {"file": path.name, "sha256": _digest(path)},
        "versions": {"stylebridge": __version__, "torch": str(torch.__version__)},
    }
    with _beside(folder) as beside:
        beside.mkdir(parents=True)
        save_networks(networks, beside)
        _write_run(beside, recipe, facts)
    return folder


def _write(
    folder: Path, released: ReleasedDeepLab, recipe: Recipe, space: LabelSpace, facts: dict[str, object]
) -> None:
    with ckpt.explain_full_disk("the imported model", folder.parent):
        folder.mkdir(parents=True)
        extra = {"label_space": space.as_dict(), "inference": recipe.inference.model_dump(mode="json")}
        released.segmenter.save_pretrained(folder / "segmenter", extra=extra)
        if released.discriminator is not None:
            (folder / "networks").mkdir()
            ckpt.save_tensors(
                released.discriminator.state_dict(), folder / "networks" / "discriminator.safetensors"
            )
        _write_run(folder, recipe, facts)


def _write_run(
    folder: Path, recipe: Recipe | TranslationRecipe | SynthesisRecipe | None, facts: dict[str, Any]
) -> None:
    """``recipe.yaml``, where there is one, and ``run.yaml``."""
    if recipe is not None:
        (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    text = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)
    (folder / "run.yaml").write_text(text, encoding="utf-8")


def _space(classes: int, given: str | Path | None, path: Path) -> LabelSpace:
    name = given if given is not None else SPACES.get(classes)
    if name is None:
        raise DataError(
            f"{path} has {classes} classes: name their label space with --label-space NAME_OR_YAML."
        )
    space = LabelSpace.load(name)
    if space.num_classes != classes:
        raise DataError(
            f"{path} has {classes} classes and label space {space.name} has {space.num_classes}: give the one the "
            f"model was trained on."
        )
    return space


def _recipe(kind: str, released: ReleasedDeepLab) -> Recipe:
    """The published recipe with the imported network and the size that its test program predicts at."""
    recipe = load_recipe("fada" if kind == "fada" else "source-only")
    config = released.segmenter.config.model_copy(update={"weights": "imagenet"})
    size = ADVERSARIAL_SIZE if released.discriminator is not None else FINAL_SIZE
    return recipe.model_copy(update={"segmenter": config, "inference": InferenceConfig(size=size)})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
