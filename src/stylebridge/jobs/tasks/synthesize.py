"""Train a synthesizer: pictures from label maps, on one labelled set."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from rich.console import Console
from torch import Tensor

from stylebridge.data.augment import Augmentation
from stylebridge.data.dataset import DomainDataset
from stylebridge.data.domain import Domain, open_domain
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.sampling import UniformSampler
from stylebridge.engine import Trainer, open_accelerator
from stylebridge.engine.method import Batch
from stylebridge.engine.processes import Share
from stylebridge.engine.rng import seed_everything
from stylebridge.errors import DataError
from stylebridge.jobs.apply.models.synthesizer import save_synthesizer
from stylebridge.jobs.apply.models.translator import as_pixels
from stylebridge.jobs.datasets.domains import open_labelled
from stylebridge.jobs.datasets.label_options import ensure_classes_present
from stylebridge.jobs.datasets.together import check_together, progress_bar
from stylebridge.jobs.recipe.synthesize import SynthesisRecipe, load_synthesis_recipe
from stylebridge.jobs.report import write_training_report
from stylebridge.jobs.runs.data_files import ensure_unchanged, files_of
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.jobs.runs.interrupts import resumable
from stylebridge.jobs.runs.machine import default_workers, facts_of_start
from stylebridge.jobs.runs.networks_folder import write_png
from stylebridge.jobs.runs.start import (
    check_training,
    is_finished,
    plain_options,
    seed_changes,
    settle_recipe,
    take_run,
)
from stylebridge.jobs.streams import stream_opener
from stylebridge.launch import is_main
from stylebridge.methods.synthesis import Synthesis, published_optimizers
from stylebridge.networks.label_gan import MultiScaleDiscriminator, open_perceptual_loss
from stylebridge.networks.sean import SEANNetworks
from stylebridge.terminal import open_console, say

_STAGE = "1-synthesize"
DEFAULT_RECIPE = "sean-small"


@resumable("synthesize train")
def train_synthesizer(
    data: str | Path | None = None,
    out: str | Path = "runs/synthesize",
    recipe: str | Path | None = None,
    *,
    label_space: str | Path | None = None,
    read_as: str | None = None,
    allow_missing_classes: bool = False,
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
    """Train networks that draw a picture from a label map.

    Args:
        data: labelled images, as :func:`stylebridge.data.open_domain` takes them. May be left out with ``resume``.
        out: the run folder to make.
        recipe: a built-in synthesis recipe's name, or a YAML file; None: the default, or with ``resume`` the run's.
        accept_changed_data: continue although files of the data were added, removed or changed since the run began.
        label_space: the classes: a built-in label space's name or a YAML file; None: the data's own, printed.
            Held against what the label files show.
        read_as: the space that the label files are read in whatever they show.
        allow_missing_classes: train although no label map holds more than half of the classes.

    Returns:
        The run folder.

    Raises:
        UserError: a path, key or value is wrong.
        TrainingStopped: a loss or gradient was not finite.
    """
    console = console or open_console(stderr=True, quiet=quiet or not is_main())
    options = plain_options(
        label_space=label_space, read_as=read_as, allow_missing_classes=allow_missing_classes
    )
    run = take_run(
        out, "synthesize", resume=resume, overwrite=overwrite, data={"data": data}, options=options
    )
    chosen: SynthesisRecipe = settle_recipe(
        run, resume, load_synthesis_recipe, recipe, DEFAULT_RECIPE, seed_changes(overrides, seed)
    )
    facts = run.facts() if resume else {}
    if resume:
        if is_finished(run, ("networks", "report.html"), console):
            return run.path
        data = facts["data"]
    elif data is None:
        raise DataError("Give --data FOLDER: images with their label maps.")
    assert data is not None
    accelerator = open_accelerator(device, chosen.precision)
    if not accelerator.is_main_process:
        console = open_console(stderr=True, quiet=True)
    if resume:
        domain = open_domain(data, "data", labelled=True, space=LabelSpace.from_dict(facts["label_space"]))
    else:
        said = [read_as] if read_as else []
        domain = open_labelled(data, "data", console, label_space=label_space, read_as=said)
    space = domain.space
    assert space is not None
    chosen = chosen.for_images(len(domain.images))
    summary = check_together(domain, accelerator, console)
    if not resume:
        ensure_classes_present(space, [summary], allow_missing_classes, console)
    perceptual = _perceptual(chosen, console)  # before the folder is made: it may be refused
    config, files = chosen.configure(space.num_classes), files_of(data=domain)

    def method_of(loss: Any) -> Synthesis:
        return Synthesis(chosen.kind.networks(config), MultiScaleDiscriminator(config), loss, chosen.options)

    if resume:
        ensure_unchanged(run.path, files, accept_changed_data)
    else:
        check_training(
            lambda: method_of(None),
            chosen.trainer,
            chosen.optimizers or {},
            accelerator.num_processes,
            f"recipe {chosen.name}",
        )
        if accelerator.is_main_process:
            run.begin(
                chosen, {**_facts(chosen, domain, space, accelerator.device), "options": options}, files
            )
    accelerator.wait_for_everyone()
    seed_everything(chosen.seed)
    method = method_of(perceptual)
    count = workers if workers is not None else default_workers(accelerator.device)
    started = time.perf_counter()
    _train(run, chosen, method, domain, space, accelerator, count, resume, console, quiet)
    networks, discriminator = method.model, method.discriminator
    if isinstance(networks, SEANNetworks):
        gather_mean_styles(networks, domain, chosen, accelerator, console)
    if accelerator.is_main_process:
        save_synthesizer(networks, discriminator, run.path)
        _report(run, chosen, domain, space, method, time.perf_counter() - started)
    accelerator.wait_for_everyone()
    return run.path


def _perceptual(recipe: SynthesisRecipe, console: Console) -> Any:
    """The perceptual loss, or None, said aloud."""
    if recipe.options.perceptual_weight == 0 or recipe.options.perceptual == "none":
        return None
    loss, notice = open_perceptual_loss(recipe.options.perceptual, recipe.options.perceptual_weights)
    if notice is not None:
        say(console, notice)
    return loss


def _train(
    run: RunFolder,
    recipe: SynthesisRecipe,
    method: Synthesis,
    domain: Domain,
    space: LabelSpace,
    accelerator: Accelerator,
    workers: int,
    resume: bool,
    console: Console,
    quiet: bool,
) -> None:
    trainer = Trainer(
        method=method,
        config=recipe.trainer,
        optimizers=recipe.optimizers or published_optimizers(),
        streams={"labelled": _opener(domain, recipe, accelerator, workers)},
        run=run.path,
        stage=_STAGE,
        seed=recipe.seed,
        accelerator=accelerator,
        on_sample=_Pictures(run.path, method, domain, space, recipe, accelerator.device)
        if accelerator.is_main_process
        else None,
        console=console,
        quiet=quiet,
    )
    if resume:
        trainer.resume_newest()
    trainer.fit()


def _opener(
    domain: Domain, recipe: SynthesisRecipe, accelerator: Accelerator, workers: int
) -> Callable[[int], Iterator[Batch]]:
    crop = recipe.size if recipe.load is not None else None
    augmentation = Augmentation(resize=recipe.load or recipe.size, crop=crop, flip=recipe.flip)
    dataset = DomainDataset(domain, augmentation, seed=10 * recipe.seed)
    sampler = UniformSampler(len(domain.images), 10 * recipe.seed)
    return stream_opener(dataset, sampler, recipe.trainer, accelerator, workers)


class _Whole:
    """The images at the trained size, without anything random."""

    def __init__(self, domain: Domain, recipe: SynthesisRecipe) -> None:
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
    recipe: SynthesisRecipe,
    accelerator: Accelerator,
    console: Console,
) -> None:
    """Keep each class's mean code over the images that have the class (SEAN, released program). All processes share
    the images; all have the means at the end."""
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
    """Writes ``samples/<step>.png``: label maps, below them the pictures drawn from them, below them the real ones."""

    def __init__(
        self,
        run: Path,
        method: Synthesis,
        domain: Domain,
        space: LabelSpace,
        recipe: SynthesisRecipe,
        device: torch.device,
    ) -> None:
        self.run, self.method, self.space, self.device = run, method, space, device
        dataset = _Whole(domain, recipe)
        chosen = np.linspace(0, len(dataset) - 1, min(4, len(dataset))).astype(int)
        self.samples = [dataset[int(i)] for i in chosen]

    @torch.no_grad()
    def __call__(self, step: int) -> None:
        networks = self.method.networks["generator"]
        state, training = torch.get_rng_state(), networks.training
        networks.eval()
        columns = []
        for image, label in self.samples:
            drawn = networks(label[None].to(self.device), image[None].to(self.device))[0].float().cpu()
            colours = torch.from_numpy(self.space.colourise(label.numpy())).permute(2, 0, 1) / 255
            columns.append(torch.cat([colours, drawn, image], 1))
        networks.train(training)
        torch.set_rng_state(state)
        picture = Image.fromarray(as_pixels(torch.cat(columns, 2)))
        write_png(picture, self.run / "samples" / f"{step:06}.png")


def _report(
    run: RunFolder,
    recipe: SynthesisRecipe,
    domain: Domain,
    space: LabelSpace,
    method: Synthesis,
    seconds: float,
) -> None:
    styled = isinstance(method.model, SEANNetworks)
    style = " and of each region's style, taken from the photo below" if styled else ""
    perceptual = method.perceptual.name.replace("_", " ") if method.perceptual is not None else "none"
    write_training_report(
        run,
        title=domain.title,
        lead=f"Pictures drawn of label maps{style}. The photos are of the training set.",
        rows=("label map", "drawn", "photo"),
        data=[
            ("data", f"{len(domain.images):,} images\n{domain.root}"),
            ("label space", f"{space.name} ({space.num_classes} classes)"),
            ("perceptual loss", perceptual),
        ],
        recipe=recipe,
        seconds=seconds,
        use=f"stylebridge synthesize apply {run.path} --labels MAP.png --out picture.png",
    )


def _facts(
    recipe: SynthesisRecipe, domain: Domain, space: LabelSpace, device: torch.device
) -> dict[str, Any]:
    return {
        "kind": "synthesize",
        "recipe": recipe.name,
        "data": domain.spec,
        "images": len(domain.images),
        "label_space": space.as_dict(),
        **facts_of_start(device),
    }
