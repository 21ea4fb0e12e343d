"""Mixers: both stages of MixNMatch, on one set of photos with a box around each object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console

from stylebridge.atomic import written_file
from stylebridge.data.boxes import BoxedImages, boxed_batches
from stylebridge.data.sampling import UniformSampler
from stylebridge.engine import checkpoint as ckpt
from stylebridge.engine.method import Batch, Method
from stylebridge.errors import RecipeError
from stylebridge.jobs.apply.models.mixer import load_mixer, save_mixer
from stylebridge.jobs.datasets.boxed_set import BoxedSet, check_boxed_set, open_boxed_set
from stylebridge.jobs.recipe.mix import MixRecipe
from stylebridge.jobs.runs.data_files import Files, files_below
from stylebridge.jobs.runs.start import check_training
from stylebridge.jobs.tasks.base import NetworksTask, Plan, Request, Role, Work
from stylebridge.jobs.tasks.mix_pictures import ROWS, MixPictures
from stylebridge.jobs.tasks.report import write_training_report
from stylebridge.jobs.tasks.streams import Seeds, StreamOpener
from stylebridge.networks.mixnmatch import FeatureNetworks, Generator, Mixer, MixNMatchNetworks
from stylebridge.terminal import say

_EXTRACTOR = "extractor.safetensors"


_Work = Work[MixRecipe, BoxedSet]


class Mix(NetworksTask[MixRecipe, BoxedSet]):
    """Code mode (generator, encoders, discriminators), then feature mode (the extractor of the generator's parent
    features)."""

    name = "mix"
    default_recipe = "mixnmatch-small"
    roles = (Role("data"), Role("boxes", required=False))
    data_needed = "Give --data FOLDER: photos, with a box around the object in each."
    seeds = Seeds(a_stream=1, first=0)

    def open(
        self, request: Request, facts: Mapping[str, Any], accelerator: Accelerator, console: Console
    ) -> BoxedSet:
        data, boxes = facts.get("data") or request.data["data"], facts.get("boxes") or request.option("boxes")
        assert data is not None
        photos = open_boxed_set(Path(data), boxes)
        check_boxed_set(photos, accelerator, console)
        return photos

    def resolve(self, recipe: MixRecipe, data: BoxedSet) -> MixRecipe:
        return recipe.for_images(len(data.images)).spelt_out()

    def check(self, recipe: MixRecipe, data: BoxedSet, processes: int, console: Console) -> None:
        check_amounts(recipe, len(data.images), processes)
        config = recipe.configure()
        networks: tuple[Callable[[], torch.nn.Module], ...] = (
            lambda: MixNMatchNetworks(config),
            lambda: FeatureNetworks(Generator(config)),
        )
        for stage, build in zip(recipe.stages, networks, strict=False):
            check_training(lambda s=stage, b=build: _method(s, b()), stage, processes, stage.name)

    def facts(self, recipe: MixRecipe, data: BoxedSet) -> dict[str, Any]:
        return {"data": str(data.root), "boxes": str(data.boxes.path), "images": len(data.images)}

    def files(self, data: BoxedSet) -> Files:
        return {"data": files_below(data.root, data.images, data.boxes.path)}

    def prepare(self, work: _Work) -> None:
        data = work.data
        say(work.console, f"data: {len(data.images)} photos with boxes from {data.boxes.path}.")

    def stage_done(self, work: _Work, index: int) -> bool:
        networks = work.run.path / "networks"
        return (networks / _EXTRACTOR).is_file() if index else networks.is_dir()

    def plan(self, work: _Work, index: int, seed: int) -> Plan:
        return (_code_plan, _feature_plan)[index](work, seed)

    def hand_on(self, work: _Work, index: int, plan: Plan) -> None:
        if not work.is_main:
            return
        if index == 0:
            save_mixer(plan.made(), work.run.path)
            return
        with (
            ckpt.explain_full_disk("the feature extractor", work.run.path),
            written_file(work.run.path / "networks" / _EXTRACTOR, error=None) as beside,
        ):
            ckpt.save_tensors(plan.made().extractor.state_dict(), beside)

    def report(self, work: _Work, seconds: float) -> None:
        recipe, run, data = work.recipe, work.run, work.data
        config = recipe.configure()
        write_training_report(
            work,
            seconds,
            title=data.root.resolve().name,
            lead="Images drawn by the generator's average from random codes and from photos' codes. The photos are "
            "from the training set. Steps are counted over both stages.",
            rows=ROWS,
            data=[
                ("data", f"{len(data.images):,} photos\n{data.root}"),
                ("boxes", str(data.boxes.path)),
                ("categories", f"{config.shapes} shapes, {config.textures} textures and as many backgrounds"),
            ],
            use=f"stylebridge mix apply {run.path} --pose a.jpg --background b.jpg --shape c.jpg --texture d.jpg "
            "--out mix.png",
        )

    def results(self, recipe: MixRecipe) -> Sequence[str]:
        networks = f"networks/{_EXTRACTOR}" if len(recipe.stages) > 1 else "networks"
        return networks, "report.html"


TASK = Mix()


# --- stages ---------------------------------------------------------------------------------------------------


def _method(stage: Any, networks: torch.nn.Module) -> Any:
    return stage.spec.method(networks, stage.method_options())


def _code_plan(work: _Work, seed: int) -> Plan:
    networks = MixNMatchNetworks(work.recipe.configure())
    method = _method(work.recipe.stages[0], networks)

    def mixer() -> Mixer:
        """With the generator's average: that is what is kept."""
        average = method.networks["generator_average"]
        assert isinstance(average, Generator)
        return Mixer(average, networks.encoders)

    return _plan(work, 0, seed, method, mixer, 0)


