"""Self-training against its steps written out by hand: teacher, pseudo-labels, mixing, weights, losses."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stylebridge.engine import Step
from stylebridge.methods import self_training
from stylebridge.methods.colour_transfer import match_colour
from stylebridge.methods.mixing import blur, class_mask, jitter_colour
from stylebridge.methods.self_training import SelfTraining, SelfTrainingOptions
from support.mini import (
    CLASSES,
    SEED,
    assert_same_weights,
    batches,
    ce,
    mean_ce,
    mini_segmenter,
    mini_trainer,
)

SIZE = (9, 12)
#: A share of the mini segmenter's pixels is above this and a share below.
CONFIDENCE = 0.5


def make_method(options: dict | None = None, **network) -> SelfTraining:
    plain = {"confidence": CONFIDENCE, "jitter_probability": 0.0, "blur_probability": 0.0}
    return SelfTraining(mini_segmenter(**network), SelfTrainingOptions(**(plain | (options or {}))))


def make_streams(steps: int) -> dict[str, list[dict[str, Tensor]]]:
    return {
        "source": batches(steps, SIZE, seed=1),
        "target": batches(steps, SIZE, seed=2, labelled=False),
    }


def draws(step: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    """The uniform numbers that a method draws in a step, in order."""
    asked = Step(number=step, batch={}, device=torch.device("cpu"), seed=SEED)
    return [asked.rand(*shape) for shape in shapes]


def by_hand(method: SelfTraining, streams: dict[str, list[dict[str, Tensor]]]) -> tuple:
    """Student and teacher after all steps, and what each step saw: shares of confident pixels, losses."""
    o = method.options
    student, teacher = copy.deepcopy(method.segmenter), copy.deepcopy(method.segmenter)
    sgd = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    shares, losses = [], []
    for t, (source, target) in enumerate(zip(streams["source"], streams["target"], strict=True)):
        image = match_colour(source["image"], target["image"]) if o.colour_transfer else source["image"]
        with torch.no_grad():
            confidence, pseudo = teacher(target["image"]).softmax(1).max(1)
        confident = (confidence > o.confidence).double()
        share = confident.mean()
        images = len(image)
        priorities, colours, softness = draws(t, (images, CLASSES), (images, 5), (images, 2))
        pasted = class_mask(source["label"], priorities)
        mixed = torch.where(pasted[:, None], image, target["image"])
        mixed = jitter_colour(mixed, colours, o.jitter_strength, o.jitter_probability)
        mixed = blur(mixed, softness, o.blur_probability)
        label = torch.where(pasted, source["label"], pseudo)
        weight = torch.where(pasted, 1.0, confident if o.weighting == "pixel" else share)
        sgd.zero_grad()
        on_source = mean_ce(student(image), source["label"])
        # Divided by the number of pixels (all count: no pseudo-label is 255), not by the sum of the weights.
        on_mixed = (ce(student(mixed), label) * weight).sum() / label.numel()
        (on_source + o.mixed_weight * on_mixed).backward()
        sgd.step()
        decay = min(o.teacher_decay, 1 - 1 / (t + 1))
        with torch.no_grad():
            for a, w in zip(teacher.parameters(), student.parameters(), strict=True):
                a.copy_(decay * a + (1 - decay) * w)
        shares.append(share.item())
        losses.append((on_source.item(), on_mixed.item()))
    return student, teacher, shares, losses


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mixed_weight": 0.3, "teacher_decay": 0.6},
        {"jitter_probability": 0.8, "jitter_strength": 0.4, "blur_probability": 0.5},
        {"colour_transfer": True},
        {"weighting": "pixel"},
    ],
)
def test_steps_equal_the_method_written_out(tmp_path: Path, options: dict) -> None:
    method, streams = make_method(options), make_streams(4)
    student, teacher, shares, _ = by_hand(method, streams)
    assert all(0.02 < share < 0.98 for share in shares)  # else the weight would not be tested
    mini_trainer(method, streams, tmp_path).fit()
    assert_same_weights(method.segmenter, student, rtol=1e-6)
    assert_same_weights(method.networks["teacher"], teacher, rtol=1e-6)


# --- the teacher --------------------------------------------------------------------------------------------


def teachers(method: SelfTraining, folder: Path, steps: int) -> list[tuple[dict, dict]]:
    """(student, teacher) weights after each step."""
    seen = []
    trainer = mini_trainer(method, make_streams(steps), folder)
    told = trainer._tell

    def watch(*args) -> None:
        told(*args)
        networks = trainer.method.networks
        seen.append(tuple(copy.deepcopy(networks[n].state_dict()) for n in ("segmenter", "teacher")))

    trainer._tell = watch  # type: ignore[method-assign]
    trainer.fit()
    return seen


def test_the_teacher_begins_as_the_student_and_follows_the_moving_average(tmp_path: Path) -> None:
    """Tarvainen and Valpola's warm-up: plain means of the students first, then the decay."""
    decay = 0.6
    seen = teachers(make_method({"teacher_decay": decay}), tmp_path, steps=5)
    for name, value in seen[0][0].items():
        assert torch.equal(value, seen[0][1][name])
    for t in range(1, 5):
        d = min(decay, 1 - 1 / (t + 1))
        for name, teacher in seen[t][1].items():
            expected = d * seen[t - 1][1][name] + (1 - d) * seen[t][0][name]
            torch.testing.assert_close(teacher, expected, rtol=1e-9, atol=1e-12)


