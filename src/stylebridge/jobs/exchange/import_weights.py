"""Make a released checkpoint a run folder, which every other job takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stylebridge.data.label_space import LabelSpace
from stylebridge.engine import checkpoint as ckpt
from stylebridge.errors import DataError, RunError
from stylebridge.interop.fada import ReleasedDeepLab, read_released
from stylebridge.interop.mixnmatch import load_mixnmatch
from stylebridge.interop.nice_gan import load_nice_gan
from stylebridge.jobs.apply.models.mixer import save_mixer
from stylebridge.jobs.apply.models.translator import save_networks
from stylebridge.jobs.exchange.import_synthesizer import SynthesizerFile, Upsampling, import_synthesizer
from stylebridge.jobs.exchange.imported_run import origin, versions, write_run
from stylebridge.jobs.recipe.adapt import InferenceConfig, Recipe, load_recipe
from stylebridge.jobs.recipe.translate import load_translation_recipe
from stylebridge.jobs.runs.folder import new_run
from stylebridge.jobs.runs.outputs import RUN, ensure_apart, replaced_folder
from stylebridge.networks import nice_gan

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
    image_size: int | tuple[int, int] | None = None,
    channels: str | None = None,
    upsampling: Upsampling | None = None,
    encoder: str | Path | None = None,
    overwrite: bool = False,
    tell: Callable[[str], object] = lambda line: None,
) -> Path:
    """Read a released checkpoint and write a run folder that can be segmented with, evaluated and exported.

    Args:
        kind: ``fada``; ``deeplab`` for a DeepLab-V2 in FADA's form that was trained without it; ``nice-gan``;
            ``sean`` or ``spade`` for a generator (``latest_net_G.pth``).
        file: the checkpoint; read with ``weights_only``, so nothing in it is executed.
        out: the run folder to make.
        label_space: the model's classes; None: Cityscapes' 19 or SYNTHIA's 16 by their number, and for sean and spade
            what the number of label channels tells, or the plain class indices.
        image_size: the side, or (width, height), that a light NICE-GAN, a SEAN or a SPADE was trained at; None: 256,
            or that of the published network.
        channels, upsampling, encoder: of a SEAN or SPADE; see
            :class:`~stylebridge.jobs.exchange.import_synthesizer.SynthesizerFile`.
        overwrite: replace the run in ``out``.
        tell: called with each line about what was read and what was assumed.

    Returns:
        The run folder.

    Raises:
        UserError: the file does not hold such weights, or the folder is in the way.
    """
    if kind not in KINDS:
        raise RunError(f"{kind!r} is no kind of released weights: choose one of {', '.join(KINDS)}.")
    path, folder = Path(file), Path(out)
    _check_options(kind, channels=channels, upsampling=upsampling, encoder=encoder)
    ensure_apart(folder, {"the weights": path, "the encoder": encoder})
    new_run(folder, overwrite, resumable=False)
    if kind == "nice-gan":
        if isinstance(image_size, tuple) and image_size[0] != image_size[1]:
            raise DataError("NICE-GAN was trained on squares: give --image-size as one number.")
        return _import_translator(
            path, folder, image_size[0] if isinstance(image_size, tuple) else image_size
        )
    if kind in ("sean", "spade"):
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        given = Path(encoder) if encoder is not None else None
        wish = SynthesizerFile(kind, path, channels, label_space, size, upsampling, given)
        for line in import_synthesizer(wish, folder):
            tell(line)
        return folder
    released = read_released(path)
    space = _space(released.segmenter.num_classes, label_space, path)
    recipe = _recipe(kind, released)
    facts = {
        "kind": "adapt",
        "recipe": recipe.name,
        "source": None,
        "target": None,
        "label_space": space.as_dict(),
        "imported": origin(path) | {"iteration": released.iteration},
        "versions": versions(),
    }
    with replaced_folder(folder, RUN) as beside:
        _write(beside, released, recipe, space, facts)
    return folder


def _check_options(kind: str, **given: object) -> None:
    """Raises DataError for an option that another kind of weights has."""
    allowed = {"spade": {"channels", "upsampling", "encoder"}, "sean": {"channels", "upsampling"}}.get(
        kind, set()
    )
    for name, value in given.items():
        if value is not None and name not in allowed:
            raise DataError(f"--{name} is no option of {kind} weights: leave it out.")


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
    ensure_apart(folder, {f"the {name.replace('_', ' ')}": path for name, path in files.items()})
    new_run(folder, overwrite, resumable=False)
    mixer = load_mixnmatch(files["generator"], files["encoder"], files.get("feature_extractor"))
    facts = {
        "kind": "mix",
        "recipe": None,
        "data": None,
        "imported": {name: origin(path) for name, path in files.items()},
        "versions": versions(),
    }
    with replaced_folder(folder, RUN) as beside:
        save_mixer(mixer, beside)
        write_run(beside, None, facts)
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
        "imported": origin(path),
        "versions": versions(),
    }
    with replaced_folder(folder, RUN) as beside:
        save_networks(networks, beside)
        write_run(beside, recipe, facts)
    return folder


def _write(
    folder: Path, released: ReleasedDeepLab, recipe: Recipe, space: LabelSpace, facts: dict[str, object]
) -> None:
    extra = {"label_space": space.as_dict(), "inference": recipe.inference.model_dump(mode="json")}
    released.segmenter.save_pretrained(folder / "segmenter", extra=extra)
    if released.discriminator is not None:
        (folder / "networks").mkdir()
        ckpt.save_tensors(
            released.discriminator.state_dict(), folder / "networks" / "discriminator.safetensors"
        )
    write_run(folder, recipe, facts)


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
