"""MixNMatch's two training steps against the specification's sections 6 and 7, written out naively."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.engine import Step, Trainer
from stylebridge.engine.method import Method
from stylebridge.errors import RecipeError
from stylebridge.methods import mixnmatch, mixnmatch_features
from stylebridge.methods.mixnmatch import MixNMatch, MixNMatchOptions, category, normal
from stylebridge.methods.mixnmatch_features import MixNMatchFeatures, MixNMatchFeaturesOptions
from stylebridge.networks.mixnmatch import (
    Categories,
    Codes,
    FeatureNetworks,
    MixNMatchNetworks,
)
from support.mini import SEED, assert_same_weights, mini_trainer
from support.mixers import TINY

IMAGES, STEPS = 3, 2
BOXES = torch.tensor([[40.0, 40, 60, 60], [0, 0, 62, 62], [5, 5, 5, 30]])


def make_networks() -> MixNMatchNetworks:
    torch.manual_seed(3)
    networks = MixNMatchNetworks(TINY).double()
    networks.pair_discriminators.quiet()
    return networks


def make_features() -> FeatureNetworks:
    networks = make_networks()
    networks.generator(random_codes())  # statistics of its own
    return FeatureNetworks(networks.generator.eval()).double()


def random_codes() -> Codes:
    sizes = (TINY.textures, TINY.shapes, TINY.textures)
    pose = torch.randn(4, TINY.pose).double()
    return Codes(pose, *(torch.rand(4, n).double().softmax(1) for n in sizes))


def make_stream(steps: int = STEPS, images: int = IMAGES) -> dict[str, list[dict[str, Tensor]]]:
    g = torch.Generator().manual_seed(0)
    rows = torch.arange(images)
    return {
        "images": [
            {
                "image": torch.rand(images, 3, 64, 64, generator=g, dtype=torch.float64),
                "background": torch.rand(images, 3, 62, 62, generator=g, dtype=torch.float64),
                "box": BOXES[:images],
                "index": rows,
                "position": rows,
            }
            for _ in range(steps)
        ]
    }


def train(
    method: Method, folder: Path, stream: dict[str, list[dict[str, Tensor]]] | None = None, **settings: Any
) -> Trainer:
    first = isinstance(method, MixNMatch)
    optimizers = (mixnmatch if first else mixnmatch_features).published_optimizers()
    trainer = mini_trainer(method, stream or make_stream(), folder, optimizers, **settings)  # type: ignore[arg-type]
    trainer.fit()
    return trainer


def logged(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


# --- the oracles ----------------------------------------------------------------------------------------------


def bce(logits: Tensor, target: float) -> Tensor:
    p = torch.sigmoid(logits)
    return -(p.log() if target == 1 else (1 - p).log()).mean()


def adam(*parameters: nn.Module, lr: float = 2e-4) -> torch.optim.Adam:
    return torch.optim.Adam([p for m in parameters for p in m.parameters()], lr=lr, betas=(0.5, 0.999))


class Draws:
    """The random numbers of a step, in the order in which the method takes them."""

    def __init__(self, number: int) -> None:
        self.step = Step(number=number, batch={}, device=torch.device("cpu"), seed=SEED)

    def category(self, count: int) -> Tensor:
        return (self.step.rand(IMAGES) * count).floor().long()

    def normal(self, size: int) -> Tensor:
        u = self.step.rand(IMAGES, size)
        return torch.special.ndtri(u).double()  # exactly ours: Adam makes much of a small difference

    def codes(self, tied: bool) -> tuple[Codes, Categories]:
        c = self.category(TINY.textures)
        if tied:
            p = torch.tensor([int(n / (TINY.textures / TINY.shapes)) for n in c.tolist()])
            numbers = Categories(c, p, c)
        else:
            numbers = Categories(c, self.category(TINY.shapes), self.category(TINY.textures))
        sizes = (TINY.textures, TINY.shapes, TINY.textures)
        one_hots = [F.one_hot(n, size).double() for n, size in zip(numbers, sizes, strict=True)]
        return Codes(self.normal(TINY.pose), *one_hots), numbers


class PublishedStep:
    """Section 6: one graph a step, nothing frozen, one optimiser over G, E, D1 and D2's code head."""

    def __init__(self, m: MixNMatchNetworks) -> None:
        self.m = m
        self.adam_background, self.adam_child = adam(m.background_discriminator), adam(m.child_discriminator)
        self.adam_pairs = adam(m.pair_discriminators)
        self.adam_generator = adam(
            m.generator, m.encoders, m.parent_discriminator, m.child_discriminator.code
        )

    def run(self, optimizer: torch.optim.Adam, loss: Tensor, keep: bool = True) -> None:
        for p in self.m.parameters():
            p.grad = torch.zeros_like(p)
        loss.backward(retain_graph=keep)
        optimizer.step()

    def pair_scores(self, image: Tensor, codes: Codes) -> Tensor:
        bd = self.m.pair_discriminators
        nets = (bd.BD_z, bd.BD_b, bd.BD_p, bd.BD_c)
        return torch.stack([net(image, code).mean() for net, code in zip(nets, codes, strict=True)]).sum()

    def penalty(self, real: Tensor, encoded: Codes, fake: Tensor, codes: Codes, draws: Draws) -> Tensor:
        bd, total = self.m.pair_discriminators, torch.zeros((), dtype=torch.float64)
        alpha = draws.step.rand(IMAGES, 5).double()
        for k, net in enumerate((bd.BD_z, bd.BD_b, bd.BD_p, bd.BD_c)):
            a, b = alpha[:, 0].view(-1, 1, 1, 1), alpha[:, k + 1].view(-1, 1)
            image = (a * real + (1 - a) * fake).detach().requires_grad_()
            code = (b * encoded[k] + (1 - b) * codes[k]).detach().requires_grad_()
            for x in (image, code):
                (g,) = torch.autograd.grad(net(image, code).sum(), x, create_graph=True)
                total = total + ((g.flatten(1).square().sum(1).sqrt() - 1) ** 2).mean()
        return total

    def __call__(self, number: int, batch: dict[str, Tensor]) -> dict[str, float]:
        m, draws = self.m, Draws(number)
        real, view = batch["image"] * 2 - 1, batch["background"] * 2 - 1
        codes, numbers = draws.codes(tied=True)
        free, free_numbers = draws.codes(tied=False)
        fake, encoded = m.generator(codes), m.encoders(real).codes()
        behind = F.interpolate(fake.background, size=(62, 62), mode="bilinear", align_corners=True)
        d0, d2, told = m.background_discriminator, m.child_discriminator, {}

        keep = torch.ones(IMAGES, 1, 8, 8, dtype=torch.float64)
        keep[0, :, 2:, 2:] = 0  # box 40 … 60: rows from ceil(6/4) to 7
        keep[1] = 0
        scores, of_fake = d0(view), d0(behind.detach())
        masked = -(torch.sigmoid(scores.real).log() * keep).mean() * keep.numel() / keep.sum()
        p = torch.sigmoid(scores.background)
        of_class = -(keep * p.log() + (1 - keep) * (1 - p).log()).mean()
        adversarial = masked + bce(of_fake.real, 0)
        self.run(self.adam_background, 10 * adversarial + of_class)
        told |= {"background/adversarial": adversarial, "background/class": of_class}

        told |= {"child/real": bce(d2.judge(real), 1), "child/fake": bce(d2.judge(fake.image.detach()), 0)}
        self.run(self.adam_child, told["child/real"] + told["child/fake"])

        cut = encoded.detached()
        critic = self.pair_scores(fake.image.detach(), codes) - self.pair_scores(real, cut)
        penalty = self.penalty(real, cut, fake.image, codes, draws)
        self.run(self.adam_pairs, critic + 10 * penalty)
        told |= {"pairs/critic": critic, "pairs/penalty": penalty}

        with torch.no_grad():
            image = m.generator(free).image
        read = m.encoders(image)
        scores = d0(behind)
        g = {
            "pair_real": self.pair_scores(real, encoded),
            "pair_fake": -self.pair_scores(fake.image, codes),
            "code_pose": (read.pose - free.pose).abs().mean(),
            "code_background": F.cross_entropy(read.background, free_numbers.background),
            "code_shape": F.cross_entropy(read.shape, free_numbers.shape),
            "code_texture": F.cross_entropy(read.texture, free_numbers.texture),
            "information_shape": F.cross_entropy(
                m.parent_discriminator.categorise(fake.parent_foreground * fake.parent_mask), numbers.shape
            ),
            "information_texture": F.cross_entropy(
                d2.categorise(fake.child_foreground * fake.child_mask), numbers.texture
            ),
            "background": bce(scores.real, 1),
            "background_class": bce(scores.background, 1),
            "child": bce(d2.judge(fake.image), 1),
        }
        weights = {
            "code_pose": 5,
            "code_background": 5,
            "code_shape": 10,
            "code_texture": 10,
            "background": 10,
        }
        total = torch.stack([value * weights.get(name, 1) for name, value in g.items()]).sum()
        self.run(self.adam_generator, total, keep=False)
        told |= {f"generator/{name}": value for name, value in g.items()}
        return {f"loss/{name}": value.item() for name, value in told.items()}