def test_the_teacher_starts_from_the_segmenter_it_was_given(tmp_path: Path) -> None:
    method = make_method()
    trainer = mini_trainer(method, make_streams(1), tmp_path)
    assert_same_weights(trainer.method.networks["teacher"], method.segmenter, rtol=0)
    assert trainer.method.networks["teacher"] is not method.segmenter


def test_the_teacher_takes_no_gradient_and_is_always_in_evaluation_mode(tmp_path: Path) -> None:
    method = make_method(dropout=0.5, batch_norm=True)
    trainer = mini_trainer(method, make_streams(2), tmp_path)
    teacher = method.networks["teacher"]
    modes = []
    teacher.register_forward_hook(lambda module, *_: modes.append((module.training, torch.is_grad_enabled())))
    trainer.fit()
    assert modes == [(False, False)] * 2
    assert method.segmenter.training
    for parameter in teacher.parameters():
        assert parameter.grad is None
        assert not parameter.requires_grad


def test_the_teachers_batch_norm_statistics_are_those_of_the_target(tmp_path: Path) -> None:
    """Running mean r ← 0.9 r + 0.1 m over the means m of what the teacher's batch norm was shown."""
    method = make_method(batch_norm=True)
    trainer = mini_trainer(method, make_streams(3), tmp_path)
    layer = next(m for m in method.networks["teacher"].modules() if isinstance(m, torch.nn.BatchNorm2d))
    expected = layer.running_mean.clone()
    seen = []

    def watch(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], _: torch.Tensor) -> None:
        seen.append(len(inputs[0]))
        expected.mul_(0.9).add_(0.1 * inputs[0].mean((0, 2, 3)))

    layer.register_forward_hook(watch)
    trainer.fit()
    assert len(seen) == 3
    torch.testing.assert_close(layer.running_mean, expected)
    assert not torch.equal(
        layer.running_mean, dict(method.segmenter.named_buffers())["encoder.1.running_mean"]
    )


def test_what_a_stage_hands_on_is_chosen() -> None:
    assert make_method().result == "segmenter"
    assert make_method({"result": "teacher"}).result == "teacher"


# --- pseudo-labels and mixing -------------------------------------------------------------------------------


