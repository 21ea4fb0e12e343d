"""Bridge's phases: the networks that each trains, those it does not, and its losses written out."""

import copy
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from stylebridge.engine import OptimizerConfig, Step
from stylebridge.engine.ema import make_average
from stylebridge.methods.bridge import Bridge, BridgeOptions
from stylebridge.methods.fada import FADAOptions
from stylebridge.methods.self_training import SelfTrainingOptions
from stylebridge.networks.bridge import Trunk
from stylebridge.networks.segmenters.build import SegmenterConfig, build_segmenter
from support.mini import CLASSES, MiniSegmenter, batches, mean_ce, mini_trainer

SIZE = (32, 40)
NETWORKS = {"channels": 4, "blocks": 1, "style_channels": 4, "hidden": 4}
ADAM = OptimizerConfig(kind="adam", lr=1e-2)
TEACHING = SelfTrainingOptions(teacher_decay=0.5, confidence=0.0, weighting="pixel", result="teacher")


def make_method(seed: int = 1, **options) -> Bridge:
    torch.manual_seed(seed)
    options = {"networks": NETWORKS, **options}
    return Bridge(MiniSegmenter(batch_norm=True), BridgeOptions(**options))


def make_streams(steps: int = 2) -> dict:
    streams = {
        "source": batches(steps, SIZE, seed=1),
        "target": batches(steps, SIZE, seed=2, labelled=False),
    }
    for made in streams.values():
        for batch in made:
            batch["image"] = batch["image"].float()
    return streams


def make_step(method: Bridge, number: int = 0) -> Step:
    """A step as the trainer makes it, with the teacher in place and everything frozen."""
    method.networks["teacher"] = make_average(method.segmenter)
    for network in method.networks.values():
        network.requires_grad_(False)
    batch = {name: made[0] for name, made in make_streams(1).items()}
    return Step(number=number, batch=batch, device=torch.device("cpu"), seed=3)


def losses_of(method: Bridge, phase: str, step: Step) -> dict[str, torch.Tensor]:
    (losses,) = [p.losses for p in method.phases() if p.name == phase]
    terms = [term for told in losses(step) for term in (told if isinstance(told, list) else [told])]
    return {term.name: term.value for term in terms}


def train(method: Bridge, folder: Path, steps: int = 2):
    optimizers = dict.fromkeys(method.trained(method.options), ADAM)
    trainer = mini_trainer(method, make_streams(steps), folder, optimizers)
    before = {name: copy.deepcopy(network) for name, network in method.networks.items()}
    trainer.fit()
    return {
        name for name, old in before.items()
        for mine, other in zip(method.networks[name].parameters(), old.parameters(), strict=True)
        if not torch.equal(mine, other)
    }  # fmt: skip


FULL = {"alignment": FADAOptions(), "self_training": TEACHING}


@pytest.mark.parametrize(
    ("options", "moved"),
    [
        ({"train": ["critics"]}, {"critics"}),
        ({"train": ["painters"]}, {"painters"}),
        ({"train": ["critics", "painters"]}, {"critics", "painters"}),
        ({"train": ["segmenter"]}, {"segmenter", "teacher"}),
        ({"train": ["segmenter"], "alignment": FADAOptions()}, {"segmenter", "teacher", "discriminator"}),
        ({"train": ["segmenter"], "self_training": TEACHING}, {"segmenter", "teacher"}),
        (FULL, {"segmenter", "teacher", "discriminator", "critics", "painters"}),
        ({**FULL, "turns": True}, {"segmenter", "teacher", "discriminator", "critics", "painters"}),
    ],
)
def test_a_stage_moves_what_it_trains_and_nothing_else(options, moved, tmp_path):
    assert train(make_method(**options), tmp_path) == moved


def test_without_a_segmenter_phase_the_segmenter_is_handed_on_as_it_was():
    method = make_method(train=["critics", "painters"], alignment=FADAOptions())
    assert method.result == "segmenter"
    assert "discriminator" not in method.networks
    assert make_method(**FULL).result == "teacher"


def test_the_critics_verdict_is_fadas_loss_on_the_patchs_class_shares():
    method = make_method()
    step = make_step(method)
    scores = torch.randn(2, 2 * CLASSES, 3, 4)
    (_, true), _ = (method._labels(step)[d] for d in ("source", "target"))
    label = step.batch["source"]["label"]
    one_hot = torch.stack([(label == k).float() for k in range(CLASSES)], 1) * method.options.clip
    shares = F.adaptive_avg_pool2d(one_hot, (3, 4))
    logs = scores.log_softmax(1)
    for real, half in ((True, logs[:, :CLASSES]), (False, logs[:, CLASSES:])):
        expected = -(shares * half).sum() / (2 * 3 * 4)
        torch.testing.assert_close(method._verdict(scores, true, real), expected)


