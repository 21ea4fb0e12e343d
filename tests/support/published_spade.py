"""Files of SPADE's authors with random values, and what the published program makes of them: one-hot maps with a
channel for pixels without a class, instance edges, the VAE's encoder. Nothing of the package is used."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from support.published_label_gan import NORMAL, State, below, generate

#: Blocks and their channels in and out, in multiples of nf.
BLOCKS = {"head_0": (16, 16), "G_middle_0": (16, 16), "G_middle_1": (16, 16), "up_0": (16, 8), "up_1": (8, 4),
          "up_2": (4, 2), "up_3": (2, 1)}  # fmt: skip
MORE = ["G_middle_0", "G_middle_1", *NORMAL[1:]]


class _Maker:
    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.state: State = {}

    def random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def conv(self, name: str, *shape: int, gain: float = 1.0) -> None:
        self.state[f"{name}.weight"] = gain * self.random(*shape) / torch.Size(shape[1:]).numel() ** 0.5
        self.state[f"{name}.bias"] = 0.1 * self.random(shape[0])

    def spectral(self, name: str, *shape: int, bias: bool = True) -> None:
        self.conv(name, *shape)
        weight = self.state[f"{name}.weight_orig"] = self.state.pop(f"{name}.weight")
        u = F.normalize(self.random(shape[0]), dim=0)
        for _ in range(5):
            v = F.normalize(weight.flatten(1).t() @ u, dim=0)
            u = F.normalize(weight.flatten(1) @ v, dim=0)
        self.state[f"{name}.weight_u"], self.state[f"{name}.weight_v"] = u, v
        if not bias:
            del self.state[f"{name}.bias"]


def generator_state(
    channels: int, nf: int = 4, hidden: int = 8, seed: int = 0, code: tuple[int, int] | None = None
) -> State:
    """``channels``: of the label input. ``code``: a VAE's length of code and cells of the start grid."""
    make = _Maker(seed)

    def norm(name: str, size: int) -> None:
        make.state[f"{name}.param_free_norm.running_mean"] = make.random(size)
        make.state[f"{name}.param_free_norm.running_var"] = 0.5 + torch.rand(size, generator=make.generator)
        make.state[f"{name}.param_free_norm.num_batches_tracked"] = torch.tensor(5)
        # Of nine taps of one-hot maps about nine numbers are 1, not 9·channels: the label must be seen.
        make.conv(f"{name}.mlp_shared.0", hidden, channels, 3, 3, gain=(channels / 2) ** 0.5)
        for part in ("mlp_gamma", "mlp_beta"):
            make.conv(f"{name}.{part}", size, hidden, 3, 3)

    if code is None:
        make.conv("fc", 16 * nf, channels, 3, 3, gain=channels**0.5)
    else:
        make.conv("fc", 16 * nf * code[1], code[0])
    for block, (a, b) in BLOCKS.items():
        into, out = a * nf, b * nf
        middle = min(into, out)
        make.spectral(f"{block}.conv_0", middle, into, 3, 3)
        make.spectral(f"{block}.conv_1", out, middle, 3, 3)
        norm(f"{block}.norm_0", into)
        norm(f"{block}.norm_1", middle)
        if into != out:
            make.spectral(f"{block}.conv_s", out, into, 1, 1, bias=False)
            norm(f"{block}.norm_s", into)
    make.conv("conv_img", 3, nf, 3, 3)
    return make.state


def encoder_state(nf: int, latent: int, seed: int = 1) -> State:
    make, widths = _Maker(seed), [3, nf, 2 * nf, 4 * nf, 8 * nf, 8 * nf, 8 * nf]
    for i in range(6):
        make.spectral(f"layer{i + 1}.0", widths[i + 1], widths[i], 3, 3, bias=False)
    make.conv("fc_mu", latent, 8 * nf * 16)
    make.conv("fc_var", latent, 8 * nf * 16)
    return make.state


def semantics(labels: np.ndarray, channels: int, void: int | None, instances: np.ndarray | None) -> Tensor:
    """What the generator sees, [1, channels, H, W]: ``labels`` are channel numbers and 255; ``void``: the channel of
    255 (None: 255 is nowhere); instance edges come last."""
    height, width = labels.shape
    m = torch.zeros(1, channels, height, width, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            channel = void if labels[y, x] == 255 else int(labels[y, x])
            if channel is not None:
                m[0, channel, y, x] = 1
            if instances is not None:
                around = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
                inside = [(i, j) for i, j in around if 0 <= i < height and 0 <= j < width]
                m[0, -1, y, x] = float(any(instances[i, j] != instances[y, x] for i, j in inside))
    return m


def paint(state: State, m: Tensor, doublings: list[str], code: Tensor | None = None) -> np.ndarray:
    """The picture's levels, 0…255, not rounded [H, W, 3]. ``code``: [1, latent] of a VAE."""
    state = {key: value.double() for key, value in state.items()}
    start = None
    if code is not None:
        stride = 2 ** len(doublings)
        height, width = m.shape[-2] // stride, m.shape[-1] // stride
        x = code @ state["fc.weight"].t() + state["fc.bias"]
        start = x.view(1, -1, height, width)
    picture = generate(state, m[:, 0], m.shape[1], doublings, None, torch.zeros_like, False, m=m, start=start)
    return picture[0].permute(1, 2, 0).numpy() * 255


def posterior(state: State, photo: Path, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Mean and log variance of a photo's code, [1, latent]. ``size``: (width, height) that the loader resizes to."""
    state = {key: value.double() for key, value in state.items()}
    picture = Image.open(photo).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].double() / 127.5 - 1
    if tuple(x.shape[-2:]) != (256, 256):
        x = F.interpolate(x, size=(256, 256), mode="bilinear", align_corners=False)
    for i in range(6):
        layer = below(state, f"layer{i + 1}.0")
        sigma = layer["weight_u"] @ layer["weight_orig"].flatten(1) @ layer["weight_v"]
        x = F.instance_norm(F.conv2d(x, layer["weight_orig"] / sigma, stride=2, padding=1), eps=1e-5)
        x = F.leaky_relu(x, 0.2)
    x = x.flatten(1)
    mean = x @ state["fc_mu.weight"].t() + state["fc_mu.bias"]
    return mean, x @ state["fc_var.weight"].t() + state["fc_var.bias"]
