"""The translator inside a run of `stylebridge adapt` with a Bridge recipe: both directions, with region styles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stylebridge.data.label_space import LabelSpace
from stylebridge.data.resizing import resized
from stylebridge.engine import checkpoint as ckpt
from stylebridge.errors import DataError, RunError
from stylebridge.jobs.apply.models.segmenter import AdaptedModel, load_adapted
from stylebridge.jobs.apply.models.styles import MEAN, RegionStyle, StylePhotos, predict_map
from stylebridge.jobs.pictures import as_pixels, as_tensor
from stylebridge.jobs.recipe.adapt import AdaptRecipe
from stylebridge.jobs.runs.folder import RunFolder, open_run
from stylebridge.methods.bridge import Bridge, BridgeOptions
from stylebridge.networks.bridge import BridgeTranslator, Painters, Styles, critics
from stylebridge.networks.segmenters.build import Segmenter

#: The names that translators give their two domains, and Bridge's own.
DOMAINS = {"a": "source", "b": "target", "source": "source", "target": "target"}


def bridge_stage(run: RunFolder, recipe: AdaptRecipe) -> int | None:
    """The number of the last finished stage that left translators; None if there is none."""
    stages = [i for i, stage in enumerate(recipe.stages) if stage.method == Bridge.name]
    finished = [
        i for i in stages if (run.stage(recipe.stage_name(i)) / "networks" / "painters.safetensors").is_file()
    ]
    return finished[-1] if finished else None


def load_bridge(
    run: RunFolder, recipe: AdaptRecipe, segmenter: Segmenter, device: torch.device
) -> tuple[nn.ModuleDict, Painters]:
    """The critics (whose encoders are used) and painters of a run, in evaluation mode.

    Raises:
        RunError: the run has no translators, or they are damaged.
    """
    index = bridge_stage(run, recipe)
    if index is None:
        raise RunError(
            f"{run.path} holds no translator: its recipe {recipe.name} trains none, or is not finished. Use a run of "
            f"`stylebridge adapt --recipe bridge-small` or of `stylebridge translate train`."
        )
    options = BridgeOptions(**recipe.stages[index].options)
    networks = {
        "critics": critics(options.networks, segmenter.num_classes, segmenter),
        "painters": Painters(options.networks, segmenter.num_classes),
    }
    folder = run.stage(recipe.stage_name(index)) / "networks"
    for name, network in networks.items():
        ckpt.load_network(network, folder / f"{name}.safetensors")
        network.to(device).requires_grad_(False).eval()
    return networks["critics"], networks["painters"]  # type: ignore[return-value]


@dataclass(frozen=True)
class BridgeRun:
    """A finished run's translator and the segmenter that predicts label maps for it."""

    critics: nn.ModuleDict
    painters: Painters
    model: AdaptedModel
    size: tuple[int, int] | None
    device: torch.device

    @staticmethod
    def open(path: str | Path, device: torch.device) -> BridgeRun:
        """Open a run folder.

        Raises:
            UserError: it is no run of `stylebridge adapt`, is not finished, or has no translators.
        """
        run = open_run(Path(path), "adapt")
        model = load_adapted(run.path)
        model.segmenter.to(device)
        recipe = run.recipe()
        parts = load_bridge(run, recipe, model.segmenter, device)
        return BridgeRun(*parts, model, recipe.inference.size, device)

    @property
    def space(self) -> LabelSpace:
        """The classes."""
        return self.model.space

    @torch.inference_mode()
    def translate(
        self, image: np.ndarray, labels: np.ndarray | None, to: str, wanted: Styles | None = None
    ) -> np.ndarray:
        """Paint an image as one of the other domain, at the size the model was trained on, brought back to its own.

        Args:
            image: uint8 [H, W, 3].
            labels: its label map uint8 [H, W]; None: predicted.
            to: a key of :data:`DOMAINS`.
            wanted: from :meth:`styles`; None: the domain's mean styles.
        """
        translator = BridgeTranslator(self.critics, self.painters, domain_of(to))
        tensor, maps = self._prepare(image, labels)
        made = as_pixels(translator(tensor, maps, wanted)[0])
        return resized(made, (image.shape[1], image.shape[0]))

    @torch.inference_mode()
    def styles(self, image: np.ndarray, labels: np.ndarray | None, of: str) -> Styles:
        """The region styles of an image of a domain."""
        tensor, maps = self._prepare(image, labels)
        return BridgeTranslator(self.critics, self.painters, domain_of(of)).styles_of(tensor, maps)

    def mean_styles(self, of: str) -> Styles:
        """A domain's mean styles."""
        return self.painters.heads[domain_of(of)].mean_styles(1)  # type: ignore[operator]

    def _prepare(self, image: np.ndarray, labels: np.ndarray | None) -> tuple[Tensor, Tensor]:
        labels = predict_map(self.model, image) if labels is None else labels
        tensor = as_tensor(image, self.size)[None].to(self.device)
        height, width = tensor.shape[-2:]
        return tensor, torch.from_numpy(resized(labels, (width, height))).long()[None].to(self.device)

    def wanted(
        self, to: str, photos: StylePhotos, style: str | None, wishes: tuple[RegionStyle, ...]
    ) -> Styles:
        """Styles as a user asks for them: those of one photo or the mean, and some classes' from elsewhere."""
        known: dict[str, Styles] = {MEAN: self.mean_styles(to)}

        def look(photo: str) -> Styles:
            if photo not in known:
                known[photo] = self.styles(*photos.read(photo), to)
            return known[photo]

        base = look(style) if style is not None else known[MEAN]
        codes, looks, present = (t.clone() for t in base)
        for wish in wishes:
            first = look(wish.first)
            second = look(wish.second) if wish.second is not None else first
            for mine, one, two in (
                (codes, first.codes, second.codes),
                (looks, first.looks, second.looks),
            ):
                mine[:, wish.index] = torch.lerp(one[:, wish.index], two[:, wish.index], wish.share)
        return Styles(codes, looks, present)


def domain_of(to: str) -> str:
    """``a`` and ``source`` are the source, ``b`` and ``target`` the target.

    Raises:
        DataError: it is none of them.
    """
    if to not in DOMAINS:
        raise DataError(f"There is no domain {to!r}: choose a (the source) or b (the target).")
    return DOMAINS[to]
