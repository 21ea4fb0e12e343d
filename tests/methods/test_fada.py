"""FADA's adversarial stage against the specification's table, written out in plain torch."""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stylebridge.engine import OptimizerConfig, ScheduleConfig, Trainer
from stylebridge.methods.colour_transfer import match_colour
from stylebridge.methods.fada import FADA, FADAOptions
from support.mini import (
    SGD,
    MiniSegmenter,
    assert_same_weights,
    batches,
    mean_ce,
    mini_segmenter,
    mini_trainer,
)

STEPS, TOTAL = 3, 5
SOURCE_SIZE, TARGET_SIZE = (11, 14), (8, 13)
SCHEDULE = ScheduleConfig(kind="poly", power=0.9, total=TOTAL)
OPTIMIZERS = {
    "segmenter": OptimizerConfig(
        kind="sgd", lr=0.05, momentum=0.9, weight_decay=5e-4, group_lr={"head": 10}, schedule=SCHEDULE
    ),
    "discriminator": OptimizerConfig(kind="adam", lr=1e-3, betas=(0.9, 0.99), schedule=SCHEDULE),
}


def make_method(sharpness: float = 3.0, **options) -> FADA:
    segmenter = mini_segmenter(sharpness)
    torch.manual_seed(2)
    method = FADA(segmenter, FADAOptions(**options))
    method.discriminator.double()
    return method


def make_streams(steps: int = STEPS) -> dict[str, list[dict[str, Tensor]]]:
    return {
        "source": batches(steps, SOURCE_SIZE, seed=1),
        "target": batches(steps, TARGET_SIZE, seed=2, labelled=False),
    }


def train(
    method: FADA, folder: Path, streams=None, optimizers=None, kind: type[Trainer] = Trainer
) -> Trainer:
    trainer = mini_trainer(method, streams or make_streams(), folder, optimizers or OPTIMIZERS, kind)
    trainer.fit()
    return trainer


def plain_sgd() -> dict[str, OptimizerConfig]:
    return {
        "segmenter": OptimizerConfig(kind="sgd", lr=0.1, momentum=0.0),
        "discriminator": OptimizerConfig(kind="sgd", lr=0.1, momentum=0.0),
    }


# --- the oracle ---------------------------------------------------------------------------------------------


def by_hand(
    segmenter: MiniSegmenter,
    discriminator: torch.nn.Module,
    streams: dict[str, list[dict[str, Tensor]]],
    temperature_in_segmentation: bool = True,
    hard: bool = False,
    pool: int = 1,
) -> list[dict[str, float]]:
    """Section 3 of the specification, row by row; moves the networks and returns each step's losses."""
    temperature, clip, adversarial, half = 1.8, 0.9, 0.001, 0.5
    sgd = torch.optim.SGD(
        [
            {"params": segmenter.encoder.parameters(), "base": 0.05},
            {"params": segmenter.head.parameters(), "base": 0.5},
        ],
        lr=1.0,
        momentum=0.9,
        weight_decay=5e-4,
    )
    adam = torch.optim.Adam([{"params": discriminator.parameters(), "base": 1e-3}], lr=1.0, betas=(0.9, 0.99))

    def encode(logits: Tensor) -> Tensor:
        if hard:
            return F.one_hot(logits.detach().argmax(1), logits.shape[1]).movedim(-1, 1).double()
        a = (logits.detach() / temperature).softmax(1)
        return torch.where(a > clip, clip, a)

    def judge(features: Tensor, target: Tensor) -> Tensor:
        logits = discriminator(F.avg_pool2d(features, pool, ceil_mode=True) if pool > 1 else features)
        logits = F.interpolate(logits, size=target.shape[-2:], mode="bilinear", align_corners=True)
        return -(target * logits.log_softmax(1)).sum(1).mean()

    told = []
    for t, (source, target) in enumerate(zip(streams["source"], streams["target"], strict=True)):
        for group in (*sgd.param_groups, *adam.param_groups):
            group["lr"] = group["base"] * (1 - t / TOTAL) ** 0.9
        f_s = segmenter.features(source["image"])
        z_s = segmenter.classify(f_s, SOURCE_SIZE)
        a_s = encode(z_s)
        l_seg = mean_ce(z_s / temperature if temperature_in_segmentation else z_s, source["label"])
        f_t = segmenter.features(target["image"])
        a_t = encode(segmenter.classify(f_t, TARGET_SIZE))
        l_adv = judge(f_t, torch.cat([a_t, torch.zeros_like(a_t)], 1))
        (l_seg + adversarial * l_adv).backward()
        sgd.step()
        sgd.zero_grad()
        adam.zero_grad()  # what step 2 left in the discriminator is dropped
        l_ds = judge(f_s.detach(), torch.cat([a_s, torch.zeros_like(a_s)], 1))
        l_dt = judge(f_t.detach(), torch.cat([torch.zeros_like(a_t), a_t], 1))
        (half * l_ds + half * l_dt).backward()
        adam.step()
        adam.zero_grad()
        told.append(
            {
                "loss/segmenter/segmentation": l_seg.item(),
                "loss/segmenter/adversarial": l_adv.item(),
                "loss/discriminator/source": l_ds.item(),
                "loss/discriminator/target": l_dt.item(),
            }
        )
    return told


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        ({}, {}),
        ({"temperature_in_segmentation": False}, {"temperature_in_segmentation": False}),
        ({"hard_encoding": True}, {"hard": True}),
        ({"feature_pool": 2}, {"pool": 2}),
    ],
)
def test_steps_equal_the_table_of_the_specification(tmp_path: Path, options: dict, reference: dict) -> None:
    """Order, weights 1, 0.001, 0.5, 0.5, temperatures, clipping, detachments, both optimisers; domains of two
    sizes, ignored pixels; three steps, so that what a step leaves behind counts too."""
    method = make_method(**options)
    segmenter, discriminator = copy.deepcopy(method.segmenter), copy.deepcopy(method.discriminator)
    assert isinstance(segmenter, MiniSegmenter)
    losses = by_hand(segmenter, discriminator, make_streams(), **reference)
    train(method, tmp_path)
    assert_same_weights(method.segmenter, segmenter, rtol=1e-8)
    assert_same_weights(method.discriminator, discriminator, rtol=1e-8)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for line, expected in zip(lines, losses, strict=True):
        assert {k: line[k] for k in expected} == pytest.approx(expected, rel=1e-5)