def test_ordinary_critics_are_least_squares():
    method = make_method(networks={**NETWORKS, "class_critics": False})
    scores = torch.randn(2, 1, 3, 4)
    torch.testing.assert_close(
        method._verdict(scores, torch.zeros(2, CLASSES, 8, 8), True), (scores - 1).square().mean()
    )
    torch.testing.assert_close(
        method._verdict(scores, torch.zeros(2, CLASSES, 8, 8), False), scores.square().mean()
    )


def test_the_semantic_term_is_cross_entropy_of_the_translation_and_reaches_the_painters_alone():
    method = make_method(networks={**NETWORKS, "grain": False}, cycle_weight=0, style_weight=0, look_weight=0)
    step = make_step(method)
    method.networks["painters"].requires_grad_(True)
    losses = losses_of(method, "painters", step)
    made = step.memo["made"]["target"]
    teacher = method.networks["teacher"]
    torch.testing.assert_close(
        losses["semantic"].detach(),
        mean_ce(teacher(made), step.batch["source"]["label"]),
        rtol=1e-4,
        atol=1e-5,
    )
    losses["semantic"].backward()
    assert method.networks["painters"].generators["target"].paint.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in [*teacher.parameters(), *method.networks["critics"].parameters()])


def test_the_teachers_statistics_gather_target_images_only():
    method = make_method()
    step = make_step(method)
    other = make_method()
    target_only = make_step(other)
    losses_of(method, "painters", step)  # runs the teacher on the target and on translations
    other.teaching.teach(target_only.batch["target"]["image"])
    mine, theirs = (dict(m.networks["teacher"].named_buffers()) for m in (method, other))
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name], value, msg=name)


def test_the_segmenter_learns_from_translations_and_untouched_images():
    method = make_method(train=["segmenter"], source_weight=0.5, networks={**NETWORKS, "grain": False})
    step = make_step(method)
    losses = losses_of(method, "segmenter", step)
    label = step.batch["source"]["label"]
    for name, image in (
        ("translated", step.memo["made"]["target"]),
        ("source", step.batch["source"]["image"]),
    ):
        torch.testing.assert_close(
            losses[name], mean_ce(method.segmenter(image), label), rtol=1e-4, atol=1e-5
        )
    assert not torch.equal(step.memo["made"]["target"], step.batch["source"]["image"])


def test_translations_are_made_once_a_step():
    method = make_method(**FULL)
    step = make_step(method)
    calls = []
    painters = method.networks["painters"]
    original = painters.paint
    painters.paint = lambda domain, *a: (
        calls.append((domain, torch.is_grad_enabled())) or original(domain, *a)
    )
    for phase in method.phases():
        losses_of(method, phase.name, step)
    # Critics: one of each domain without graph; painters: translation and cycle of each; the segmenter: none.
    assert [domain for domain, graph in calls if not graph] == ["target", "source"]
    assert len([1 for _, graph in calls if graph]) == 4


def test_turns_train_one_direction_a_step():
    method = make_method(turns=True)
    even, odd = (losses_of(method, "painters", make_step(method, number)) for number in (0, 1))
    assert {"adversarial_target", "cycle_source", "semantic"} <= set(even)
    assert {"adversarial_source", "cycle_target"} <= set(odd)
    assert not set(even) & set(odd)


def test_options_that_train_nothing_are_refused():
    with pytest.raises(ValidationError, match="has no phase"):
        BridgeOptions(train=())
    with pytest.raises(ValidationError, match="would have no labels"):
        BridgeOptions(translated_weight=0)


@pytest.mark.slow
def test_critics_take_the_segmenters_first_layers_when_they_begin_to_learn_and_keep_them_afterwards():
    torch.manual_seed(0)
    segmenter = build_segmenter(SegmenterConfig(arch="fpn", encoder="resnet18", weights=None), CLASSES)
    shared = {**NETWORKS, "trunk": "segmenter"}

    def stage(train: str) -> tuple[Tensor, Tensor]:
        """A stage that goes on with critics from before the segmenter has moved; what its trunk and F's give."""
        old = Bridge(segmenter, BridgeOptions(networks=shared)).networks["critics"].state_dict()
        with torch.no_grad():
            segmenter.model.encoder.conv1.weight.mul_(1.5)
        method = Bridge(segmenter, BridgeOptions(networks=shared, train=(train,)))
        method.networks["critics"].load_state_dict(old)
        method.begin()
        image = torch.rand(1, 3, 32, 32)
        return method._critic("target").model[0](image * 2 - 1), Trunk(segmenter)(image * 2 - 1)

    theirs, now = stage("critics")
    assert torch.equal(theirs, now)
    theirs, now = stage("segmenter")
    assert not torch.allclose(theirs, now)
