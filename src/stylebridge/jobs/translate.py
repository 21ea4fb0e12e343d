"""Translate images from one look to another without pairs: train a translator, and use it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file
from torch import Tensor, nn

from stylebridge.data.augment import Augmentation
from stylebridge.data.dataset import DomainDataset
from stylebridge.data.domain import Domain, check_domain, open_domain
from stylebridge.data.images import read_image
from stylebridge.data.loader import Loader
from stylebridge.data.sampling import UniformSampler
from stylebridge.engine import Trainer, open_accelerator
from stylebridge.engine import checkpoint as ckpt
from stylebridge.engine.method import Batch
from stylebridge.engine.rng import seed_everything
from stylebridge.errors import DataError, RunError
from stylebridge.jobs.adapt import default_workers, device_name, new_run_when_main
from stylebridge.jobs.run_folder import RunFolder, open_run
from stylebridge.jobs.segment_inputs import collect_inputs
from stylebridge.jobs.translation_recipe import TranslationRecipe, load_translation_recipe
from stylebridge.version import __version__

_STAGE = "1-translate"


# --- training -----------------------------------------------------------------------------------------------


def train_translator(
    a: str | Path | None = None,
    b: str | Path | None = None,
    out: str | Path = "runs/translate",
    recipe: str | Path = "nice-gan-small",
    *,
    seed: int | None = None,
    device: str = "auto",
    overrides: list[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    quiet: bool = False,
    console: Console | None = None,
) -> Path:
    """Train a translator between two sets of images.

    Args:
        a, b: unlabelled data, as :func:`stylebridge.data.open_domain` takes it. May be left out with ``resume``.
        out: the run folder to make.
        recipe: a built-in translation recipe's name, or a YAML file.

    Returns:
        The run folder.

    Raises:
        UserError: a path, key or value is wrong.
        TrainingStopped: a loss or gradient was not finite.
    """
    console = console or Console(stderr=True, quiet=quiet)
    if resume:
        run = open_run(Path(out), "translate")
        chosen = load_translation_recipe(run.path / "recipe.yaml")
        facts = run.facts()
        if facts.get("imported"):
            raise RunError(f"{run.path} was imported, so it has no training to resume: start a new run.")
        a, b = facts["a"], facts["b"]
    else:
        if a is None or b is None:
            raise DataError("Give both --a FOLDER and --b FOLDER.")
        run = new_run_when_main(Path(out), overwrite)
        chosen = load_translation_recipe(
            recipe, [*(overrides or []), *([f"seed={seed}"] if seed is not None else [])]
        )
    assert a is not None
    assert b is not None
    domains = {name: open_domain(path, name, labelled=False) for name, path in (("a", a), ("b", b))}
    accelerator = open_accelerator(device, chosen.precision)
    with console.status("Checking the images …"):
        for domain in domains.values():
            check_domain(domain)
    if accelerator.is_main_process and not resume:
        run.begin(chosen, _facts(chosen, domains, accelerator.device))  # type: ignore[arg-type]
    accelerator.wait_for_everyone()
    seed_everything(chosen.seed)
    networks = chosen.kind.build(chosen.preset)
    _train(run, chosen, networks, domains, accelerator, workers, resume, console, quiet)
    if accelerator.is_main_process:
        save_networks(networks, run.path)
    accelerator.wait_for_everyone()
    return run.path


def _train(
    run: RunFolder,
    recipe: TranslationRecipe,
    networks: nn.Module,
    domains: dict[str, Domain],
    accelerator: Accelerator,
    workers: int | None,
    resume: bool,
    console: Console,
    quiet: bool,
) -> None:
    method = recipe.kind.method(networks, recipe.kind.method.Options(**recipe.options))
    count = workers if workers is not None else default_workers(accelerator.device)
    trainer = Trainer(
        method=method,
        config=recipe.trainer,
        optimizers=recipe.optimizers or recipe.kind.optimizers(),
        streams={
            name: _opener(domain, recipe, accelerator, count, 10 * recipe.seed + number)
            for number, (name, domain) in enumerate(domains.items())
        },
        run=run.path,
        stage=_STAGE,
        seed=recipe.seed,
        accelerator=accelerator,
        on_sample=_Pictures(run.path, networks, domains, recipe.size, accelerator.device),
        console=console,
        quiet=quiet,
    )
    saved = ckpt.find_checkpoints(trainer.folder) if resume else []
    if saved:
        trainer.resume(saved[-1])
    trainer.fit()


def _opener(
    domain: Domain, recipe: TranslationRecipe, accelerator: Accelerator, workers: int, seed: int
) -> Callable[[int], Iterator[Batch]]:
    side, load = recipe.size, recipe.load
    augmentation = Augmentation(
        resize=(load or side, load or side), crop=(side, side) if load else None, flip=0.5
    )
    dataset = DomainDataset(domain, augmentation, seed=seed)
    sampler = UniformSampler(len(domain.images), seed)
    processes = accelerator.num_processes
    images = recipe.trainer.batch // (processes * recipe.trainer.accumulate)

    def open_stream(first_micro_batch: int) -> Iterator[Batch]:
        return iter(
            Loader(
                dataset,
                sampler,
                batch_size=images,
                start_position=first_micro_batch * images * processes,
                process_index=accelerator.process_index,
                process_count=processes,
                workers=workers,
                pin_memory=accelerator.device.type == "cuda",
            )
        )

    return open_stream


class _Pictures:
    """Writes ``samples/<step>.png``: up to four images of each domain, and below them what they become."""

    def __init__(
        self, run: Path, networks: nn.Module, domains: dict[str, Domain], side: int, device: torch.device
    ) -> None:
        self.run, self.networks, self.device = run, networks, device
        count = min(4, *(len(domain.images) for domain in domains.values()))
        self.images = {n: [_square(d.images[i], side) for i in _spread(d, count)] for n, d in domains.items()}

    @torch.no_grad()
    def __call__(self, step: int) -> None:
        rows = []
        state = torch.get_rng_state()
        for name, images in self.images.items():
            translate = self.networks.translator("b" if name == "a" else "a").to(self.device)  # type: ignore[operator]
            out = translate(torch.stack(images).to(self.device)).cpu()
            rows += [torch.cat(list(images), 2), torch.cat(list(out), 2)]
        torch.set_rng_state(state)
        folder = self.run / "samples"
        folder.mkdir(exist_ok=True)
        Image.fromarray(_pixels(torch.cat(rows, 1))).save(folder / f"{step:06}.png")


def _spread(domain: Domain, count: int) -> list[int]:
    return [int(i) for i in np.linspace(0, len(domain.images) - 1, count)]


def _square(file: Any, side: int) -> Tensor:
    picture = Image.fromarray(read_image(file)).resize((side, side), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def _pixels(image: Tensor) -> np.ndarray:
    return (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def _facts(recipe: TranslationRecipe, domains: dict[str, Domain], device: torch.device) -> dict[str, Any]:
    return {
        "kind": "translate",
        "recipe": recipe.name,
        **{name: domain.spec for name, domain in domains.items()},
        "images": {name: len(domain.images) for name, domain in domains.items()},
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "device": device_name(device),
        "versions": {
            "stylebridge": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    }


# --- networks on the disk -----------------------------------------------------------------------------------


def save_networks(networks: nn.Module, run: Path) -> None:
    """Write ``networks/discriminators.safetensors`` and ``generators.safetensors``, and the settings; the folder is
    whole or not there."""
    beside = run / ".partial-networks"
    shutil.rmtree(beside, ignore_errors=True)
    with ckpt.explain_full_disk("the translator", run):
        beside.mkdir(parents=True)
        for name, part in networks.named_children():
            ckpt.save_tensors(part.state_dict(), beside / f"{name}.safetensors")
        settings = networks.config.model_dump_json()  # type: ignore[union-attr,operator]
        (beside / "config.json").write_text(str(settings), encoding="utf-8")
    shutil.rmtree(run / "networks", ignore_errors=True)
    os.replace(beside, run / "networks")


def load_networks(run: Path) -> nn.Module:
    """The networks of a finished translation run.

    Raises:
        RunError: there is no run, it is of another kind, or it is not finished.
    """
    opened = open_run(run, "translate")
    recipe = load_translation_recipe(run / "recipe.yaml")
    folder = opened.path / "networks"
    if not folder.is_dir():
        raise RunError(
            f"{run} has no finished translator: continue it with `stylebridge translate train --resume --out {run}`."
        )
    try:
        networks = recipe.kind.build_from((folder / "config.json").read_text(encoding="utf-8"))
        for name, part in networks.named_children():
            part.load_state_dict(load_file(folder / f"{name}.safetensors"))
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise RunError(f"{folder} is damaged ({reason}): train or import it again.") from error
    return networks


# --- use ----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def translate(
    run: str | Path,
    images: str | Path | list[str | Path],
    out: str | Path,
    *,
    to: str = "b",
    size: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Translate images with a trained translator, as PNG files of the images' own sizes and names.

    Args:
        to: the domain they shall look like, ``a`` or ``b``.
        size: resize images to this square first; None: as they are (sides that do not fit the network's stride are
            padded, and cropped back).

    Returns:
        How many images were written.

    Raises:
        UserError: the run, an image or the output folder is not what it should be.
    """
    translator = load_networks(Path(run)).translator(to)  # type: ignore[operator]
    inputs = collect_inputs([images] if isinstance(images, str | Path) else images)
    if inputs.videos:
        raise DataError(f"{next(iter(inputs.videos))} is a video: translate takes images.")
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file: give a folder as --out.")
    outputs = {file: folder / f"{name}.png" for file, name in inputs.images.items()}
    existing = next((path for path in outputs.values() if path.exists()), None)
    if existing is not None and not overwrite:
        raise RunError(f"{existing} exists already: choose another --out or give --overwrite.")
    accelerator = open_accelerator(device)
    translator = translator.to(accelerator.device)
    for file, path in track(outputs.items(), "translate", console=Console(stderr=True, quiet=quiet)):
        if size is None:
            image = torch.from_numpy(read_image(file)).permute(2, 0, 1).float() / 255
        else:
            image = _square(file, size)
        result = translator(image[None].to(accelerator.device))[0].float().cpu()
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.partial")
        Image.fromarray(_pixels(result)).save(beside, format="PNG")
        os.replace(beside, path)
    return len(outputs)