@pytest.mark.slow
@pytest.mark.parametrize("share", [True, False])
def test_first_stage_steps_equal_the_published_ones(tmp_path: Path, share: bool) -> None:
    """Every loss, every weight of every network, and every running statistic."""
    ours, theirs = make_networks(), make_networks()
    stream = make_stream()
    step = PublishedStep(theirs)
    expected = [step(number, batch) for number, batch in enumerate(stream["images"])]
    train(MixNMatch(ours, MixNMatchOptions(share_graphs=share)), tmp_path, channels_last=share)
    for line, told in zip(logged(tmp_path), expected, strict=True):
        assert {k: line[k] for k in told} == pytest.approx(told, rel=1e-5)
        assert {k for k in line if k.startswith("loss/")} == told.keys()
    assert_same_weights(ours, theirs, rtol=1e-6)
    buffers = dict(theirs.named_buffers())
    for name, mine in ours.named_buffers():
        if not name.endswith("_tracked"):
            torch.testing.assert_close(mine, buffers[name], rtol=1e-7, atol=1e-10, msg=name)


def published_feature_step(
    m: FeatureNetworks, optimizers: dict[str, torch.optim.Adam], number: int, image: Tensor
):
    """Section 7."""
    draws, real = Draws(number), image * 2 - 1
    codes, _ = draws.codes(tied=False)
    if draws.step.rand(1).item() < 0.2:
        codes = codes._replace(shape=draws.normal(TINY.shapes).softmax(1))
    with torch.no_grad():
        made = m.generator.eval()(codes)
    extracted = m.extractor(real)
    d = bce(m.discriminator(extracted.detach()), 0) + bce(m.discriminator(made.features), 1)
    m.zero_grad()
    d.backward()
    optimizers["discriminator"].step()
    adversarial = bce(m.discriminator(extracted), 1)
    again = (m.extractor(made.image) - made.features).abs().mean()
    m.zero_grad()
    (adversarial + again).backward()
    optimizers["extractor"].step()
    told = {
        "discriminator/adversarial": d,
        "extractor/adversarial": adversarial,
        "extractor/reconstruction": again,
    }
    return {f"loss/{name}": value.item() for name, value in told.items()}


