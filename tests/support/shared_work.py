"""What processes do together besides training, as one process or as one of several: everything it came to is returned.

Data lies in the folder: ``good`` and ``bad``, each with images and labels, ``target`` without labels, and
``three.yaml``.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from rich.console import Console
from torch import nn

from stylebridge.data import domain as domains
from stylebridge.data.domain import open_domain
from stylebridge.data.label_space import LabelSpace
from stylebridge.engine import open_accelerator
from stylebridge.engine.processes import Share, agreed, average_gradients, broadcast_state
from stylebridge.errors import StylebridgeError
from stylebridge.jobs.datasets.together import check_together, make_together
from stylebridge.jobs.recipe.adapt import InferenceConfig, LabelFreeConfig
from stylebridge.jobs.recipe.reading import load_recipe
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.jobs.tasks.adaptation.label_free import LabelFreeScores
from stylebridge.jobs.tasks.synthesize import gather_mean_styles
from stylebridge.networks.sean import SEANConfig, SEANNetworks
from support.folders import World, tiny_adapt
from support.mini import MiniSegmenter

QUIET = Console(quiet=True)


def caught(work: Any) -> str:
    """The message of what a call raises."""
    try:
        work()
    except (StylebridgeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


class Counted(nn.Module):
    """Buffers of all kinds, of another content in each process, and three parameters."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.steps = nn.Buffer(torch.tensor(3 + rank))
        self.known = nn.Buffer(torch.tensor([rank == 0, True, False]))
        self.rounded = nn.Buffer(torch.full((2,), 0.5 + rank, dtype=torch.float16))
        self.mean = nn.Buffer(torch.full((2, 2), 0.1 + rank, dtype=torch.float64))
        self.everywhere, self.here, self.nowhere = (nn.Parameter(torch.ones(2)) for _ in range(3))
        self.exact = nn.Parameter(torch.ones(1, dtype=torch.float64))


def together(folder: Path, out: Path) -> dict[str, Any]:
    """Do it all; ``out``: a new folder for what is written."""
    accelerator = open_accelerator("cpu")
    rank, main = accelerator.process_index, accelerator.is_main_process
    os.environ["XDG_CACHE_HOME"] = str(out / "cache")
    if main:
        out.mkdir()
    accelerator.wait_for_everyone()
    result: dict[str, Any] = {"agreed": agreed(f"process {rank}", accelerator)}
    if dist.is_initialized():
        backend = dist.group.WORLD._get_backend(torch.device("cpu"))  # type: ignore[union-attr]
        result["patience"] = backend.options._timeout.total_seconds()

    decoded = []
    check = domains._check_pair
    domains._check_pair = lambda *pair: decoded.append(str(pair[1])) or check(*pair)  # type: ignore[assignment]
    space = LabelSpace.load(folder / "three.yaml")
    good, bad = (open_domain(folder / n, n, labelled=True, space=space) for n in ("good", "bad"))
    first = check_together(good, accelerator, QUIET)
    result["decoded"] = len(decoded)
    again = check_together(good, accelerator, QUIET)
    result["decoded after"] = len(decoded)
    result["checked"] = [
        [getattr(s, name).tolist() for name in ("image_sizes", "pixel_counts", "ignored_counts")]
        for s in (first, again)
    ]
    result["bad"] = caught(lambda: check_together(bad, accelerator, QUIET))
    domains._check_pair = check

    def write(items: Any, beside: Path) -> None:
        for item in items:
            (beside / f"{item}.txt").write_text(str(item))

    make_together(out / "made", range(7), accelerator, write, lambda beside: write(["last"], beside), group=2)
    result["made"] = sorted(path.name for path in (out / "made").iterdir())
    result["groups"] = list(Share(range(7), accelerator, group=2).mine)

    def fail(items: Any, beside: Path) -> None:
        if 6 in items:
            raise ValueError("of one alone")

    result["failed"] = caught(lambda: make_together(out / "never", range(7), accelerator, fail))
    result["never"] = (out / "never").exists()

    torch.manual_seed(2)
    segmenter = MiniSegmenter(classes=3)
    scores = LabelFreeScores(
        RunFolder(out),
        "1-stage",
        LabelFreeConfig(images=5),
        replace(good, labels=None),
        InferenceConfig(),
        accelerator,
    )
    result["label free"] = [scores(step, segmenter) for step in (1, 2)]
    accelerator.wait_for_everyone()
    result["lines"] = scores.read()

    networks = SEANNetworks(
        SEANConfig(classes=3, channels=1, hidden=4, style_channels=16, discriminator_channels=3)
    )
    gather_mean_styles(
        networks, good, load_recipe("sean-small", ["size=[32, 32]"], task="synthesize"), accelerator, QUIET
    )
    result["styles"] = networks.generator.mean_styles.tolist(), networks.generator.style_counts.tolist()

    module = Counted(rank)
    broadcast_state([module], accelerator, parameters=False)
    result["buffers"] = {name: value.tolist() for name, value in module.named_buffers()}
    module.everywhere.grad = torch.full((2,), 1.0 + 2 * rank)
    module.exact.grad = torch.full((1,), 1.0 + 1e-12 * rank, dtype=torch.float64)
    if main:
        module.here.grad = torch.ones(2)
    average_gradients(list(module.parameters()), accelerator)
    result["gradients"] = {
        name: None if p.grad is None else p.grad.tolist() for name, p in module.named_parameters()
    }
    return result


#: A translator, scores while training, pseudo-labels: all that a run does besides training.
RECIPE, STAGES = "fada-small", ("1-source-only", "2-adversarial", "3-self-distillation")
SHORT = "trainer.steps=1, trainer.batch=2, trainer.sample_every=1, load=null, pixels=6000"
OVERRIDES = [
    "stages.1.translated=true",
    "stages.1.label_free={images: 3}",
    "stages.1.trainer.sample_every=1",
    f"translator={{recipe: cyclegan-small, overrides: [{SHORT}], pixels: 3000}}",
]


def whole_run(folder: Path, out: Path) -> None:
    """A run of ``stylebridge adapt`` with all kinds of work."""
    world = World(folder / "good", folder / "target", folder / "good", folder / "three.yaml")
    tiny_adapt(world, out, RECIPE, overrides=OVERRIDES, evaluate_on=world.held_out, workers=0)
