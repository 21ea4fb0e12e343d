"""Translators: trained between two sets of images without pairs."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor, nn

from stylebridge.data.augment import Augmentation
from stylebridge.data.dataset import DomainDataset
from stylebridge.data.domain import Domain, open_domain, titles
from stylebridge.data.files import FileRef
from stylebridge.data.images import read_image
from stylebridge.data.sampling import UniformSampler
from stylebridge.data.spread import evenly_spaced
from stylebridge.jobs.apply.models.translator import save_networks
from stylebridge.jobs.datasets.together import check_together
from stylebridge.jobs.pictures import as_pixels, as_tensor, write_png
from stylebridge.jobs.recipe.adapt import size_for
from stylebridge.jobs.recipe.translate import TranslateRecipe
from stylebridge.jobs.runs.data_files import Files, files_of
from stylebridge.jobs.runs.start import check_training
from stylebridge.jobs.tasks.base import NetworksTask, Plan, Request, Role, Work
from stylebridge.jobs.tasks.report import write_training_report
from stylebridge.jobs.tasks.streams import Seeds, stream_opener
from stylebridge.terminal import say


class TwoSets(NamedTuple):
    """The domains ``a`` and ``b``, and the usual (width, height) of each one's images."""

    domains: Mapping[str, Domain]
    usual: Mapping[str, tuple[int, int]]


_Work = Work[TranslateRecipe, TwoSets]


class Translate(NetworksTask[TranslateRecipe, TwoSets]):
    """A translator from a to b and back."""

    name = "translate"
    default_recipe = "nice-gan-small"
    roles = (Role("a"), Role("b"))
    data_needed = "Give both --a FOLDER and --b FOLDER."
    seeds = Seeds(a_stage=1, first=0)

    def open(
        self, request: Request, facts: Mapping[str, Any], accelerator: Accelerator, console: Console
    ) -> TwoSets:
        places = {name: facts.get(name) or request.data[name] for name in ("a", "b")}
        domains = {name: open_domain(path, name, labelled=False) for name, path in places.items()}  # type: ignore[arg-type]
        checked = {name: check_together(domain, accelerator, console) for name, domain in domains.items()}
        for name, domain in domains.items():
            if len(domain.images) == 1:
                say(
                    console,
                    f"{name} ({domain.root}) has one image: the look that is learnt will be that image's. Give more "
                    f"images of its kind.",
                    style="yellow",
                )
        return TwoSets(
            domains, {name: summary.sizes.most_common(1)[0][0] for name, summary in checked.items()}
        )

    def resolve(self, recipe: TranslateRecipe, data: TwoSets) -> TranslateRecipe:
        larger = max(len(domain.images) for domain in data.domains.values())
        return recipe.for_images(larger, short_batch=True).spelt_out()

    def check(self, recipe: TranslateRecipe, data: TwoSets, processes: int, console: Console) -> None:
        check_training(
            lambda: _method(recipe, _networks(recipe)),
            recipe.stages[0],
            processes,
            f"recipe {recipe.name}",
        )

    def facts(self, recipe: TranslateRecipe, data: TwoSets) -> dict[str, Any]:
        return {
            **{name: domain.spec for name, domain in data.domains.items()},
            "images": {name: len(domain.images) for name, domain in data.domains.items()},
        }

    def files(self, data: TwoSets) -> Files:
        return files_of(**data.domains)

    def plan(self, work: _Work, index: int, seed: int) -> Plan:
        networks = _networks(work.recipe)
        method = _method(work.recipe, networks)
        streams = {}
        for number, (name, domain) in enumerate(work.data.domains.items()):
            of_stream = self.seeds.of_stream(seed, number)
            dataset = DomainDataset(domain, _augmentation(work.recipe, work.data.usual[name]), seed=of_stream)
            sampler = UniformSampler(len(domain.images), of_stream)
            trainer = work.recipe.stages[index].trainer
            streams[name] = stream_opener(dataset, sampler, trainer, work.accelerator, work.workers)
        return Plan(method, streams, _Pictures(work, networks) if work.is_main else None, networks)

    def hand_on(self, work: _Work, index: int, plan: Plan) -> None:
        if work.is_main:
            save_networks(plan.made, work.run.path)

    def report(self, work: _Work, seconds: float) -> None:
        run, domains = work.run, work.data.domains
        a, b = titles(*domains.values())
        write_training_report(
            work,
            seconds,
            title=f"{a} ↔ {b}" if a != b else run.path.name,
            lead=f"Images of each set, and their translations into the other's look. The sets: a is {a}, b is {b}. The "
            f"training used no pairs, so there is no truth to compare with.",
            rows=("a", "a in b's look", "b", "b in a's look"),
            data=[
                (name, f"{len(domain.images):,} images\n{domain.root}") for name, domain in domains.items()
            ],
            use=f"stylebridge translate apply {run.path} PHOTOS --to {shlex.quote(b if a != b else 'b')} --out out/",
        )


