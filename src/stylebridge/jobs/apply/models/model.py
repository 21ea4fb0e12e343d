"""One object for any finished run: its capabilities, and their use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from stylebridge.data.text_files import TextFileError, read_yaml
from stylebridge.engine import open_accelerator
from stylebridge.engine.rng import drawing
from stylebridge.errors import RunError, UserError
from stylebridge.jobs.apply.files.arrays import Picture, as_image, as_labels
from stylebridge.jobs.apply.files.instances import edges_of
from stylebridge.jobs.apply.models.bridge import BridgeRun, bridge_stage
from stylebridge.jobs.apply.models.domains import Domains
from stylebridge.jobs.apply.models.mixer import FACTORS, Mixing, Mode, load_mixer, pixels, squared
from stylebridge.jobs.apply.models.segmenter import AdaptedModel, open_segmenter
from stylebridge.jobs.apply.models.style_photos import StylePhotos
from stylebridge.jobs.apply.models.styles import StyleRequest
from stylebridge.jobs.apply.models.synthesizer import Synthesizer
from stylebridge.jobs.apply.models.translator import PlainTranslator, Translator
from stylebridge.jobs.runs.folder import RunFolder, find_run
from stylebridge.networks.mixnmatch import Mixer

#: The capabilities of runs, in the order of pages and messages, with the commands that create such runs.
CAPABILITIES: Mapping[str, str] = {
    "segment": "`stylebridge adapt`",
    "translate": "`stylebridge translate train` or `stylebridge adapt --recipe bridge-small`",
    "synthesize": "`stylebridge synthesize train`",
    "mix": "`stylebridge mix train`",
}

#: Opens the part for a capability; called with the model.
_Open = Callable[["Model"], Any]

#: The capabilities of every finished run of a task.
_TASKS: Mapping[str, Mapping[str, _Open]] = {
    "adapt": {"segment": lambda model: open_segmenter(model.path, model.device)},
    "translate": {"translate": lambda model: PlainTranslator.open(model.path, model.device)},
    "synthesize": {"synthesize": lambda model: Synthesizer.open(model.path, model.device)},
    "mix": {"mix": lambda model: load_mixer(model.path).to(model.device)},
}
_SEGMENTER = "segmenter"


def _of_stages(path: Path) -> Mapping[str, _Open]:
    """The capabilities that finished stages of an adaptation add, by their methods."""
    if not any(path.glob("stages/*/networks")):
        return {}
    run = RunFolder(path)
    try:
        bridge = bridge_stage(run, run.recipe())
    except UserError:  # with a damaged recipe the segmenter still works
        return {}
    if bridge is None:
        return {}
    return {"translate": lambda model: BridgeRun.open(model.path, model.device, model.segmenter)}


class Model:
    """A finished run. Weights are loaded on first use of a capability.

    Attributes:
        path: the run folder.
        task: the task of the run: ``adapt``, ``translate``, ``synthesize`` or ``mix``; ``segmenter`` for a folder taken
            from a run.
        capabilities: in the order of :data:`CAPABILITIES`.
    """

    def __init__(
        self, path: Path, task: str, parts: Mapping[str, _Open], device: str | torch.device = "auto"
    ) -> None:
        self.path, self.task = path, task
        self.capabilities = tuple(name for name in CAPABILITIES if name in parts)
        self._parts, self._opened, self._device = parts, {}, device

    @cached_property
    def device(self) -> torch.device:
        """The device of the networks. Raises RecipeError if it is not available."""
        given = self._device
        return given if isinstance(given, torch.device) else open_accelerator(given).device

    def can(self, capability: str) -> bool:
        """Whether the run has a capability, such as ``translate``."""
        return capability in self.capabilities

    def require(self, capability: str) -> Model:
        """Return the model itself, if the run has a capability.

        Raises:
            RunError: it does not; the message lists its capabilities.
        """
        if not self.can(capability):
            named = f", recipe {self.recipe}" if self.recipe else ""
            raise RunError(
                f"{self.path} ({self.task}{named}) can {' and '.join(self.capabilities)}, not {capability}",
                f"give a run of {CAPABILITIES[capability]}",
            )
        return self

    @property
    def recipe(self) -> str:
        """The name of the run's recipe, or an empty string."""
        try:
            return str((read_yaml(self.path / "recipe.yaml") or {}).get("name") or "")
        except (OSError, TextFileError, AttributeError):
            return ""

    # --- the parts, opened ----------------------------------------------------------------------------------

    def _part(self, capability: str) -> Any:
        if capability not in self._opened:
            self._opened[capability] = self.require(capability)._parts[capability](self)
        return self._opened[capability]

    @property
    def segmenter(self) -> AdaptedModel:
        """The part for ``segment``. Raises RunError."""
        return self._part("segment")

    @property
    def translator(self) -> Translator:
        """The part for ``translate``. Raises RunError."""
        return self._part("translate")

    @property
    def synthesizer(self) -> Synthesizer:
        """The part for ``synthesize``. Raises RunError."""
        return self._part("synthesize")

    @property
    def mixer(self) -> Mixer:
        """The networks for ``mix``. Raises RunError."""
        return self._part("mix")

    # --- use ------------------------------------------------------------------------------------------------

    def segment(self, image: Picture) -> np.ndarray:
        """The label map uint8 [H, W] of an image: class indices.

        Args:
            image: uint8 [H, W, 3] RGB, a PIL image, or a file.

        Raises:
            UserError: the run cannot segment, or the image cannot be read.
        """
        return self.segmenter.predict(as_image(image))

    def translate(
        self,
        image: Picture,
        to: str | None = None,
        style: Picture | None = None,
        *,
        style_labels: Picture | None = None,
        region_styles: Sequence[str] = (),
        mixes: Sequence[str] = (),
        labels: Picture | None = None,
        size: int | None = None,
        pixels: int | None = None,
        seed: int = 0,
    ) -> np.ndarray:
        """Translate an image of the other domain to the domain ``to``: uint8 [H, W, 3].

        Args:
            to: the domain's name, ``a`` or ``source``, ``b`` or ``target``; None: the second.
            style, style_labels, region_styles, mixes: see :class:`~stylebridge.jobs.apply.models.styles.StyleRequest`.
            labels: the image's label map, for a run that needs one; None: predicted.
            size, pixels: see :class:`~stylebridge.jobs.apply.models.translator.Translator`.
            seed: of the noise of translators that add some (Bridge).

        Raises:
            UserError: the run cannot translate, has no such domain, or cannot use the style; or a file is invalid.
        """
        translator = self.translator
        wanted = translator.resolve(StyleRequest(style, style_labels, region_styles, mixes), to)
        known = None if labels is None or translator.space is None else as_labels(labels, translator.space)
        with drawing(seed):
            return translator.translate(as_image(image), to, wanted, labels=known, size=size, pixels=pixels)

    def synthesize(
        self,
        labels: Picture,
        style: Picture | None = None,
        *,
        style_labels: Picture | None = None,
        region_styles: Sequence[str] = (),
        mixes: Sequence[str] = (),
        instances: Picture | None = None,
        segmenter: Model | None = None,
        seed: int = 0,
    ) -> np.ndarray:
        """An image uint8 [H, W, 3] for a label map.

        Args:
            labels: class indices uint8 [H, W] (255 = no class), a PIL image of them, or a file.
            style, style_labels, region_styles, mixes: see :class:`~stylebridge.jobs.apply.models.styles.StyleRequest`.
            instances: the instance map of the same size, for networks that take instance edges.
            segmenter: predicts the label maps of style photos without one.
            seed: for the noise, and a random style.

        Raises:
            UserError: the run cannot synthesize, or cannot use the style; or a file is invalid.
        """
        synthesizer = self.synthesizer
        request = StyleRequest(style, style_labels, region_styles, mixes)
        model = None if segmenter is None else segmenter.segmenter
        wanted = synthesizer.resolve(request, StylePhotos(synthesizer.space, style, style_labels, model))
        edges = None if instances is None else edges_of(instances)
        return synthesizer.draw(as_labels(labels, synthesizer.space), wanted, seed, edges=edges)

    def mix(
        self,
        background: Picture,
        shape: Picture,
        texture: Picture,
        pose: Picture | None = None,
        *,
        mode: Mode = "code",
    ) -> np.ndarray:
        """One image uint8 [S, S, 3], with each factor from a separate photo.

        Args:
            pose: needed in mode ``code``, not used in mode ``feature``.

        Raises:
            UserError: the run cannot mix, the mode is unknown, or a photo is missing or cannot be read.
        """
        mixing = self.mixing(mode)
        given = dict(zip(FACTORS, (pose, background, shape, texture), strict=True))
        coded = {}
        for factor in mixing.factors:
            if given[factor] is None:
                raise RunError(
                    f"Mode {mode} needs a photo that gives the {factor}", f"give {factor}, or mode feature"
                )
            photo = squared(as_image(cast("Picture", given[factor])), mixing.side)
            coded[factor] = mixing.encode(factor, photo[None])
        (made,) = mixing.paint(coded, {factor: [0] for factor in coded})
        return pixels(made.image)[0]

    def mixing(self, mode: Mode = "code") -> Mixing:
        """The mixer in this mode. Raises RunError."""
        return Mixing(self.mixer, mode)


