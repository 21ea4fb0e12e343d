"""Bridge (ours): NICE-GAN × SEAN × FADA as one model; docs/bridge.md has the design and the findings.

The encoders inside the critics (NICE-GAN) produce codes and, averaged over regions, style codes; generators decode
codes by region (SEAN); critics and the feature discriminator judge domain and class jointly (FADA). The segmenter
learns from source images in target style and from its own mean teacher, whose predictions are the target's label maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from stylebridge.engine.method import Losses, Phase, Step, Term
from stylebridge.layers.precision import at_least_float32
from stylebridge.losses.adversarial import least_squares
from stylebridge.losses.class_level import class_level_loss, domain_encoding
from stylebridge.methods.base import SegmentationMethod, SegmentationOptions, mean_cross_entropy
from stylebridge.methods.fada import FADA, FADAOptions
from stylebridge.methods.registry import MethodSpec
from stylebridge.methods.self_training import SelfTraining, SelfTrainingOptions, use_batch_statistics
from stylebridge.networks.bridge import (
    OTHER,
    BridgeConfig,
    BridgeTranslator,
    Critic,
    Painters,
    Styles,
    Trunk,
    critics,
    encode,
)
from stylebridge.networks.segmenters.build import Segmenter


class BridgeOptions(SegmentationOptions):
    """Every term can be switched off, by a weight of 0 or by omission.

    ``train``: the phases that run. Without ``critics`` and ``painters`` the translators are not trained.
    ``painters_every``: interval of the critics' and painters' phases, in steps. ``turns``: alternate source-to-target
    and target-to-source training, instead of both in every step.
    ``style_weight``, ``look_weight``: of style recovery: of codes, and of the regions' mean colours and contrasts.
    ``translated_weight``, ``source_weight``: of the segmenter's cross-entropy on translated and on original source
    images. ``alignment``: FADA's options; None: no feature discriminator. ``self_training``: options of the
    self-training term; None: the teacher only labels the target for the translators, decaying by ``teacher_decay``.
    """

    networks: BridgeConfig = BridgeConfig()
    train: tuple[Literal["critics", "painters", "segmenter"], ...] = ("critics", "painters", "segmenter")
    painters_every: int = Field(default=1, gt=0)
    turns: bool = False
    adversarial_weight: float = Field(default=1.0, ge=0)
    cycle_weight: float = Field(default=1.0, ge=0)
    reconstruction_weight: float = Field(default=0.0, ge=0)
    style_weight: float = Field(default=1.0, ge=0)
    look_weight: float = Field(default=10.0, ge=0)
    semantic_weight: float = Field(default=1.0, ge=0)
    translated_weight: float = Field(default=1.0, ge=0)
    source_weight: float = Field(default=0.0, ge=0)
    teacher_decay: float = Field(default=0.99, ge=0, lt=1)
    temperature: float = Field(default=1.8, gt=0)
    clip: float = Field(default=0.9, gt=0, le=1)
    alignment: FADAOptions | None = None
    self_training: SelfTrainingOptions | None = None

    @model_validator(mode="after")
    def _fits(self) -> BridgeOptions:
        if not self.train:
            raise ValueError("train has no phase: give critics, painters, segmenter or several of them")
        if not self.networks.learnt and {"critics", "painters"} & set(self.train):
            raise ValueError(
                "networks.output is look: there are no critics or painters to train, remove them from train"
            )
        if self.segmenting and self.translated_weight == self.source_weight == 0:
            raise ValueError(
                "translated_weight and source_weight are both 0: the segmenter would have no labels"
            )
        return self

    @property
    def segmenting(self) -> bool:
        """Whether the segmenter is trained."""
        return "segmenter" in self.train


class Bridge(SegmentationMethod[BridgeOptions]):
    """Phases: critics (with encoders) · painters · segmenter · feature discriminator."""

    name = "bridge"
    streams: ClassVar[dict[str, bool]] = {"source": True, "target": False}
    trains: ClassVar[tuple[str, ...]] = ("segmenter", "critics", "painters", "discriminator")
    translates = True
    inherits: ClassVar[tuple[str, ...]] = ("critics", "painters", "discriminator")
    Options = BridgeOptions

    def __init__(self, segmenter: Segmenter, options: BridgeOptions | None = None) -> None:
        super().__init__(segmenter, options)
        o, classes = self.options, segmenter.num_classes
        self.networks["critics"] = critics(o.networks, classes, segmenter)
        self.networks["painters"] = Painters(o.networks, classes)
        teaching = o.self_training or SelfTrainingOptions(teacher_decay=o.teacher_decay)
        self.teaching = SelfTraining(segmenter, teaching)
        self.teaching.networks = self.networks
        self.averages |= self.teaching.averages
        if o.segmenting:
            self.result = self.teaching.result
        self.aligning = None
        if o.segmenting and o.alignment is not None:
            self.aligning = FADA(segmenter, o.alignment)
            self.networks["discriminator"] = self.aligning.discriminator

    @classmethod
    def trained(cls, options: Any) -> tuple[str, ...]:
        aligned = ("discriminator",) if options.segmenting and options.alignment is not None else ()
        return (*options.train, *aligned)

    def begin(self) -> None:
        """Copy the segmenter's first layers into critics that are built on them."""
        if "critics" in self.options.train and self.options.networks.trunk == "segmenter":
            for domain in _DOMAINS:
                self._critic(domain).take_trunk(Trunk(self.segmenter))

    def phases(self) -> Sequence[Phase]:
        every = self.options.painters_every
        phases = {
            "critics": Phase("critics", ("critics",), self._critics_losses, every),
            "painters": Phase("painters", ("painters",), self._painters_losses, every),
            "segmenter": Phase("segmenter", ("segmenter",), self._segmenter_losses),
        }
        chosen = [phase for name, phase in phases.items() if name in self.options.train]
        if self.aligning is not None:
            chosen.append(Phase("alignment", ("discriminator",), self.aligning.discriminator_losses))
        return chosen

    # ------------------------------------------------------------------ parts of a step

    def _critic(self, domain: str) -> Critic:
        both = self.networks["critics"]
        assert isinstance(both, nn.ModuleDict)
        critic = both[domain]
        assert isinstance(critic, Critic)
        return critic

    @property
    def _painters(self) -> Painters:
        painters = self.networks["painters"]
        assert isinstance(painters, Painters)
        return painters

    @torch.no_grad()
    def _labels(self, step: Step) -> dict[str, tuple[Tensor, Tensor]]:
        """Label map [B, H, W] and class evidence [B, K, H, W] of both domains: true labels for the source, the
        teacher's predictions for the target, computed once per step."""
        if "labels" not in step.memo:
            label = step.batch["source"]["label"]
            classes, clip = self.segmenter.num_classes, self.options.clip
            true = (
                F.one_hot(label.clamp(max=classes), classes + 1)[..., :classes].movedim(3, 1).float() * clip
            )
            logits = self.teaching.teach(step.batch["target"]["image"])
            soft = domain_encoding(logits, self.options.temperature, clip)
            step.memo["logits"] = logits
            step.memo["labels"] = {"source": (label, true), "target": (logits.argmax(1), soft)}
        return step.memo["labels"]

    def _turn(self, step: Step) -> tuple[str, ...]:
        """The output domains of this step."""
        if not self.options.turns:
            return ("target", "source")
        odd = step.number // self.options.painters_every % 2
        return ("source",) if odd else ("target",)

    def _code(self, domain: str, image: Tensor) -> Tensor:
        both = self.networks["critics"]
        assert isinstance(both, nn.ModuleDict)
        return encode(both, domain, image)

    @torch.no_grad()
    def _made(self, step: Step, *domains: str) -> dict[str, Tensor]:
        """Generated images of these domains, without graph; those of the target are made from source images."""
        made = step.memo.setdefault("made", {})
        missing = [domain for domain in domains if domain not in made]
        if missing:
            labels, image = self._labels(step), {d: step.batch[d]["image"] for d in _DOMAINS}
            codes = {d: self._code(d, image[d]) for d in _DOMAINS}
            follow = "painters" not in self.options.train  # otherwise their own phase does
            styles = {
                d: self._painters.styles(d, codes[d], image[d], labels[d][0], follow=follow) for d in _DOMAINS
            }
            for there in missing:
                here = OTHER[there]
                made[there] = self._painters.paint(
                    there, codes[here], image[here], labels[here][0], styles[here], styles[there]
                )
        return made

    @torch.no_grad()
    def translate(self, image: Tensor, label: Tensor, style: Tensor, segmenter: Segmenter) -> Tensor:
        """In the region styles of the target images, whose label maps the segmenter predicts."""
        critics = self.networks["critics"]
        translator = BridgeTranslator(critics, self._painters, "target")  # type: ignore[arg-type]
        states = [(network, network.training) for network in (critics, self._painters)]
        for network, _ in states:
            network.eval()
        made = translator(image, label, translator.styles_of(style, segmenter(style).argmax(1)))
        for network, training in states:
            network.train(training)
        return made

    # ------------------------------------------------------------------ phases

    def _critics_losses(self, step: Step) -> Losses:
        """Real against generated images of each domain, per class or jointly (both heads), and as a whole."""
        labels, made = self._labels(step), self._made(step, *self._turn(step))
        for domain in self._turn(step):
            critic, other = self._critic(domain), OTHER[domain]
            real = critic.encode(step.batch[domain]["image"] * 2 - 1)
            fake = critic.encode(made[domain] * 2 - 1)
            images = len(real.code)
            scores = critic.judge(torch.cat((real.code, fake.code)), passes=2)
            loss = least_squares(critic.attention_logit(real.features), 1.0)
            loss = loss + least_squares(critic.attention_logit(fake.features), 0.0)
            for score in scores:
                loss = loss + self._verdict(score[:images], labels[domain][1], True)
                loss = loss + self._verdict(score[images:], labels[other][1], False)
            yield Term(domain, loss)

    def _verdict(self, scores: Tensor, evidence: Tensor, real: bool) -> Tensor:
        """A patch head's loss for the target real or fake."""
        if not self.options.networks.class_critics:
            return least_squares(scores, 1.0 if real else 0.0)
        height, width = scores.shape[-2:]
        shares = F.adaptive_avg_pool2d(evidence, (height, width))
        return class_level_loss(scores, shares, "source" if real else "target")

    def _painters_losses(self, step: Step) -> Losses:
        """Adversarial, cycle, reconstruction, style recovery and semantic consistency, for each direction."""
        o, paint = self.options, self._painters.paint
        labels = self._labels(step)
        step.memo.setdefault("made", {})
        image = {d: step.batch[d]["image"] for d in _DOMAINS}
        with torch.no_grad():  # the encoders were updated: recompute their codes
            code = {d: self._code(d, image[d]) for d in _DOMAINS}
        for there in self._turn(step):
            here = OTHER[there]
            own = self._painters.styles(here, code[here], image[here], labels[here][0], follow=True)
            wanted = self._painters.styles(there, code[there], image[there], labels[there][0])
            label, evidence = labels[here]
            made = paint(there, code[here], image[here], label, own, wanted)
            if here == "source":
                step.memo["made"]["target"] = made.detach()
            critic = self._critic(there)
            encoding = critic.encode(made * 2 - 1)
            adversarial = least_squares(critic.attention_logit(encoding.features), 1.0)
            for score in critic.judge(encoding.code):
                adversarial = adversarial + self._verdict(score, evidence, True)
            terms = [Term(f"adversarial_{there}", adversarial, o.adversarial_weight)]
            if o.cycle_weight or o.style_weight or o.look_weight:
                again = self._painters.styles(there, encoding.code, made, label)
                if o.style_weight:
                    terms.append(Term(f"style_{there}", _style_distance(step, again, wanted), o.style_weight))
                if o.look_weight:
                    terms.append(Term(f"look_{there}", _look_distance(step, again, wanted), o.look_weight))
                if o.cycle_weight:
                    back = paint(here, encoding.code, made, label, again, own)
                    terms.append(Term(f"cycle_{here}", _distance(back, image[here]), o.cycle_weight))
            if here == "source" and o.semantic_weight:
                teacher = self.networks["teacher"]
                use_batch_statistics(teacher, gather=False)
                loss = mean_cross_entropy(step, teacher(made), label)
                terms.append(Term("semantic", loss, o.semantic_weight))
            yield terms
            if o.reconstruction_weight:
                own = self._painters.styles(here, code[here], image[here], label)
                same = paint(here, code[here], image[here], label, own, own)
                yield Term(f"reconstruction_{here}", _distance(same, image[here]), o.reconstruction_weight)

    def _segmenter_losses(self, step: Step) -> Losses:
        """Cross-entropy on translated (and untouched) source images, class-level confusion, self-training."""
        o, source, target = self.options, step.batch["source"], step.batch["target"]
        image = self._made(step, "target")["target"] if o.translated_weight else source["image"]
        if o.translated_weight:
            shown = replace(step, batch={**step.batch, "source": {**source, "image": image}})
            if self.aligning is not None:
                yield from self.aligning.segmenter_losses(shown)
            else:
                loss = mean_cross_entropy(step, self.segmenter(image), source["label"])
                yield Term("translated", loss, o.translated_weight)
        if o.source_weight:
            loss = mean_cross_entropy(step, self.segmenter(source["image"]), source["label"])
            yield Term("source", loss, o.source_weight)
        if o.self_training is not None:
            self._labels(step)
            pseudo, quality = self.teaching.trust(step, step.memo["logits"])
            yield self.teaching.mixed_term(step, image, source["label"], target["image"], pseudo, quality)


