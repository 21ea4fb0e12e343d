"""The translator of a Bridge stage of `stylebridge adapt`: both directions, with a style for each region."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stylebridge.data.label_space import LabelSpace
from stylebridge.data.resizing import resized
from stylebridge.engine import checkpoint as ckpt
from stylebridge.errors import RunError
from stylebridge.jobs.apply.files.arrays import Picture
from stylebridge.jobs.apply.models.domains import Domains
from stylebridge.jobs.apply.models.segmenter import AdaptedModel, open_segmenter
from stylebridge.jobs.apply.models.style_photos import StylePhotos, predict_map
from stylebridge.jobs.apply.models.styles import Row, StyleRequest, resolve_regions
from stylebridge.jobs.apply.models.translator import Translator
from stylebridge.jobs.pictures import as_pixels, as_tensor
from stylebridge.jobs.recipe.adapt import AdaptRecipe
from stylebridge.jobs.runs.folder import RunFolder, open_run
from stylebridge.methods.bridge import Bridge, BridgeOptions
from stylebridge.networks.bridge import BridgeTranslator, Painters, Styles, critics
from stylebridge.networks.segmenters.build import Segmenter


def bridge_stage(run: RunFolder, recipe: AdaptRecipe) -> int | None:
    """The number of the last finished stage with translators, or None."""
    stages = [i for i, stage in enumerate(recipe.stages) if stage.method == Bridge.name]
    finished = [
        i for i in stages if (run.stage(recipe.stage_name(i)) / "networks" / "painters.safetensors").is_file()
    ]
    return finished[-1] if finished else None


def load_bridge(
    run: RunFolder, recipe: AdaptRecipe, segmenter: Segmenter, device: torch.device
) -> tuple[nn.ModuleDict, Painters]:
    """The critics (for their encoders) and painters of a run, in evaluation mode.

    Raises:
        RunError: the run has no translators, or they are damaged.
    """
    index = bridge_stage(run, recipe)
    if index is None:
        raise RunError(f"{run.path} has no finished Bridge stage", "give another run, or continue this one")
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


class BridgeRun(Translator):
    """The translator of a finished run, with the segmenter that predicts its label maps."""

    styles = "region"
    any_size = False

    def __init__(
        self,
        critics: nn.ModuleDict,
        painters: Painters,
        model: AdaptedModel,
        size: tuple[int, int] | None,
        domains: Domains,
    ) -> None:
        self.critics, self.painters, self.model = critics, painters, model
        self.size, self.domains, self.space = size, domains, model.space

    @staticmethod
    def open(path: str | Path, device: torch.device, model: AdaptedModel | None = None) -> BridgeRun:
        """Open a run folder.

        Args:
            model: its segmenter, if already open.

        Raises:
            UserError: it is not a run of `stylebridge adapt`, is not finished, or has no translators.
        """
        run = open_run(Path(path), "adapt")
        model = model or open_segmenter(run.path, device)
        recipe = run.recipe()
        parts = load_bridge(run, recipe, model.segmenter, device)
        opened = BridgeRun(*parts, model, recipe.inference.size, Domains.of(run.facts()))
        opened.title = str(path)
        return opened

    @torch.inference_mode()
    def translate(
        self,
        image: np.ndarray,
        to: str | None = None,
        style: Any = None,
        *,
        labels: np.ndarray | None = None,
        size: int | None = None,
        pixels: int | None = None,
    ) -> np.ndarray:
        """As :meth:`Translator.translate`: at the model's training size, resized back to the image's size.
        ``style`` are :class:`Styles`; None: the domain's mean styles."""
        translator = BridgeTranslator(self.critics, self.painters, self.domains.key(to))
        tensor, maps = self._prepare(image, labels)
        made = as_pixels(translator(tensor, maps, style)[0])
        return resized(made, (image.shape[1], image.shape[0]))

    @torch.inference_mode()
    def code(self, photo: np.ndarray, to: str | None = None, labels: np.ndarray | None = None) -> Styles:
        """The region styles of a photo of a domain."""
        tensor, maps = self._prepare(photo, labels)
        return BridgeTranslator(self.critics, self.painters, self.domains.key(to)).styles_of(tensor, maps)

    def mean_styles(self, of: str | None = None) -> Styles:
        """A domain's mean styles."""
        return self.painters.heads[self.domains.key(of)].mean_styles(1)  # type: ignore[operator]

    def resolve(
        self, request: StyleRequest, to: str | None = None, read_as: LabelSpace | None = None
    ) -> Styles:
        """The mean styles or those of a photo, with styles of single classes from other photos."""
        request.check(self)
        photos = StylePhotos(self.model.space, request.style, request.style_labels, self.model, read_as)
        means = self.mean_styles(to)

        def code(photo: Picture) -> Styles:
            image, labels = photos.read(photo)
            return self.code(image, to, labels)

        def row(found: Styles | None, photo: str, index: int) -> Row:
            styles = found or means
            return styles.codes[:, index], styles.looks[:, index]

        base, rows = resolve_regions(request, self.model.space, code, row)
        codes, looks, present = (t.clone() for t in base or means)
        for index, (its_code, its_look) in rows.items():
            codes[:, index], looks[:, index] = its_code, its_look
        return Styles(codes, looks, present)

    def _prepare(self, image: np.ndarray, labels: np.ndarray | None) -> tuple[Tensor, Tensor]:
        labels = predict_map(self.model, image) if labels is None else labels
        tensor = as_tensor(image, self.size)[None].to(self.model.device)
        height, width = tensor.shape[-2:]
        labels = resized(labels, (width, height))
        return tensor, torch.from_numpy(labels).long()[None].to(self.model.device)
