"""Weights that are not finite are never saved as good, and never passed on, including those of the last step."""

import pytest
import torch
from torch import nn

from stylebridge.engine import checkpoint as ckpt
from stylebridge.engine.finite import first_bad_tensor
from stylebridge.errors import TrainingStopped
from support import tiny


def spoil_after_step(trainer, step: int, network: str, tensor: str, value: float) -> None:
    """The effect of a learning rate that is too large: the loss and the gradients of the step were still finite."""
    original = trainer._run_step

    def run(steps):
        values = original(steps)
        if trainer.step == step:
            state = trainer.method.networks[network].state_dict()
            state[tensor].view(-1)[-1] = value
        return values

    trainer._run_step = run


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("network", "tensor"), [("maker", "3.weight"), ("critic", "2.bias"), ("average", "0.bias")]
)
def test_the_last_steps_weights_are_checked(tmp_path, network, tensor, value):
    trainer = tiny.make_trainer(tmp_path, 10, checkpoint_every=5)
    spoil_after_step(trainer, 9, network, tensor, value)
    with pytest.raises(
        TrainingStopped, match=rf"after step 10 the tensor {tensor} of network '{network}'"
    ) as caught:
        trainer.fit()
    assert "1-tiny-00000005" in str(caught.value)
    assert [c.step for c in ckpt.find_checkpoints(tmp_path / "trainer_state")] == [5]
    assert ckpt.find_checkpoints(tmp_path / "trainer_state")[-1].damage() is None


def test_a_bad_checkpoint_of_an_older_version_is_not_handed_on(tmp_path):
    """A finished run makes no step, but is still checked."""
    trainer = tiny.train(tmp_path, 5)
    again = tiny.make_trainer(tmp_path, 5)
    assert again.resume_newest()
    again.fit()
    with torch.no_grad():
        trainer.method.networks["maker"][0].weight[0] = float("nan")  # type: ignore[index]
    with pytest.raises(TrainingStopped, match="network 'maker'"):
        trainer.fit()


def test_every_kind_of_tensor_is_looked_at_and_the_first_bad_one_named():
    network = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
    assert first_bad_tensor({"one": network}) is None
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue
        kept = tensor.clone()
        tensor.view(-1)[0] = float("inf")
        assert first_bad_tensor({"zero": nn.ReLU(), "one": network}) == ("one", name)
        tensor.copy_(kept)
    # A mask of −inf is no weight: it is not saved with the network.
    network.register_buffer("mask", torch.full((2,), -float("inf")), persistent=False)
    assert first_bad_tensor({"one": network}) is None