_DOMAINS: tuple[str, str] = ("source", "target")
#: Added to variances of colours.
_EPS = 1e-4


def _distance(image: Tensor, wanted: Tensor) -> Tensor:
    return F.l1_loss(at_least_float32(image), wanted)


def _style_distance(step: Step, styles: Styles, wanted: Styles) -> Tensor:
    """Mean |difference| of the codes, over the classes in the generated image."""
    shown = styles.present[..., None]
    difference = (at_least_float32(styles.codes) - wanted.codes.detach()).abs() * shown
    return step.mean(difference.sum(), shown.sum() * difference.shape[-1])


def _look_distance(step: Step, styles: Styles, wanted: Styles) -> Tensor:
    """Mean |difference| of the mean colours and of their deviations, over the classes in the generated image."""
    shown = styles.present[..., None]
    mine, others = (
        (s.looks[:, :-1, :3], s.looks[:, :-1, 3:6].clamp(min=_EPS).sqrt()) for s in (styles, wanted)
    )
    difference = torch.cat([(a - b.detach()).abs() for a, b in zip(mine, others, strict=True)], 2) * shown
    return step.mean(difference.sum(), shown.sum() * difference.shape[-1])


METHOD = MethodSpec(
    name="bridge",
    task="adapt",
    method=Bridge,
    title="Bridge",
    paper="ours (docs/bridge.md)",
)
