"""Networks for several GPUs and with a recipe's switches, tested on the CPU."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from stylebridge.engine import checkpoint as ckpt
from stylebridge.engine import speed
from stylebridge.engine.devices import synchronised
from stylebridge.errors import RecipeError
from stylebridge.networks.segmenters.build import SegmenterConfig, build_segmenter
from support import tiny

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.GELU, nn.LeakyReLU)


def called_activations(network: nn.Module, image: torch.Tensor) -> int:
    """How often an activation runs in a forward pass."""
    count = 0

    def hear(*_args) -> None:
        nonlocal count
        count += 1

    hooks = [m.register_forward_hook(hear) for m in network.modules() if isinstance(m, ACTIVATIONS)]
    with torch.no_grad():
        network(image)
    for hook in hooks:
        hook.remove()
    return count


def test_synchronised_batch_norms_keep_every_activation_of_the_default_encoder():
    torch.manual_seed(0)
    network = build_segmenter(SegmenterConfig(encoder="tu-tf_efficientnet_lite0", weights=None), 5).eval()
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        before, count = network(image), called_activations(network, image)
    converted = synchronised(network)
    with torch.no_grad():
        after = converted(image)
    assert count >= 33  # one a stem, and two an inverted residual but the first
    assert called_activations(converted, image) == count
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    norms = [m for m in converted.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) >= 48
    assert all(isinstance(m, nn.SyncBatchNorm) for m in norms)


def test_a_batch_norm_that_would_lose_something_is_refused():
    class Scaled(nn.BatchNorm2d):
        def forward(self, input):
            return 2 * super().forward(input)

    with pytest.raises(RecipeError, match=r"Layer 1 is a Scaled"):
        synchronised(nn.Sequential(nn.Conv2d(3, 4, 1), Scaled(4)))


def flags() -> tuple[bool, bool, bool]:
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return cuda.allow_tf32, cudnn.allow_tf32, cudnn.benchmark


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({}, flags()),  # torch's own
        ({"tf32": True}, (True, True, False)),
        ({"tf32": False}, (False, False, False)),
        ({"cudnn_benchmark": True}, (*flags()[:2], True)),
    ],
)
def test_switches_hold_while_training_and_are_undone(tmp_path, switches, expected):
    before, seen = flags(), []

    class Watching(tiny.TinyMethod):
        def _make(self, step):
            seen.append(flags())
            yield from super()._make(step)

    tiny.train(tmp_path, 1, method=Watching(), **switches)
    assert seen == [expected]
    assert flags() == before


@pytest.mark.slow
def test_compiled_networks_train_and_save_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "BACKEND", "eager")
    compiled = []
    original = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda self, **kw: (compiled.append(self), original(self, **kw))
    )
    plain = tiny.train(tmp_path / "plain", 4, method=tiny.TinyMethod(dropout=0.0))
    fast = tiny.train(tmp_path / "fast", 4, method=tiny.TinyMethod(dropout=0.0), compile=True)
    assert [id(m) for m in compiled] == [id(m) for m in fast.method.networks.values()]
    logs = []
    for name in ("plain", "fast"):
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        logs.append([{k: v for k, v in line.items() if k.startswith("loss/")} for line in lines])
    for one, two in zip(*logs, strict=True):
        assert one == pytest.approx(two, rel=1e-5)
    files = [ckpt.find_checkpoints(tmp_path / n / "trainer_state")[-1].path for n in ("plain", "fast")]
    for file in files[0].glob("network.*"):
        ours, theirs = load_file(file), load_file(files[1] / file.name)
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            torch.testing.assert_close(theirs[key], value, rtol=1e-4, atol=1e-5)
    # Afterwards they are plain modules again, and the run continues without the switch.
    assert all(m._compiled_call_impl is None for m in fast.method.networks.values())
    tiny.make_trainer(tmp_path / "fast", 5, tiny.TinyMethod(dropout=0.0)).resume_newest()
    del plain


def test_a_container_has_its_parts_compiled():
    class Container(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU())])
            self.head = nn.Linear(2, 1)

    network = Container()
    assert speed._callable_parts(network) == [*network.parts, network.head]
