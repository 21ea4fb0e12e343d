"""Train a mixer: both stages of MixNMatch, on one set of photos with a box around each object."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console

from stylebridge.atomic import written_file
from stylebridge.data.box_files import BOXES_FILES, Boxes, BoxProblem, find_boxes, problems_error, read_boxes
from stylebridge.data.boxes import BoxedImages, boxed_batches
from stylebridge.data.files import FileRef, open_tree
from stylebridge.data.images import check_image
from stylebridge.data.sampling import UniformSampler
from stylebridge.engine import Trainer, open_accelerator
from stylebridge.engine import checkpoint as ckpt
from stylebridge.engine.config import OptimizerConfig, TrainerConfig
from stylebridge.engine.method import Batch, Method
from stylebridge.engine.processes import Share
from stylebridge.engine.rng import seed_everything
from stylebridge.errors import DataError, RecipeError
from stylebridge.jobs.apply.models.mixer import load_mixer, save_mixer
from stylebridge.jobs.datasets.together import progress_bar
from stylebridge.jobs.recipe.mix import CodeStage, FeatureStage, MixRecipe, load_mix_recipe
from stylebridge.jobs.report import write_training_report
from stylebridge.jobs.runs.data_files import ensure_unchanged, files_below
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.jobs.runs.interrupts import resumable
from stylebridge.jobs.runs.machine import default_workers, facts_of_start
from stylebridge.jobs.runs.start import check_training, is_finished, seed_changes, settle_recipe, take_run
from stylebridge.jobs.tasks.mix_pictures import ROWS, MixPictures
from stylebridge.launch import is_main
from stylebridge.methods import mixnmatch, mixnmatch_features
from stylebridge.methods.mixnmatch import MixNMatch
from stylebridge.methods.mixnmatch_features import MixNMatchFeatures
from stylebridge.networks.mixnmatch import FeatureNetworks, Generator, Mixer, MixNMatchNetworks
from stylebridge.terminal import open_console, say

DEFAULT_RECIPE = "mixnmatch-small"
CODE_STAGE, FEATURE_STAGE = "1-code", "2-feature"
_EXTRACTOR = "extractor.safetensors"


@dataclass(frozen=True)
class BoxedSet:
    """Photos, their names as the boxes file has them, and the boxes."""

    root: Path
    images: tuple[FileRef, ...]
    names: tuple[str, ...]
    boxes: Boxes


@dataclass(frozen=True)
class _Context:
    """What both stages share."""

    run: RunFolder
    recipe: MixRecipe
    data: BoxedSet
    accelerator: Accelerator
    threads: int
    resume: bool
    console: Console
    quiet: bool


@resumable("mix train")
def train_mixer(
    data: str | Path | None = None,
    out: str | Path = "runs/mix",
    recipe: str | Path | None = None,
    *,
    boxes: str | Path | None = None,
    seed: int | None = None,
    device: str = "auto",
    overrides: list[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    accept_changed_data: bool = False,
    workers: int | None = None,
    quiet: bool = False,
    console: Console | None = None,
) -> Path:
    """Train generator and encoders (code mode), then the feature extractor (feature mode).

    A run that was stopped at any moment goes on with ``resume``. When the first stage is done, the run can be used in
    code mode already.

    Args:
        data: photos, a folder or a zip file; of a folder with ``images/`` in it, those below that. May be left out with
            ``resume``.
        out: the run folder to make.
        recipe: a built-in recipe's name (:func:`~stylebridge.jobs.recipe.mix.mix_recipes`), or a YAML file;
            None: the default, or with ``resume`` the run's.
        boxes: see :func:`~stylebridge.data.boxes.read_boxes`; a path that does not exist is looked for in ``data``.
            None: ``boxes.csv`` or ``bounding_boxes.txt`` of ``data``.
        accept_changed_data: continue although files of the data were added, removed or changed since the run began.
        workers: threads that load photos.

    Returns:
        The run folder.

    Raises:
        UserError: a path, key or value is wrong.
        TrainingStopped: a loss or gradient was not finite.
    """
    console = console or open_console(stderr=True, quiet=quiet or not is_main())
    run = take_run(
        out,
        "mix",
        resume=resume,
        overwrite=overwrite,
        data={"data": data, "boxes": find_boxes(Path(data or "."), boxes) if boxes else None},
        options={},
    )
    chosen: MixRecipe = settle_recipe(
        run, resume, load_mix_recipe, recipe, DEFAULT_RECIPE, seed_changes(overrides, seed)
    )
    if resume:
        if is_finished(run, (f"networks/{_EXTRACTOR}", "report.html"), console):
            return run.path
        facts = run.facts()
        data, boxes = facts["data"], facts["boxes"]
    elif data is None:
        raise DataError("Give --data FOLDER: photos, with a box around the object in each.")
    assert data is not None
    photos = open_boxed_set(Path(data), boxes)
    chosen = chosen.for_images(len(photos.images))
    accelerator = open_accelerator(device, chosen.precision)
    check_amounts(chosen, len(photos.images), accelerator.num_processes)
    say(console, f"data: {len(photos.images)} photos with boxes from {photos.boxes.path}.")
    _check_together(photos, accelerator, console)
    files = {"data": files_below(photos.root, photos.images, photos.boxes.path)}
    if resume:
        ensure_unchanged(run.path, files, accept_changed_data)
    else:
        check_stages(chosen, accelerator.num_processes)
        if accelerator.is_main_process:
            run.begin(chosen, _facts(chosen, photos, accelerator.device), files)
    accelerator.wait_for_everyone()
    threads = workers if workers is not None else default_workers(accelerator.device)
    context = _Context(run, chosen, photos, accelerator, max(1, threads), resume, console, quiet)
    started = time.perf_counter()
    _train_codes(context)
    _train_features(context)
    if accelerator.is_main_process:
        _report(context, time.perf_counter() - started)
    accelerator.wait_for_everyone()
    return run.path


def check_stages(recipe: MixRecipe, processes: int) -> None:
    """:func:`~stylebridge.jobs.runs.start.check_training` of both stages."""
    config = recipe.configure()
    builders: dict[str, Callable[[], Method]] = {
        "code": lambda: MixNMatch(MixNMatchNetworks(config), recipe.code.options),
        "feature": lambda: MixNMatchFeatures(FeatureNetworks(Generator(config)), recipe.feature.options),
    }
    for name, build in builders.items():
        stage: CodeStage | FeatureStage = getattr(recipe, name)
        check_training(build, stage.trainer, stage.optimizers or {}, processes, name)


# --- data -----------------------------------------------------------------------------------------------------


def open_boxed_set(data: Path, boxes: str | Path | None) -> BoxedSet:
    """The photos of a folder or zip file, and their boxes.

    Raises:
        DataError: there is no photo or no boxes file, the file is malformed, or a photo has no box.
    """
    tree = open_tree(data)
    found = tree.images("images" if tree.has("images") else "")
    if not found:
        raise DataError(f"There is no image in {data}: give the folder that holds the photos.")
    file = find_boxes(data, boxes)
    if file is None:
        raise DataError(f"{data} holds neither {' nor '.join(BOXES_FILES)}: give --boxes FILE.")
    read = read_boxes(file)
    read.check(found)
    return BoxedSet(data, tuple(found.values()), tuple(found), read)


def _check_together(data: BoxedSet, accelerator: Accelerator, console: Console) -> None:
    """:func:`check_photos` by all processes, each with a part of the photos."""
    share: Share[int] = Share(range(len(data.images)), accelerator)
    part = slice(share.first, share.stop)
    mine = replace(data, images=data.images[part], names=data.names[part])
    with progress_bar("check the photos", len(share.mine), console) as advance, share.together():
        check_photos(mine, advance)


def check_photos(data: BoxedSet, advance: Callable[[int], None] = lambda done: None) -> None:
    """See that every photo can be read and that its box lies in it. ``advance`` is called with 1 after each photo.

    Raises:
        DataError: the first photo that cannot be read; else all boxes that leave their photos, in one message.
    """

    def check(photo: tuple[FileRef, str]) -> BoxProblem | None:
        return data.boxes.problem(photo[1], *check_image(photo[0]))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found: list[BoxProblem] = []
        for problem in pool.map(check, zip(data.images, data.names, strict=True)):
            found += [problem] if problem is not None else []
            advance(1)
    if found:
        raise problems_error(data.boxes.path, found)


def check_amounts(recipe: MixRecipe, images: int, processes: int) -> None:
    """Raises RecipeError where there are fewer images than a batch or than categories, or a batch cannot be shared."""
    textures = recipe.configure().textures
    if images < textures:
        raise RecipeError(
            f"Recipe {recipe.name} asks for {textures} texture categories, but there are {images} photos: set "
            "networks.textures lower or give more photos."
        )
    for name in ("code", "feature"):
        trainer: TrainerConfig = getattr(recipe, name).trainer
        pieces = processes * trainer.accumulate
        if images < trainer.batch:
            raise RecipeError(
                f"{name}.trainer.batch is {trainer.batch}, but there are {images} photos: set it lower or give more."
            )
        if trainer.batch % pieces or trainer.batch // pieces < 2:
            raise RecipeError(
                f"{name}.trainer.batch {trainer.batch} cannot be split over {pieces} (processes × accumulate) with 2 "
                "images or more for each: make it a larger multiple."
            )


# --- stages ---------------------------------------------------------------------------------------------------


def _train_codes(context: _Context) -> None:
    """The first stage; leaves ``networks/`` with the averaged generator and the encoders."""
    config, recipe = context.recipe.configure(), context.recipe
    if (context.run.path / "networks").is_dir():
        return
    seed = 1000 * recipe.seed
    seed_everything(seed)
    networks = MixNMatchNetworks(config)
    method = MixNMatch(networks, recipe.code.options)

    def mixer() -> Mixer:
        """With the generator's average: that is what is kept."""
        average = method.networks["generator_average"]
        assert isinstance(average, Generator)
        return Mixer(average, networks.encoders)

    trainer = _trainer(
        context, method, CODE_STAGE, recipe.code, mixnmatch.published_optimizers(), seed, mixer, 0
    )
    _fit(context, trainer)
    if context.accelerator.is_main_process:
        save_mixer(mixer(), context.run.path)
    context.accelerator.wait_for_everyone()
    context.accelerator.free_memory()


