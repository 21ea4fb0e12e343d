"""FADA's released checkpoints (official code; Wang et al., ECCV 2020), and DeepLab-V2 in the same form.

A file contains ``feature_extractor``, ``classifier`` and, after the adversarial stage, ``model_D``, each with the keys
of :mod:`stylebridge.networks.deeplab_v2`, with or without a ``module.`` prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError, WeightsError
from stylebridge.interop.importer import Given, Imported, Importer, ReleasedFile
from stylebridge.networks.deeplab_v2 import load_fada_state
from stylebridge.networks.pixel_discriminator import PixelDiscriminator
from stylebridge.networks.pretrained import strip_prefix
from stylebridge.networks.segmenters.build import DeepLabV2Segmenter, SegmenterConfig

#: The label space of a released model, by number of classes.
SPACES = {19: "cityscapes-19", 16: "synthia-16"}
#: The prediction size of the published test programs: (width, height) after the adversarial stage, and otherwise.
ADVERSARIAL_SIZE, FINAL_SIZE = (1024, 512), (2048, 1024)
_FORM = "a dict with feature_extractor and classifier"


@dataclass(frozen=True)
class ReleasedDeepLab:
    """The contents of a file.

    Attributes:
        discriminator: that of the adversarial stage, if present.
        iteration: the number of training iterations, if present.
    """

    segmenter: DeepLabV2Segmenter
    discriminator: PixelDiscriminator | None
    iteration: int | None


def read_released(path: Path) -> ReleasedDeepLab:
    """Read a released FADA checkpoint, or a DeepLab-V2 of that form (both parts in one flat dict).

    No code in the file is executed. Backbone (ResNet-101 or VGG-16), number of classes and kind of batch normalisation
    (520 keys: frozen, no eps; 624: trainable, eps 1e-5) are inferred from keys and shapes.

    Raises:
        WeightsError: the file cannot be read, has another form, or its tensors do not fit; names them.
    """
    content = _load(path)
    extractor, classifier = _parts(content, path)
    vgg = "backbone.0.weight" in extractor
    first = classifier.get("conv2d_list.0.weight")
    if not isinstance(first, Tensor) or first.ndim != 4:
        raise WeightsError(f"{path} has no classifier.conv2d_list.0.weight: give {_FORM} of a DeepLab-V2.")
    trainable = any(key.endswith("num_batches_tracked") for key in extractor)
    config = SegmenterConfig(
        arch="deeplab-v2",
        encoder="vgg16" if vgg else "resnet101",
        weights=None,
        freeze_batch_norm=vgg or not trainable,
    )
    with torch.random.fork_rng(devices=[]):
        segmenter = DeepLabV2Segmenter(config, first.shape[0])
    _fill(segmenter.feature_extractor, extractor, f"feature_extractor of {path}")
    _fill(segmenter.classifier, classifier, f"classifier of {path}")
    discriminator = None
    if isinstance(content.get("model_D"), Mapping):
        discriminator = PixelDiscriminator(segmenter.feature_channels, segmenter.num_classes)
        _fill(discriminator, strip_prefix(content["model_D"]), f"model_D of {path}")
    iteration = content.get("iteration")
    return ReleasedDeepLab(segmenter.eval(), discriminator, iteration if isinstance(iteration, int) else None)


def _load(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        what = "is a folder, a pipe or a device" if path.exists() else "does not exist"
        raise WeightsError(f"{path} {what}: give a checkpoint file.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zipfile, safetensors and torch raise their own errors
        text = str(error)
        if "weights_only" in text or "Unsupported" in text:
            raise WeightsError(
                f"{path} contains code besides tensors and plain values, which is never executed: save only its state "
                f"dicts."
            ) from error
        reason = (
            "it is empty"
            if path.stat().st_size == 0
            else " ".join(text.split())[:120] or type(error).__name__
        )
        raise WeightsError(f"{path} cannot be read as a checkpoint ({reason}): download it again.") from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not {_FORM}.")
    for state in (content, *(part for part in content.values() if isinstance(part, Mapping))):
        unnamed = next((key for key in state if not isinstance(key, str)), None)
        if unnamed is not None:
            raise WeightsError(f"{path} has the key {unnamed!r}, which is not a string: give {_FORM}.")
    return content


def _parts(content: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    names = ("feature_extractor", "classifier")
    nested = [content.get(name) for name in names]
    if all(isinstance(part, Mapping) for part in nested):
        return strip_prefix(nested[0]), strip_prefix(nested[1])  # type: ignore[arg-type]
    flat = strip_prefix(content)
    found = [{k[len(n) + 1 :]: v for k, v in flat.items() if k.startswith(f"{n}.")} for n in names]
    if all(found):
        return found[0], found[1]
    if any(".conv2d_list." in key or key.startswith("layer5.") for key in flat):
        raise WeightsError(
            f"{path} is a DeepLab-V2 of another form (AdaptSegNet: strides in the 1×1 convolutions, pooling that "
            f"rounds up), which would give other outputs in this network: give {_FORM}, as released by FADA."
        )
    missing = [name for name in names if not isinstance(content.get(name), Mapping)]
    listed = ", ".join(map(str, list(content)[:4])) or "nothing"
    raise WeightsError(f"{path} has no {' and no '.join(missing)} (it holds {listed}): give {_FORM}.")


def _fill(module: Any, state: Mapping[str, Any], name: str) -> None:
    try:
        load_fada_state(module, state)
    except WeightsError as error:
        raise WeightsError(f"The {name} does not fit: {error}") from error


def read_deeplab(recipe: str, given: Given) -> Imported:
    """A released DeepLab-V2 with its label space, and the prediction size of its test program.

    Args:
        recipe: the recipe of its training.

    Raises:
        UserError: like :func:`read_released`; the label space is unknown or has another number of classes.
    """
    path = given.files["file"]
    released = read_released(path)
    space = _space(released.segmenter.num_classes, given.label_space, path)
    config = released.segmenter.config.model_copy(update={"weights": "imagenet"})
    discriminator = released.discriminator
    return Imported(
        networks={} if discriminator is None else {"discriminator": discriminator},
        segmenter=released.segmenter,
        space=space,
        recipe=recipe,
        changes={
            "segmenter": config.model_dump(mode="json"),
            "inference": {"size": FINAL_SIZE if discriminator is None else ADVERSARIAL_SIZE},
        },
        facts={"iteration": released.iteration},
    )


def _space(classes: int, given: str | Path | None, path: Path) -> LabelSpace:
    name = given if given is not None else SPACES.get(classes)
    if name is None:
        raise DataError(
            f"{path} has {classes} classes: name their label space with --label-space NAME_OR_YAML."
        )
    space = LabelSpace.load(name)
    if space.num_classes != classes:
        raise DataError(
            f"{path} has {classes} classes, but label space {space.name} has {space.num_classes}: give the one of its "
            f"training."
        )
    return space


def _importer(recipe: str) -> Importer:
    return Importer(
        {"file": ReleasedFile("MODEL.pth")},
        partial(read_deeplab, recipe),
        "segment {run} PHOTOS --out out/",
        {"label_space": "default: from the number of classes, 19 or 16"},
    )


FADA, DEEPLAB = _importer("fada"), _importer("source-only")
