"""The trainer runs phases: order, freezing, accumulation, schedules, averages, precision."""

import json

import pytest
import torch
from torch import nn

from stylebridge.engine import Average, OptimizerConfig, Phase, ScheduleConfig, Term
from stylebridge.engine.ema import make_average, update_average
from stylebridge.errors import RecipeError, TrainingStopped
from support.tiny import TinyMethod, make_trainer, train


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_one_step_equals_the_same_step_written_by_hand(tmp_path):
    method = TinyMethod(dropout=0.0)
    trainer = make_trainer(tmp_path, 1, method, checkpoint_every=1)
    twin = TinyMethod(dropout=0.0)
    twin.maker.load_state_dict(method.maker.state_dict())
    twin.critic.load_state_dict(method.critic.state_dict())
    batch = next(iter(trainer.streams["source"](0)))
    step = next(trainer._micro_batches())
    noise = step.rand(4, 1, 1, 1)
    trainer.fit()

    maker = torch.optim.AdamW(
        twin.maker.parameters(), lr=1e-2 / 3, weight_decay=0
    )  # warm-up: a third at step 0
    fake = twin.maker(batch["image"] + 0.1 * noise)
    (((fake - batch["image"]) ** 2).mean() + 0.1 * twin.critic(fake).mean()).backward()
    maker.step()
    twin.critic.zero_grad()
    critic = torch.optim.SGD(twin.critic.parameters(), lr=1e-2, momentum=0.9)
    ((twin.critic(batch["image"]) ** 2).mean() + ((twin.critic(fake.detach()) - 1) ** 2).mean()).backward()
    critic.step()
    torch.testing.assert_close(weights(method.maker), weights(twin.maker))
    torch.testing.assert_close(weights(method.critic), weights(twin.critic))


def test_phases_run_in_order_and_as_often_as_they_say(tmp_path):
    method = TinyMethod()
    train(tmp_path, 5, method=method)
    assert method.calls == ["make", "judge", "make", "make", "judge", "make", "make", "judge"]


def test_frozen_networks_get_no_weight_gradients(tmp_path):
    seen = {}

    class Watching(TinyMethod):
        def _make(self, step):
            seen["make"] = [p.requires_grad for p in self.critic.parameters()]
            yield from super()._make(step)
            seen["critic_grad"] = [p.grad for p in self.critic.parameters()]

        def _judge(self, step):
            seen["judge"] = [p.requires_grad for p in self.maker.parameters()]
            yield from super()._judge(step)

    train(tmp_path, 1, method=Watching())
    assert not any(seen["make"])
    assert not any(seen["judge"])
    assert all(grad is None for grad in seen["critic_grad"])


def test_each_term_frees_its_graph_before_the_next_is_made(tmp_path):
    class Counting(TinyMethod):
        def _make(self, step):
            image = step.batch["source"]["image"]
            first = self.maker(image).mean()
            yield Term("first", first)
            with pytest.raises(RuntimeError, match=r"second time|freed"):
                first.backward()
            yield Term("second", self.maker(image).mean())
            step.memo["fake"] = image

    train(tmp_path, 1, method=Counting())


def test_accumulated_micro_batches_equal_one_large_batch(tmp_path):
    class Plain(TinyMethod):
        def phases(self):
            return [
                Phase("make", trains=("maker",), losses=self._fit),
                Phase("judge", ("critic",), self._score),
            ]

        def _fit(self, step):
            image = step.batch["source"]["image"]
            yield Term("fit", ((self.maker(image) - image.flip(1)) ** 2).mean())

        def _score(self, step):
            yield Term("real", (self.critic(step.batch["source"]["image"]) ** 2).mean())

    whole = train(tmp_path / "a", 6, method=Plain(dropout=0.0))
    parts = train(tmp_path / "b", 6, method=Plain(dropout=0.0), accumulate=2)
    torch.testing.assert_close(
        weights(whole.method.networks["maker"]), weights(parts.method.networks["maker"]), rtol=1e-4, atol=1e-5
    )


def test_gradient_clipping_bounds_the_update(tmp_path):
    class Steep(TinyMethod):
        def _make(self, step):
            for terms in super()._make(step):
                yield [Term(term.name, term.value * 1e4) for term in terms]

    trainer = make_trainer(tmp_path, 1, Steep(), clip_gradient=1.0)
    seen = []
    optimizer = trainer.optimizers["maker"]
    original = optimizer.step
    optimizer.step = lambda: (  # type: ignore[method-assign]
        seen.append(torch.cat([p.grad.flatten() for p in trainer.trainable["maker"]]).norm()),
        original(),
    )
    trainer.fit()
    torch.testing.assert_close(seen[0], torch.tensor(1.0))