class Witness:
    """Notes what the method's losses are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: SelfTraining) -> None:
        self.calls: list[dict] = []
        self.images: list[Tensor] = []
        original = self_training.mean_cross_entropy

        def note(step, logits, target, **settings):
            loss = original(step, logits, target, **settings)
            self.calls.append({"target": target, "loss": loss.item(), "logits": logits.detach(), **settings})
            return loss

        monkeypatch.setattr(self_training, "mean_cross_entropy", note)
        # The teacher is a copy of the segmenter, hook and all: source (student), target (teacher), mixed (student).
        method.segmenter.register_forward_pre_hook(lambda _, args: self.images.append(args[0].clone()))


def test_labels_come_from_the_source_where_pasted_and_from_the_teacher_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, streams = make_method(), make_streams(1)
    with torch.no_grad():
        confidence, pseudo = method.segmenter(streams["target"][0]["image"]).softmax(1).max(1)
    (priorities,) = draws(0, (2, CLASSES))
    source = streams["source"][0]
    pasted = class_mask(source["label"], priorities)
    assert 0.1 < pasted.double().mean() < 0.9
    witness = Witness(monkeypatch, method)
    mini_trainer(method, streams, tmp_path).fit()
    on_source, on_mixed = witness.calls
    assert torch.equal(on_source["target"], source["label"])
    assert torch.equal(on_mixed["target"][pasted], source["label"][pasted])
    assert torch.equal(on_mixed["target"][~pasted], pseudo[~pasted])
    # The same for the pixels of the image; the teacher sees the target image as it is.
    first, labelled_by_teacher, mixed = witness.images
    assert torch.equal(first, source["image"])
    assert torch.equal(labelled_by_teacher, streams["target"][0]["image"])
    everywhere = pasted[:, None].expand_as(mixed)
    assert torch.equal(mixed[everywhere], source["image"][everywhere])
    assert torch.equal(mixed[~everywhere], streams["target"][0]["image"][~everywhere])
    # The weight is 1 where pasted; elsewhere one number, the share of confident pixels of the whole batch.
    share = (confidence > CONFIDENCE).double().mean()
    assert (on_mixed["weight"][pasted] == 1).all()
    elsewhere = on_mixed["weight"][~pasted].double()
    torch.testing.assert_close(elsewhere, share.expand_as(elsewhere), rtol=1e-6, atol=0)


def test_the_loss_is_divided_by_the_number_of_pixels_not_by_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = make_method()
    witness = Witness(monkeypatch, method)
    mini_trainer(method, make_streams(1), tmp_path).fit()
    mixed = witness.calls[1]
    weighted = (ce(mixed["logits"], mixed["target"]) * mixed["weight"]).sum()
    assert mixed["weight"].mean() < 0.95
    assert mixed["loss"] == pytest.approx((weighted / mixed["target"].numel()).item(), rel=1e-6)
    assert mixed["loss"] != pytest.approx((weighted / mixed["weight"].sum()).item(), rel=1e-2)


@pytest.mark.parametrize(("confidence", "share"), [(0.0, 1.0), (0.999999, 0.0)])
def test_an_unsure_teacher_counts_for_nothing_and_a_sure_one_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, confidence: float, share: float
) -> None:
    method = make_method({"confidence": confidence}, sharpness=1.0)
    witness = Witness(monkeypatch, method)
    streams = make_streams(1)
    streams["source"][0]["label"].fill_(255)  # nothing can be pasted
    mini_trainer(method, streams, tmp_path).fit()
    assert (witness.calls[1]["weight"] == share).all()


def test_the_share_is_that_of_all_processes() -> None:
    """Two processes: the other one has no confident pixel in as many pixels."""
    method = make_method({"confidence": 0.0})
    method.networks["teacher"] = method.segmenter
    counts = iter([lambda confident: confident + 0, lambda count: count * 2])
    step = Step(
        number=0,
        batch={},
        device=torch.device("cpu"),
        seed=SEED,
        process_count=2,
        sum_over_processes=lambda value: next(counts)(value),
    )
    _, weight = method.trust(step, method.teach(make_streams(1)["target"][0]["image"]))
    assert weight.unique().tolist() == pytest.approx([0.5])


# --- options ------------------------------------------------------------------------------------------------


def test_published_defaults() -> None:
    """DAFormer, section 4.1: α 0.999, τ 0.968, the loss on mixed images counts as much as the source's."""
    o = SelfTrainingOptions()
    assert (o.teacher_decay, o.confidence, o.mixed_weight) == (0.999, 0.968, 1.0)
    assert (o.jitter_probability, o.blur_probability) == (0.8, 0.5)
    assert o.weighting == "share"
    assert not o.colour_transfer
