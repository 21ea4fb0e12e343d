"""Train a translator between two sets of images without pairs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from rich.console import Console
from torch import Tensor, nn

from stylebridge.data.augment import Augmentation
from stylebridge.data.dataset import DomainDataset
from stylebridge.data.domain import Domain, open_domain, titles
from stylebridge.data.files import FileRef
from stylebridge.data.images import read_image
from stylebridge.data.sampling import UniformSampler
from stylebridge.engine import Trainer, open_accelerator
from stylebridge.engine.method import Batch
from stylebridge.engine.rng import seed_everything
from stylebridge.errors import DataError
from stylebridge.jobs.apply.models.translator import as_pixels, as_tensor, save_networks
from stylebridge.jobs.datasets.together import check_together
from stylebridge.jobs.recipe.adapt import size_for
from stylebridge.jobs.recipe.translate import TranslationRecipe, load_translation_recipe
from stylebridge.jobs.report import write_training_report
from stylebridge.jobs.runs.data_files import ensure_unchanged, files_of
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.jobs.runs.interrupts import resumable
from stylebridge.jobs.runs.machine import default_workers, facts_of_start
from stylebridge.jobs.runs.networks_folder import write_png
from stylebridge.jobs.runs.start import check_training, is_finished, seed_changes, settle_recipe, take_run
from stylebridge.jobs.streams import stream_opener
from stylebridge.launch import is_main
from stylebridge.terminal import open_console, say

_STAGE = "1-translate"
DEFAULT_RECIPE = "nice-gan-small"


@resumable("translate train")
def train_translator(
    a: str | Path | None = None,
    b: str | Path | None = None,
    out: str | Path = "runs/translate",
    recipe: str | Path | None = None,
    *,
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
    """Train a translator between two sets of images.

    Args:
        a, b: unlabelled data, as :func:`stylebridge.data.open_domain` takes it. May be left out with ``resume``.
        out: the run folder to make.
        recipe: a built-in translation recipe's name, or a YAML file; None: the default, or with ``resume`` the run's.
        accept_changed_data: continue although files of the data were added, removed or changed since the run began.

    Returns:
        The run folder.

    Raises:
        UserError: a path, key or value is wrong.
        TrainingStopped: a loss or gradient was not finite.
    """
    console = console or open_console(stderr=True, quiet=quiet or not is_main())
    run = take_run(out, "translate", resume=resume, overwrite=overwrite, data={"a": a, "b": b}, options={})
    chosen: TranslationRecipe = settle_recipe(
        run, resume, load_translation_recipe, recipe, DEFAULT_RECIPE, seed_changes(overrides, seed)
    )
    if resume:
        if is_finished(run, ("networks", "report.html"), console):
            return run.path
        facts = run.facts()
        a, b = facts["a"], facts["b"]
    elif a is None or b is None:
        raise DataError("Give both --a FOLDER and --b FOLDER.")
    assert a is not None
    assert b is not None
    domains = {name: open_domain(path, name, labelled=False) for name, path in (("a", a), ("b", b))}
    chosen = chosen.for_images(max(len(domain.images) for domain in domains.values()))
    accelerator = open_accelerator(device, chosen.precision)
    checked = {name: check_together(domain, accelerator, console) for name, domain in domains.items()}
    usual = {name: summary.sizes.most_common(1)[0][0] for name, summary in checked.items()}
    for name, domain in domains.items():
        if len(domain.images) == 1:
            say(
                console,
                f"{name} ({domain.root}) has one image: the look that is learnt will be that image's. Give more images "
                f"of its kind.",
                style="yellow",
            )
    files = files_of(**domains)
    if resume:
        ensure_unchanged(run.path, files, accept_changed_data)
    else:
        check_translation(chosen, accelerator.num_processes)
        if accelerator.is_main_process:
            run.begin(chosen, _facts(chosen, domains, accelerator.device), files)
    accelerator.wait_for_everyone()
    seed_everything(chosen.seed)
    networks = chosen.kind.networks(chosen.configure())
    started = time.perf_counter()
    _train(run, chosen, networks, domains, usual, accelerator, workers, resume, console, quiet)
    if accelerator.is_main_process:
        save_networks(networks, run.path)
        _report(run, chosen, domains, time.perf_counter() - started)
    accelerator.wait_for_everyone()
    return run.path


def check_translation(recipe: TranslationRecipe, processes: int) -> None:
    """Find before a run begins what would stop its translator's training; raises UserError, naming the key."""
    check_training(
        lambda: _method(recipe, recipe.kind.networks(recipe.configure())),
        recipe.trainer,
        recipe.optimizers or {},
        processes,
        f"recipe {recipe.name}",
    )