def load(run: str | Path, device: str = "auto") -> Model:
    """A finished run, for use in Python: ``model.segment(image)``, ``model.translate(image, to="dusk")`` and so on.

    Args:
        run: any run folder, or a ``segmenter`` folder taken from one.
        device: ``auto`` (a GPU if available), ``cpu`` or ``cuda``.

    Raises:
        RunError: the run does not exist.
    """
    return open_model(run, device)


def open_model(run: str | Path, device: str | torch.device = "auto", capability: str | None = None) -> Model:
    """Open a finished run; weights are loaded on first use.

    Args:
        run: any run folder, or a ``segmenter`` folder taken from one.
        capability: the required capability, a key of :data:`CAPABILITIES`.

    Raises:
        RunError: the run does not exist, or does not have the capability.
    """
    path = Path(run)
    if (path / "stylebridge.json").is_file():
        model = Model(path, _SEGMENTER, _TASKS["adapt"], device)
    else:
        task = next((task for task, parts in _TASKS.items() if capability in parts), None)
        _, found = find_run(path, task)
        if found not in _TASKS:
            raise RunError(
                f"{path} is a run of the unknown task {found!r}", "update stylebridge, or give another run"
            )
        parts = {**_TASKS[found], **(_of_stages(path) if found == "adapt" else {})}
        model = Model(path, found, parts, device)
    return model if capability is None else model.require(capability)


def capabilities_of(path: Path) -> tuple[str, ...]:
    """The capabilities of a run, without loading weights; empty for a folder that is not a run."""
    try:
        return open_model(path).capabilities
    except RunError:
        return ()


def domains_of(path: Path) -> Domains:
    """The domains of a run that can translate, without loading weights. Raises RunError."""
    return Domains.of(RunFolder(open_model(path, capability="translate").path).facts())