def _train_features(context: _Context) -> None:
    """The second stage; puts the feature extractor beside the other networks."""
    recipe, path = context.recipe, context.run.path / "networks" / _EXTRACTOR
    if path.is_file():
        return
    first = load_mixer(context.run.path).to(context.accelerator.device)
    seed = 1000 * recipe.seed + 1
    seed_everything(seed)
    networks = FeatureNetworks(first.generator)
    method = MixNMatchFeatures(networks, recipe.feature.options)

    def mixer() -> Mixer:
        return Mixer(first.generator, first.encoders, networks.extractor)

    optimizers = mixnmatch_features.published_optimizers()
    before = recipe.code.trainer.steps
    trainer = _trainer(context, method, FEATURE_STAGE, recipe.feature, optimizers, seed, mixer, before)
    _fit(context, trainer)
    if context.accelerator.is_main_process:
        with (
            ckpt.explain_full_disk("the feature extractor", context.run.path),
            written_file(path, error=None) as beside,
        ):
            ckpt.save_tensors(networks.extractor.state_dict(), beside)
    context.accelerator.wait_for_everyone()


def _trainer(
    context: _Context,
    method: Method,
    name: str,
    stage: CodeStage | FeatureStage,
    published: dict[str, OptimizerConfig],
    seed: int,
    mixer: Callable[[], Mixer],
    steps_before: int,
) -> Trainer:
    config, data = context.recipe.configure(), context.data
    images = BoxedImages(data.images, data.names, data.boxes, config.image_size, seed=seed)
    pictures = None
    if stage.trainer.sample_every and context.accelerator.is_main_process:
        pictures = MixPictures(context.run.path, images, config, context.accelerator.device)

    def on_sample(step: int) -> None:
        if pictures is None:
            return
        modes = {key: network.training for key, network in method.networks.items()}
        pictures.write(steps_before + step, mixer())
        for key, training in modes.items():  # a mixer is made ready for use: back to training
            method.networks[key].train(training)

    return Trainer(
        method=method,
        config=stage.trainer,
        optimizers=stage.optimizers or published,
        streams={"images": _opener(context, images, stage.trainer, seed)},
        run=context.run.path,
        stage=name,
        seed=seed,
        accelerator=context.accelerator,
        on_sample=on_sample,
        console=context.console,
        quiet=context.quiet,
    )