def test_the_oracle_feels_the_clipping_and_the_small_weight(tmp_path: Path) -> None:
    """The comparison above would notice a wrong weight or a forgotten clip: both change the result by far more
    than its tolerance."""
    results = {}
    for name, options in {"": {}, "weight": {"adversarial_weight": 0.0011}, "clip": {"clip": 1.0}}.items():
        method = make_method(sharpness=12.0, **options)
        train(method, tmp_path / f"run{name}")
        results[name] = method
    for name in ("weight", "clip"):
        with pytest.raises(AssertionError):
            assert_same_weights(results[name].segmenter, results[""].segmenter, rtol=1e-7)


# --- who gets gradients -------------------------------------------------------------------------------------


def test_the_adversarial_loss_moves_the_features_but_not_the_classifier(tmp_path: Path) -> None:
    quiet, loud = make_method(adversarial_weight=0.0), make_method(adversarial_weight=100.0)
    train(quiet, tmp_path / "a", make_streams(1), plain_sgd())
    train(loud, tmp_path / "b", make_streams(1), plain_sgd())
    assert isinstance(quiet.segmenter, MiniSegmenter)
    assert isinstance(loud.segmenter, MiniSegmenter)
    for ours, theirs in zip(quiet.segmenter.head.parameters(), loud.segmenter.head.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.allclose(quiet.segmenter.encoder[0].weight, loud.segmenter.encoder[0].weight)


def test_the_discriminator_learns_to_tell_the_domains_apart(tmp_path: Path) -> None:
    """On domains that differ in brightness and with fixed features."""
    streams = {"source": batches(20, (8, 8), seed=1), "target": batches(20, (8, 8), seed=2, labelled=False)}
    for batch in streams["target"]:
        batch["image"] *= 0.2
    fast = OptimizerConfig(kind="adam", lr=1e-3, betas=(0.9, 0.99))
    train(make_method(adversarial_weight=0.0), tmp_path, streams, {"segmenter": SGD, "discriminator": fast})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for domain in ("source", "target"):
        name = f"loss/discriminator/{domain}"
        assert lines[-1][name] < 0.8 * lines[0][name]
    # What fools the discriminator is the opposite of what it believes of the target.
    assert lines[-1]["loss/segmenter/adversarial"] > lines[0]["loss/segmenter/adversarial"]


# --- options ------------------------------------------------------------------------------------------------


def test_colour_transfer_recolours_the_source_only(tmp_path: Path) -> None:
    streams = make_streams()
    recoloured = make_streams()
    for source, target in zip(recoloured["source"], recoloured["target"], strict=True):
        source["image"] = match_colour(source["image"], target["image"])
    inside, outside = make_method(colour_transfer=True), make_method()
    train(inside, tmp_path / "a", streams)
    train(outside, tmp_path / "b", recoloured)
    assert_same_weights(inside.segmenter, outside.segmenter, rtol=1e-9)
    assert_same_weights(inside.discriminator, outside.discriminator, rtol=1e-9)


def test_published_defaults() -> None:
    o = FADAOptions()
    assert (o.temperature, o.clip, o.adversarial_weight, o.discriminator_weight) == (1.8, 0.9, 0.001, 0.5)
    assert o.temperature_in_segmentation
    assert not o.hard_encoding
    assert not o.colour_transfer
    assert o.feature_pool == 1


def test_the_discriminator_fits_the_segmenter() -> None:
    method = FADA(mini_segmenter(classes=7))
    assert method.discriminator.in_channels == method.segmenter.feature_channels
    assert method.discriminator.num_classes == 7
    assert set(method.networks) == {"segmenter", "discriminator"}
