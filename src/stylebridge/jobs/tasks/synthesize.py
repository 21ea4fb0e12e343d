"""Synthesizers: images from label maps, trained on one labelled set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor

from stylebridge.data.augment import Augmentation
from stylebridge.data.dataset import DomainDataset
from stylebridge.data.domain import Domain, DomainSummary, open_domain
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.sampling import UniformSampler
from stylebridge.data.spread import evenly_spaced
from stylebridge.engine.processes import Share
from stylebridge.jobs.apply.models.synthesizer import save_synthesizer
from stylebridge.jobs.datasets.domains import open_labelled
from stylebridge.jobs.datasets.label_options import ensure_classes_present
from stylebridge.jobs.datasets.together import check_together, progress_bar
from stylebridge.jobs.pictures import as_pixels, as_tensor, write_png
from stylebridge.jobs.recipe.synthesize import SynthesizeRecipe
from stylebridge.jobs.runs.data_files import Files, files_of
from stylebridge.jobs.runs.start import check_training
from stylebridge.jobs.tasks.base import NetworksTask, Plan, Request, Role, Work
from stylebridge.jobs.tasks.report import write_training_report
from stylebridge.jobs.tasks.streams import Seeds, stream_opener
from stylebridge.methods.synthesis import Synthesis
from stylebridge.networks.label_gan import MultiScaleDiscriminator, open_perceptual_loss
from stylebridge.networks.sean import SEANNetworks
from stylebridge.terminal import say


@dataclass
class LabelledSet:
    """The domain, a summary of its files, and the perceptual loss, which is opened before the run begins."""

    domain: Domain
    summary: DomainSummary
    perceptual: Any = None

    @property
    def space(self) -> LabelSpace:
        """The classes."""
        assert self.domain.space is not None
        return self.domain.space


_Work = Work[SynthesizeRecipe, LabelledSet]


class Synthesize(NetworksTask[SynthesizeRecipe, LabelledSet]):
    """Networks that draw an image from a label map."""

    name = "synthesize"
    default_recipe = "sean-small"
    roles = (Role("data"),)
    data_needed = "Give --data FOLDER: images with their label maps."
    lasting_options = ("label_space", "read_as", "allow_missing_classes")
    seeds = Seeds(a_stage=1, first=0)

    def open(
        self, request: Request, facts: Mapping[str, Any], accelerator: Accelerator, console: Console
    ) -> LabelledSet:
        if facts:
            space = LabelSpace.from_dict(facts["label_space"])
            domain = open_domain(facts["data"], "data", labelled=True, space=space)
            return LabelledSet(domain, check_together(domain, accelerator, console))
        said = request.option("read_as")
        data = request.data["data"]
        assert data is not None
        domain = open_labelled(
            data,
            "data",
            console,
            label_space=request.option("label_space"),
            read_as=[said] if said else [],
        )
        found = LabelledSet(domain, check_together(domain, accelerator, console))
        allow = bool(request.option("allow_missing_classes"))
        ensure_classes_present(found.space, [found.summary], allow, console)
        return found

    def resolve(self, recipe: SynthesizeRecipe, data: LabelledSet) -> SynthesizeRecipe:
        return recipe.for_images(len(data.domain.images)).spelt_out()

    def check(self, recipe: SynthesizeRecipe, data: LabelledSet, processes: int, console: Console) -> None:
        _open_perceptual(recipe, data, console)  # it may be refused
        check_training(
            lambda: _method(recipe, data, perceptual=False),
            recipe.stages[0],
            processes,
            f"recipe {recipe.name}",
        )

    def facts(self, recipe: SynthesizeRecipe, data: LabelledSet) -> dict[str, Any]:
        return {
            "data": data.domain.spec,
            "images": len(data.domain.images),
            "label_space": data.space.as_dict(),
        }

    def files(self, data: LabelledSet) -> Files:
        return files_of(data=data.domain)

    def prepare(self, work: _Work) -> None:
        if work.resume:
            _open_perceptual(work.recipe, work.data, work.console)

    def plan(self, work: _Work, index: int, seed: int) -> Plan:
        recipe, domain = work.recipe, work.data.domain
        method = _method(recipe, work.data)
        crop = recipe.size if recipe.load is not None else None
        augmentation = Augmentation(resize=recipe.load or recipe.size, crop=crop, flip=recipe.flip)
        of_stream = self.seeds.of_stream(seed)
        dataset = DomainDataset(domain, augmentation, seed=of_stream)
        sampler = UniformSampler(len(domain.images), of_stream)
        trainer = recipe.stages[index].trainer
        streams = {"labelled": stream_opener(dataset, sampler, trainer, work.accelerator, work.workers)}
        return Plan(method, streams, _Pictures(work, method) if work.is_main else None)

    def hand_on(self, work: _Work, index: int, plan: Plan) -> None:
        method = plan.method
        assert isinstance(method, Synthesis)
        networks = method.model
        if isinstance(networks, SEANNetworks):  # with a style code for each region
            gather_mean_styles(networks, work.data.domain, work.recipe, work.accelerator, work.console)
        if work.is_main:
            save_synthesizer(method.model, method.discriminator, work.run.path)

    def report(self, work: _Work, seconds: float) -> None:
        domain, space, perceptual = work.data.domain, work.data.space, work.data.perceptual
        networks = work.recipe.spec.networks
        styled = networks is not None and getattr(networks.build, "styles", None) == "region"
        style = " and the style of each region, taken from the photo below" if styled else ""
        write_training_report(
            work,
            seconds,
            title=domain.title,
            lead=f"Images drawn from label maps{style}. The photos are from the training set.",
            rows=("label map", "drawn", "photo"),
            data=[
                ("data", f"{len(domain.images):,} images\n{domain.root}"),
                ("label space", f"{space.name} ({space.num_classes} classes)"),
                ("perceptual loss", perceptual.name.replace("_", " ") if perceptual is not None else "none"),
            ],
            use=f"stylebridge synthesize apply {work.run.path} --labels MAP.png --out picture.png",
        )


TASK = Synthesize()


def _open_perceptual(recipe: SynthesizeRecipe, data: LabelledSet, console: Console) -> None:
    options = recipe.stages[0].method_options()
    if options.perceptual_weight == 0 or options.perceptual == "none":
        return
    data.perceptual, notice = open_perceptual_loss(options.perceptual, options.perceptual_weights)
    if notice is not None:
        say(console, notice)


def _method(recipe: SynthesizeRecipe, data: LabelledSet, perceptual: bool = True) -> Any:
    config, networks = recipe.configure(classes=data.space.num_classes), recipe.spec.networks
    assert networks is not None
    parts = networks.build(config), MultiScaleDiscriminator(config)
    loss = data.perceptual if perceptual else None
    return recipe.spec.method(*parts, loss, recipe.stages[0].method_options())  # type: ignore[call-arg]


class _Whole:
    """The images at the trained size, without anything random."""

    def __init__(self, domain: Domain, recipe: SynthesizeRecipe) -> None:
        self.data = DomainDataset(domain, Augmentation(resize=recipe.size), seed=0, cache_bytes=0)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image [3, H, W] in [0, 1] and label map uint8 [H, W]."""
        sample = self.data[0, index]
        assert "label" in sample
        return sample["image"].float() / 255, sample["label"]