def _opener(
    context: _Context, images: BoxedImages, config: TrainerConfig, seed: int
) -> Callable[[int], Iterator[Batch]]:
    accelerator, sampler = context.accelerator, UniformSampler(len(images), seed)
    processes = accelerator.num_processes
    batch = config.batch // (processes * config.accumulate)

    def open_stream(first_micro_batch: int) -> Iterator[Batch]:
        start, rank = first_micro_batch * batch * processes, accelerator.process_index
        return boxed_batches(images, sampler, batch, start, rank, processes, context.threads)

    return open_stream


def _fit(context: _Context, trainer: Trainer) -> None:
    """Train the stage from its last checkpoint, if the run goes on and there is one."""
    if context.resume:
        trainer.resume_newest()
    trainer.fit()


# --- report ---------------------------------------------------------------------------------------------------


def _report(context: _Context, seconds: float) -> None:
    recipe, run, data = context.recipe, context.run, context.data
    config, second = recipe.configure(), recipe.feature.trainer
    write_training_report(
        run,
        title=data.root.resolve().name,
        lead="Pictures painted of random codes and of photos' codes by the generator's average. The photos are of the "
        "training set; the steps of both stages are counted through.",
        rows=ROWS,
        data=[
            ("data", f"{len(data.images):,} photos\n{data.root}"),
            ("boxes", str(data.boxes.path)),
            ("categories", f"{config.shapes} shapes, {config.textures} textures and as many backgrounds"),
            ("second stage", f"{second.steps:,} steps of {second.batch} images"),
        ],
        recipe=recipe,
        seconds=seconds,
        use=f"stylebridge mix apply {run.path} --pose a.jpg --background b.jpg --shape c.jpg --texture d.jpg "
        "--out mix.png",
    )


def _facts(recipe: MixRecipe, data: BoxedSet, device: torch.device) -> dict[str, Any]:
    return {
        "kind": "mix",
        "recipe": recipe.name,
        "data": str(data.root),
        "boxes": str(data.boxes.path),
        "images": len(data.images),
        **facts_of_start(device),
    }