def _train(
    run: RunFolder,
    recipe: TranslationRecipe,
    networks: nn.Module,
    domains: dict[str, Domain],
    usual: dict[str, tuple[int, int]],
    accelerator: Accelerator,
    workers: int | None,
    resume: bool,
    console: Console,
    quiet: bool,
) -> None:
    method = _method(recipe, networks)
    count = workers if workers is not None else default_workers(accelerator.device)
    trainer = Trainer(
        method=method,
        config=recipe.trainer,
        optimizers=recipe.optimizers or recipe.kind.optimizers(),
        streams={
            name: _opener(domain, usual[name], recipe, accelerator, count, 10 * recipe.seed + number)
            for number, (name, domain) in enumerate(domains.items())
        },
        run=run.path,
        stage=_STAGE,
        seed=recipe.seed,
        accelerator=accelerator,
        on_sample=_Pictures(run.path, networks, domains, recipe, accelerator.device)
        if accelerator.is_main_process
        else None,
        console=console,
        quiet=quiet,
    )
    if resume:
        trainer.resume_newest()
    trainer.fit()


def _method(recipe: TranslationRecipe, networks: nn.Module) -> Any:
    return recipe.kind.method(networks, recipe.kind.method.Options(**recipe.options))


def _augmentation(recipe: TranslationRecipe, usual: tuple[int, int]) -> Augmentation:
    side, load = recipe.size, recipe.load or recipe.size
    resize = (load, load) if recipe.pixels is None else _working_size(recipe, usual)
    crop = (side, side) if resize != (side, side) else None
    return Augmentation(resize=resize, crop=crop, flip=0.5, resample=recipe.kind.resample)


def _opener(
    domain: Domain,
    usual: tuple[int, int],
    recipe: TranslationRecipe,
    accelerator: Accelerator,
    workers: int,
    seed: int,
) -> Callable[[int], Iterator[Batch]]:
    augmentation = _augmentation(recipe, usual)
    dataset = DomainDataset(domain, augmentation, seed=seed)
    sampler = UniformSampler(len(domain.images), seed)
    return stream_opener(dataset, sampler, recipe.trainer, accelerator, workers)


class _Pictures:
    """Writes ``samples/<step>.png``: up to four images of each domain, and below them what they become."""

    def __init__(
        self,
        run: Path,
        networks: nn.Module,
        domains: dict[str, Domain],
        recipe: TranslationRecipe,
        device: torch.device,
    ) -> None:
        self.run, self.networks, self.device = run, networks, device
        count = min(4, *(len(domain.images) for domain in domains.values()))
        self.images = {
            n: [_sample(d.images[i], recipe) for i in _spread(d, count)] for n, d in domains.items()
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
        picture = Image.fromarray(as_pixels(torch.cat(rows, 1)))
        write_png(picture, self.run / "samples" / f"{step:06}.png")


def _spread(domain: Domain, count: int) -> list[int]:
    return [int(i) for i in np.linspace(0, len(domain.images) - 1, count)]


def _sample(file: FileRef, recipe: TranslationRecipe) -> Tensor:
    """A square [3, size, size] of an image at the scale that the translator is trained at."""
    image, side = read_image(file), recipe.size
    if recipe.pixels is None:
        return as_tensor(image, (side, side), recipe.kind.resample)
    working_size = _working_size(recipe, (image.shape[1], image.shape[0]))
    tensor = as_tensor(image, working_size, recipe.kind.resample)
    top, left = (tensor.shape[1] - side) // 2, (tensor.shape[2] - side) // 2
    return tensor[:, top : top + side, left : left + side]


def _working_size(recipe: TranslationRecipe, size: tuple[int, int]) -> tuple[int, int]:
    """About ``pixels`` pixels at the aspect ratio of ``size``, and large enough to cut a square out."""
    assert recipe.pixels is not None
    width, height = size_for(recipe.pixels, size)
    grow = max(1.0, recipe.size / min(width, height))
    return math.ceil(width * grow), math.ceil(height * grow)


def _report(run: RunFolder, recipe: TranslationRecipe, domains: dict[str, Domain], seconds: float) -> None:
    a, b = titles(*domains.values())
    write_training_report(
        run,
        title=f"{a} ↔ {b}" if a != b else run.path.name,
        lead=f"Images of each set, and what the other's look makes of them. The sets: a is {a}, b is {b}. They were "
        f"trained on without pairs, so there is no truth to compare with.",
        rows=("a", "a in b's look", "b", "b in a's look"),
        data=[(name, f"{len(domain.images):,} images\n{domain.root}") for name, domain in domains.items()],
        recipe=recipe,
        seconds=seconds,
        use=f"stylebridge translate apply {run.path} PHOTOS --to b --out out/",
    )


def _facts(recipe: TranslationRecipe, domains: dict[str, Domain], device: torch.device) -> dict[str, Any]:
    return {
        "kind": "translate",
        "recipe": recipe.name,
        **{name: domain.spec for name, domain in domains.items()},
        "images": {name: len(domain.images) for name, domain in domains.items()},
        **facts_of_start(device),
    }
