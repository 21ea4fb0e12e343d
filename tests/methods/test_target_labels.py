"""No method reads a target label: batches that have one and will not give it away train all the same."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stylebridge.engine import OptimizerConfig, Trainer
from stylebridge.engine.method import Batch
from stylebridge.methods.base import SegmentationMethod
from stylebridge.methods.bridge import Bridge, BridgeOptions
from stylebridge.methods.colour_transfer import ColourTransfer
from stylebridge.methods.fada import FADA, FADAOptions
from stylebridge.methods.registry import classes_of
from stylebridge.methods.self_training import SelfTraining, SelfTrainingOptions
from support.mini import SGD, assert_same_weights, batches, mini_segmenter, mini_trainer

SIZE = (32, 40)


class Sealed(dict):
    """A batch whose label may not be looked at."""

    def __getitem__(self, key: str) -> Tensor:
        if key == "label":
            pytest.fail("a target label was read")
        return super().__getitem__(key)

    def get(self, key: str, default: object = None) -> object:
        return self[key] if key in self else default  # noqa: SIM401 (get itself)

    def values(self):
        return [self[key] for key in self]

    def items(self):
        return [(key, self[key]) for key in self]


class SealingTrainer(Trainer):
    """Seals what it hands to the method as the target."""

    def _to_device(self, batch: Batch) -> Batch:
        moved = super()._to_device(batch)
        return Sealed(moved) if "secret" in moved else moved


def fada() -> FADA:
    torch.manual_seed(2)
    method = FADA(mini_segmenter(), FADAOptions(colour_transfer=True))
    method.discriminator.double()
    return method


def bridge() -> Bridge:
    torch.manual_seed(2)
    networks = {"channels": 4, "blocks": 1, "style_channels": 4, "hidden": 4}
    options = BridgeOptions(
        networks=networks, alignment=FADAOptions(), self_training=SelfTrainingOptions(confidence=0.5)
    )  # type: ignore[call-arg]
    method = Bridge(mini_segmenter(), options)
    for network in method.networks.values():
        network.double()
    return method


MAKERS: dict[str, Callable[[], SegmentationMethod]] = {
    "fada": fada,
    "self-training": lambda: SelfTraining(
        mini_segmenter(), SelfTrainingOptions(confidence=0.5, colour_transfer=True)
    ),
    "colour-transfer": lambda: ColourTransfer(mini_segmenter()),
    "bridge": bridge,
}


def optimizers(method: SegmentationMethod) -> dict[str, OptimizerConfig]:
    return {name: SGD for phase in method.phases() for name in phase.trains}


def streams(target_label: int | None) -> dict[str, list[Batch]]:
    made = {"source": batches(2, SIZE, seed=1), "target": batches(2, SIZE, seed=2, labelled=False)}
    for batch in made["target"] if target_label is not None else ():
        batch["label"] = torch.full((2, *SIZE), target_label)
        batch["secret"] = torch.ones(1)
    return made


@pytest.mark.parametrize("name", MAKERS)
def test_a_target_label_is_never_asked_for(tmp_path: Path, name: str) -> None:
    without, sealed = MAKERS[name](), MAKERS[name]()
    mini_trainer(without, streams(None), tmp_path / "a", optimizers(without)).fit()
    mini_trainer(sealed, streams(2), tmp_path / "b", optimizers(sealed), kind=SealingTrainer).fit()
    for network, ours in without.networks.items():
        assert_same_weights(ours, sealed.networks[network], rtol=0)


def test_every_method_with_an_unlabelled_target_is_looked_at() -> None:
    unlabelled = {n for n, m in classes_of("adapt").items() if m.streams.get("target") is False}
    assert unlabelled == set(MAKERS)
    # The one method that reads labels with target images reads its own predictions.
    labelled = {n for n, m in classes_of("adapt").items() if m.streams.get("target")}
    assert labelled == {"self-distillation"}


def test_the_seal_holds(tmp_path: Path) -> None:
    """A method that does look is caught."""

    class Peeking(ColourTransfer):
        def _losses(self, step):
            assert step.batch["target"]["label"] is not None
            yield from super()._losses(step)

    with pytest.raises(pytest.fail.Exception, match="was read"):
        mini_trainer(Peeking(mini_segmenter()), streams(1), tmp_path, kind=SealingTrainer).fit()