@pytest.mark.slow
@pytest.mark.parametrize("share", [True, False])
def test_second_stage_steps_equal_the_published_ones(tmp_path: Path, share: bool) -> None:
    ours, theirs = make_features(), make_features()
    stream = make_stream(4)
    optimizers = {"discriminator": adam(theirs.discriminator, lr=2e-5), "extractor": adam(theirs.extractor)}
    batches = enumerate(stream["images"])
    expected = [published_feature_step(theirs, optimizers, n, batch["image"]) for n, batch in batches]
    before = copy.deepcopy(ours.generator.state_dict())
    train(MixNMatchFeatures(ours, MixNMatchFeaturesOptions(share_graphs=share)), tmp_path, stream)
    for line, told in zip(logged(tmp_path), expected, strict=True):
        assert {k: line[k] for k in told} == pytest.approx(told, rel=1e-5)
    assert_same_weights(ours, theirs, rtol=1e-6)
    for key, value in ours.generator.state_dict().items():
        assert torch.equal(value, before[key])


# --- what is done once ------------------------------------------------------------------------


def calls(module: nn.Module) -> list[bool]:
    """Whether each pass from now on builds a graph."""
    seen: list[bool] = []
    module.register_forward_hook(
        lambda _, __, out: seen.append((out.image if hasattr(out, "image") else out[0]).requires_grad)
    )
    return seen