TASK = Translate()


def _networks(recipe: TranslateRecipe) -> nn.Module:
    assert recipe.spec.networks is not None
    return recipe.spec.networks.build(recipe.configure())


def _method(recipe: TranslateRecipe, networks: nn.Module) -> Any:
    return recipe.spec.method(networks, recipe.stages[0].method_options())  # type: ignore[call-arg]


def _augmentation(recipe: TranslateRecipe, usual: tuple[int, int]) -> Augmentation:
    side, load = recipe.size, recipe.load or recipe.size
    resize = (load, load) if recipe.pixels is None else _working_size(recipe, usual)
    crop = (side, side) if resize != (side, side) else None
    return Augmentation(resize=resize, crop=crop, flip=0.5, resample=recipe.spec.resample)


class _Pictures:
    """Writes ``samples/<step>.png``: up to four images of each domain, and below them their translations."""

    def __init__(self, work: _Work, networks: nn.Module) -> None:
        self.run, self.networks, self.device = work.run.path, networks, work.accelerator.device
        domains = work.data.domains
        count = min(4, *(len(domain.images) for domain in domains.values()))
        self.images = {
            n: [_sample(d.images[i], work.recipe) for i in evenly_spaced(len(d.images), count)]
            for n, d in domains.items()
        }

    @torch.no_grad()
    def __call__(self, step: int) -> None:
        rows = []
        state = torch.get_rng_state()
        for name, images in self.images.items():
            translate = self.networks.translator("b" if name == "a" else "a").to(self.device)  # type: ignore[operator]
            out = translate(torch.stack(images).to(self.device)).cpu()
            rows += [torch.cat(list(images), 2), torch.cat(list(out), 2)]
        torch.set_rng_state(state)
        write_png(as_pixels(torch.cat(rows, 1)), self.run / "samples" / f"{step:06}.png")


def _sample(file: FileRef, recipe: TranslateRecipe) -> Tensor:
    """A square [3, size, size] of an image at the scale that the translator is trained at."""
    image, side = read_image(file), recipe.size
    if recipe.pixels is None:
        return as_tensor(image, (side, side), recipe.spec.resample)
    working_size = _working_size(recipe, (image.shape[1], image.shape[0]))
    tensor = as_tensor(image, working_size, recipe.spec.resample)
    top, left = (tensor.shape[1] - side) // 2, (tensor.shape[2] - side) // 2
    return tensor[:, top : top + side, left : left + side]


def _working_size(recipe: TranslateRecipe, size: tuple[int, int]) -> tuple[int, int]:
    """About ``pixels`` pixels at the aspect ratio of ``size``, and large enough to cut a square out."""
    assert recipe.pixels is not None
    width, height = size_for(recipe.pixels, size)
    grow = max(1.0, recipe.size / min(width, height))
    return math.ceil(width * grow), math.ceil(height * grow)