def test_learning_rate_follows_the_schedule_and_is_logged(tmp_path):
    train(tmp_path, 6)
    schedule = ScheduleConfig(kind="poly", power=0.9, warmup=3)
    told = [line["lr/maker"] for line in lines(tmp_path)]
    expected = [1e-2 * min(1, (t + 1) / 3) * (1 - t / 6) ** 0.9 for t in range(6)]
    assert told == pytest.approx(expected)
    assert schedule.factor(3, 6) == pytest.approx(0.5**0.9)


def test_fada_schedule_ends_at_the_published_factor():
    schedule = ScheduleConfig(kind="poly", power=0.9, total=31250)
    assert schedule.factor(20000, 20000) == pytest.approx(0.3987, abs=1e-4)


def test_average_follows_the_formula():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()
    average = make_average(network)
    expected = weights(network)
    for step in range(5):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        network(torch.randn(4, 3, dtype=torch.double))
        decay = min(0.6, 1 - 1 / (step + 1))
        expected = decay * expected + (1 - decay) * weights(network)
        update_average(average, network, Average(of="x", decay=0.6), step)
    torch.testing.assert_close(weights(average), expected)
    torch.testing.assert_close(average[1].running_mean, network[1].running_mean)
    assert not average.training
    assert not any(p.requires_grad for p in average.parameters())


def test_bf16_trains_and_keeps_fp32_weights(tmp_path):
    trainer = train(tmp_path, 3, precision="bf16")
    assert {p.dtype for p in trainer.method.networks["maker"].parameters()} == {torch.float32}
    assert lines(tmp_path)[-1]["step"] == 3


def test_fp16_on_a_cpu_is_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"fp16.*needs a GPU"):
        make_trainer(tmp_path, 1, precision="fp16")


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_non_finite_values_stop_before_the_optimiser_and_keep_the_checkpoint(tmp_path, where):
    class Breaking(TinyMethod):
        def _make(self, step):
            for fit, fool in super()._make(step):
                if step.number == 7:
                    # the square root's slope at 0 is infinite: a finite loss with a gradient that is not
                    bad = fit.value * float("nan") if where == "loss" else (fit.value - fit.value).sqrt()
                    fit = Term("fit", bad)
                yield [fit, fool]

    method = Breaking()
    before = {}

    trainer = make_trainer(tmp_path, 20, method)
    run_phase = trainer._run_phase

    def watched(phase, steps):
        before[phase.name] = weights(method.maker).clone()
        return run_phase(phase, steps)

    trainer._run_phase = watched  # type: ignore[method-assign]
    with pytest.raises(TrainingStopped, match=r"step 7, phase 'make'") as caught:
        trainer.fit()
    assert ("loss 'fit' is nan" if where == "loss" else "gradient of maker.") in str(caught.value)
    assert "1-tiny-00000005" in str(caught.value)
    torch.testing.assert_close(weights(method.maker), before["make"], rtol=0, atol=0)
    assert [p.name for p in (tmp_path / "trainer_state").iterdir()] == ["1-tiny-00000005"]


def test_settings_that_do_not_fit_the_method_are_named(tmp_path):
    with pytest.raises(RecipeError, match="batch 3 cannot be split over 2"):
        make_trainer(tmp_path, 1, batch=3, accumulate=2)
    trainer = make_trainer(tmp_path, 1)
    with pytest.raises(RecipeError, match=r"optimizers has settings for \['maker'\]"):
        type(trainer)(
            method=TinyMethod(),
            config=trainer.config,
            optimizers={"maker": OptimizerConfig(lr=1e-3)},
            streams=trainer.streams,
            run=tmp_path,
            stage="1-tiny",
            seed=0,
            accelerator=trainer.accelerator,
        )
    with pytest.raises(RecipeError, match=r"group_lr names \['neck'\]"):
        type(trainer)(
            method=TinyMethod(),
            config=trainer.config,
            optimizers={
                "maker": OptimizerConfig(lr=1e-3, group_lr={"neck": 2.0}),
                "critic": OptimizerConfig(lr=1e-3),
            },
            streams=trainer.streams,
            run=tmp_path,
            stage="1-tiny",
            seed=0,
            accelerator=trainer.accelerator,
        )


def test_random_rows_belong_to_images_not_to_processes(tmp_path):
    trainer = make_trainer(tmp_path, 1)
    whole = next(trainer._micro_batches())
    rows = whole.rand(4, 2)
    halves = []
    for index in (0, 1):
        half = next(trainer._micro_batches())
        half.process_index, half.process_count = index, 2
        halves.append(half.rand(2, 2))
    torch.testing.assert_close(torch.cat(halves), rows)
    assert not torch.equal(whole.rand(4, 2), rows)