@pytest.mark.slow
def test_fakes_and_codes_are_made_once_a_step(tmp_path: Path) -> None:
    """One pass with a graph for all phases; for the free codes one through the generator, without a graph."""
    networks = make_networks()
    of_generator, of_encoders = calls(networks.generator), calls(networks.encoders)
    train(MixNMatch(networks), tmp_path, make_stream(1))
    assert of_generator == [True, False]
    assert of_encoders == [True]  # real images and those of free codes together


@pytest.mark.slow
def test_discriminators_see_fakes_without_a_graph(tmp_path: Path) -> None:
    method, seen = MixNMatch(make_networks()), []
    for network in (method.model.background_discriminator.trunk, method.model.child_discriminator.trunk):
        network[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].requires_grad))
    train(method, tmp_path, make_stream(1))
    # Background · child · generator: background, then texture and image.
    assert seen == [False, False, True, True]


@pytest.mark.slow
def test_the_generators_average(tmp_path: Path) -> None:
    """Of parameters alone: running statistics are those of the raw generator."""
    once, twice = (MixNMatch(make_networks(), MixNMatchOptions(average_decay=0.3)) for _ in range(2))
    train(once, tmp_path / "once", make_stream(1))
    train(twice, tmp_path / "twice", make_stream(2))
    average, raw = twice.networks["generator_average"], twice.model.generator
    weights = zip(average.parameters(), once.model.generator.parameters(), raw.parameters(), strict=True)
    for mine, first, second in weights:  # the warm-up takes the first step's weights as they are
        torch.testing.assert_close(mine, 0.3 * first + 0.7 * second, rtol=1e-9, atol=1e-12)
    for mine, now in zip(average.buffers(), raw.buffers(), strict=True):
        assert torch.equal(mine, now)


# --- draws ----------------------------------------------------------------------------------------------------


def test_draws_of_a_step() -> None:
    step = Step(number=5, batch={}, device=torch.device("cpu"), seed=1)
    z = normal(step, 400, 100)
    assert z.mean().item() == pytest.approx(0, abs=0.02)
    assert z.std().item() == pytest.approx(1, abs=0.02)
    assert torch.isfinite(z).all()
    numbers = category(step, 4000, 7)
    assert numbers.bincount().tolist() == pytest.approx([4000 / 7] * 7, rel=0.2)
    again = Step(number=5, batch={}, device=torch.device("cpu"), seed=1)
    assert torch.equal(normal(again, 400, 100), z)


def test_soft_shapes_come_as_often_as_asked() -> None:
    method = MixNMatchFeatures(make_features())
    like, soft = torch.zeros(2, 1, dtype=torch.float64), 0
    for number in range(300):
        step = Step(number=number, batch={}, device=torch.device("cpu"), seed=0)
        shape = method._codes(step, like).shape
        torch.testing.assert_close(shape.sum(1), torch.ones(2, dtype=torch.float64))
        hard = shape.amax(1) == 1
        assert hard.all() or not hard.any()
        soft += int(not hard.any())
    assert soft == pytest.approx(60, abs=20)


# --- settings -------------------------------------------------------------------------------------------------


def test_published_settings() -> None:
    o = MixNMatchOptions()
    weights = (
        o.background_weight,
        o.penalty_weight,
        o.pose_weight,
        o.background_code_weight,
        o.shape_weight,
        o.texture_weight,
    )
    assert weights == (10, 10, 5, 5, 10, 10)
    assert o.average_decay == 0.999
    first = mixnmatch.published_optimizers()
    assert {(x.kind, x.lr, x.betas, x.weight_decay) for x in first.values()} == {
        ("adam", 2e-4, (0.5, 0.999), 0)
    }
    second = mixnmatch_features.published_optimizers()
    assert {n: x.lr for n, x in second.items()} == {"feature_discriminator": 2e-5, "feature_extractor": 2e-4}
    assert MixNMatchFeaturesOptions().soft_shapes == 0.2


def test_a_batch_of_one_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="one image at a time"):
        train(MixNMatch(make_networks()), tmp_path, make_stream(1, images=1))