@torch.inference_mode()
def gather_mean_styles(
    networks: SEANNetworks,
    domain: Domain,
    recipe: SynthesizeRecipe,
    accelerator: Accelerator,
    console: Console,
) -> None:
    """Keep each class's mean style code over the images that have the class (SEAN, released program). All processes
    share the images; all have the means at the end."""
    device, main = accelerator.device, accelerator.is_main_process
    networks.to(device).eval()
    dataset = _Whole(domain, recipe)
    share: Share[int] = Share(range(len(dataset)), accelerator)
    sums = torch.zeros_like(networks.generator.mean_styles, dtype=torch.float64)
    counts = torch.zeros_like(networks.generator.style_counts)
    with progress_bar("mean styles", len(share.mine), console, main) as advance, share.together():
        for i in share.mine:
            image, label = dataset[i]
            codes, present = networks.encoder(image[None].to(device), label[None].to(device))
            sums += torch.where(present[0, :, None], codes[0].double(), 0.0)
            counts += present[0]
            advance(1)
    networks.generator.set_styles(share.sum(sums), share.sum(counts))


class _Pictures:
    """Writes ``samples/<step>.png``: label maps, below them the images drawn from them, below them the real ones."""

    def __init__(self, work: _Work, method: Synthesis) -> None:
        self.run, self.method, self.space = work.run.path, method, work.data.space
        self.device = work.accelerator.device
        dataset = _Whole(work.data.domain, work.recipe)
        self.samples = [dataset[i] for i in evenly_spaced(len(dataset), 4)]

    @torch.no_grad()
    def __call__(self, step: int) -> None:
        networks = self.method.networks["generator"]
        state, training = torch.get_rng_state(), networks.training
        networks.eval()
        columns = []
        for image, label in self.samples:
            drawn = networks(label[None].to(self.device), image[None].to(self.device))[0].float().cpu()
            colours = as_tensor(self.space.colourise(label.numpy()))
            columns.append(torch.cat([colours, drawn, image], 1))
        networks.train(training)
        torch.set_rng_state(state)
        write_png(as_pixels(torch.cat(columns, 2)), self.run / "samples" / f"{step:06}.png")
