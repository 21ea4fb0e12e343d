"""One object for any finished run: what it can do, and doing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from stylebridge.data.text_files import TextFileError, read_yaml
from stylebridge.engine import open_accelerator
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

#: What runs can do, in the order in which pages and messages name it, and the commands that make such runs.
CAPABILITIES: Mapping[str, str] = {
    "segment": "`stylebridge adapt`",
    "translate": "`stylebridge translate train` or `stylebridge adapt --recipe bridge-small`",
    "synthesize": "`stylebridge synthesize train`",
    "mix": "`stylebridge mix train`",
}

#: Opens what a capability needs; takes the model.
_Open = Callable[["Model"], Any]

#: The capabilities that every finished run of a task has.
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
    except UserError:  # a damaged recipe does not keep the segmenter from its use
        return {}
    if bridge is None:
        return {}
    return {"translate": lambda model: BridgeRun.open(model.path, model.device, model.segmenter)}


class Model:
    """A finished run in use. Weights are read when a capability is first used.

    Attributes:
        path: the run folder.
        task: what made it: ``adapt``, ``translate``, ``synthesize`` or ``mix``; ``segmenter`` for a folder that was
            taken out of a run.
        capabilities: what it can do, in the order of :data:`CAPABILITIES`.
    """

    def __init__(
        self, path: Path, task: str, parts: Mapping[str, _Open], device: str | torch.device = "auto"
    ) -> None:
        self.path, self.task = path, task
        self.capabilities = tuple(name for name in CAPABILITIES if name in parts)
        self._parts, self._opened, self._device = parts, {}, device

    @cached_property
    def device(self) -> torch.device:
        """Where the networks are. Raises RecipeError if it is not there."""
        given = self._device
        return given if isinstance(given, torch.device) else open_accelerator(given).device

    def can(self, capability: str) -> bool:
        """Whether the run can do something, such as ``translate``."""
        return capability in self.capabilities

    def require(self, capability: str) -> Model:
        """The model itself, if the run can do something.

        Raises:
            RunError: it cannot; the message says what it can do.
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
        """The name of the recipe that the run was made with, or nothing."""
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
        """What ``segment`` uses. Raises RunError."""
        return self._part("segment")

    @property
    def translator(self) -> Translator:
        """What ``translate`` uses. Raises RunError."""
        return self._part("translate")

    @property
    def synthesizer(self) -> Synthesizer:
        """What ``synthesize`` uses. Raises RunError."""
        return self._part("synthesize")

    @property
    def mixer(self) -> Mixer:
        """The networks that ``mix`` uses. Raises RunError."""
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
    ) -> np.ndarray:
        """An image of the other domain, painted as one of the domain ``to``: uint8 [H, W, 3].

        Args:
            to: the domain's name, ``a`` or ``source``, ``b`` or ``target``; None: the second.
            style, style_labels, region_styles, mixes: see :class:`~stylebridge.jobs.apply.models.styles.StyleRequest`.
            labels: the image's label map, for a run that needs one; None: predicted.
            size, pixels: see :class:`~stylebridge.jobs.apply.models.translator.Translator`.

        Raises:
            UserError: the run cannot translate, has no such domain, or cannot take the style; or a file is wrong.
        """
        translator = self.translator
        wanted = translator.resolve(StyleRequest(style, style_labels, region_styles, mixes), to)
        known = None if labels is None or translator.space is None else as_labels(labels, translator.space)
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
        """A picture uint8 [H, W, 3] of a label map.

        Args:
            labels: class indices uint8 [H, W] (255 = no class), a PIL image of them, or a file.
            style, style_labels, region_styles, mixes: see :class:`~stylebridge.jobs.apply.models.styles.StyleRequest`.
            instances: the instance map of the same size, for networks that take instance edges.
            segmenter: predicts the label maps of style photos that have none.
            seed: of the noise, and of a random style.

        Raises:
            UserError: the run cannot synthesize, or cannot take the style; or a file is wrong.
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
        """One picture uint8 [S, S, 3], each of its factors from a photo of its own.

        Args:
            pose: needed in mode ``code``, not used in mode ``feature``.

        Raises:
            UserError: the run cannot mix, the mode is not known, or a photo is missing or cannot be read.
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
        """The mixer in a mode. Raises RunError."""
        return Mixing(self.mixer, mode)


def load(run: str | Path, device: str = "auto") -> Model:
    """A finished run, for use in Python: ``model.segment(image)``, ``model.translate(image, to="dusk")`` and so on.

    Args:
        run: any run folder, or a ``segmenter`` folder taken out of one.
        device: ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``.

    Raises:
        RunError: there is no run.
    """
    return open_model(run, device)


def open_model(run: str | Path, device: str | torch.device = "auto", capability: str | None = None) -> Model:
    """A finished run; weights are read when they are first used.

    Args:
        run: any run folder, or a ``segmenter`` folder taken out of one.
        capability: what the run must be able to do, of :data:`CAPABILITIES`.

    Raises:
        RunError: there is no run, or it cannot do what is required.
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
    """What a run can do, without reading its weights; nothing for a folder that is no run."""
    try:
        return open_model(path).capabilities
    except RunError:
        return ()


def domains_of(path: Path) -> Domains:
    """The domains of a run that can translate; no weights are read. Raises RunError."""
    return Domains.of(RunFolder(open_model(path, capability="translate").path).facts())