def _feature_plan(work: _Work, seed: int) -> Plan:
    first = load_mixer(work.run.path).to(work.accelerator.device)
    networks = FeatureNetworks(first.generator)
    method = _method(work.recipe.stages[1], networks)

    def mixer() -> Mixer:
        return Mixer(first.generator, first.encoders, networks.extractor)

    return _plan(work, 1, seed, method, mixer, work.recipe.stages[0].trainer.steps)


def _plan(
    work: _Work, index: int, seed: int, method: Method, mixer: Callable[[], Mixer], steps_before: int
) -> Plan:
    config, data, trainer = work.recipe.configure(), work.data, work.recipe.stages[index].trainer
    images = BoxedImages(data.images, data.names, data.boxes, config.image_size, seed=seed)
    pictures = None
    if trainer.sample_every and work.is_main:
        pictures = MixPictures(work.run.path, images, config, work.accelerator.device)

    def on_sample(step: int) -> None:
        if pictures is not None:
            modes = {key: network.training for key, network in method.networks.items()}
            pictures.write(steps_before + step, mixer())
            for key, training in modes.items():  # a mixer is made ready for use: back to training
                method.networks[key].train(training)

    return Plan(method, {"images": _opener(work, images, index, seed)}, on_sample, mixer)


def _opener(work: _Work, images: BoxedImages, index: int, seed: int) -> StreamOpener:
    accelerator, sampler = work.accelerator, UniformSampler(len(images), seed)
    processes, config = accelerator.num_processes, work.recipe.stages[index].trainer
    batch = config.batch // (processes * config.accumulate)

    def open_stream(first_micro_batch: int) -> Iterator[Batch]:
        start, rank = first_micro_batch * batch * processes, accelerator.process_index
        return boxed_batches(images, sampler, batch, start, rank, processes, work.workers)

    return open_stream


def check_amounts(recipe: MixRecipe, images: int, processes: int) -> None:
    """Raises RecipeError where there are fewer images than a batch or than categories, or a batch cannot be shared."""
    textures = recipe.configure().textures
    if images < textures:
        raise RecipeError(
            f"Recipe {recipe.name} asks for {textures} texture categories, but there are {images} photos: set "
            "networks.textures lower or give more photos."
        )
    for stage in recipe.stages:
        name, trainer = stage.name, stage.trainer
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
