"""NICE-GAN's checkpoint with random values, and what the published test program makes of it, in functions. Nothing of
the package is used."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


class _Maker:
    def __init__(self, seed: int) -> None:
        self.g = torch.Generator().manual_seed(seed)
        self.state: State = {}

    def random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.g)

    def layer(self, name: str, *shape: int, bias: bool = True) -> None:
        self.state[f"{name}.weight"] = self.random(*shape) * (2 / torch.Size(shape[1:]).numel()) ** 0.5
        if bias:
            self.state[f"{name}.bias"] = 0.1 * self.random(shape[0])

    def spectral(self, name: str, *shape: int, bias: bool = True) -> None:
        self.layer(name, *shape, bias=bias)
        weight = self.state[f"{name}.weight_orig"] = self.state.pop(f"{name}.weight")
        u = F.normalize(self.random(shape[0]), dim=0)
        v = F.normalize(weight.flatten(1).t() @ u, dim=0)
        self.state[f"{name}.weight_u"] = F.normalize(weight.flatten(1) @ v, dim=0)
        self.state[f"{name}.weight_v"] = v

    def norm(self, name: str, size: int, own: bool = True) -> None:
        self.state[f"{name}.rho"] = self.random(1, size, 2)
        if own:
            self.state[f"{name}.gamma"] = 1 + 0.3 * self.random(1, size, 1, 1)
            self.state[f"{name}.beta"] = 0.3 * self.random(1, size, 1, 1)


def discriminator_state(n: int, seed: int) -> State:
    make = _Maker(seed)
    make.spectral("model.1", n, 3, 4, 4)
    make.spectral("model.4", 2 * n, n, 4, 4)
    make.spectral("fc", 1, 4 * n, bias=False)
    make.layer("conv1x1", 2 * n, 4 * n, 1, 1)
    make.state["lamda"] = torch.tensor([0.7])  # 0 would hide the attention
    for name, out, into in (
        ("Dis0_0.1", 4, 2), ("Dis0_1.1", 8, 4), ("Dis1_0.1", 8, 4), ("Dis1_0.4", 16, 8), ("Dis1_1.1", 32, 16)
    ):  # fmt: skip
        make.spectral(name, out * n, into * n, 4, 4)
    make.spectral("conv0", 1, 8 * n, 4, 4, bias=False)
    make.spectral("conv1", 1, 32 * n, 4, 4, bias=False)
    return make.state


def generator_state(n: int, blocks: int, seed: int, cells: int = 1) -> State:
    """``cells``: 1 for a light model, (side / 4)² for a full one."""
    make, c = _Maker(seed), 4 * n
    make.layer("UpBlock0.1", c, 2 * n, 3, 3)
    make.norm("UpBlock0.2", c)
    make.layer("FC.0", c, c * cells, bias=False)
    make.layer("FC.2", c, c, bias=False)
    make.layer("gamma", c, c, bias=False)
    make.layer("beta", c, c, bias=False)
    for i in range(1, blocks + 1):
        for k in (1, 2):
            make.layer(f"UpBlock1_{i}.conv{k}", c, c, 3, 3, bias=False)
            make.norm(f"UpBlock1_{i}.norm{k}", c, own=False)
    for first, into in ((1, c), (9, 2 * n)):
        half = into // 2
        make.layer(f"UpBlock2.{first}", half, into, 3, 3, bias=False)
        make.norm(f"UpBlock2.{first + 1}", half)
        make.layer(f"UpBlock2.{first + 3}", 4 * half, half, 1, 1)
        make.norm(f"UpBlock2.{first + 5}", half)
    make.layer("UpBlock2.17", 3, n, 7, 7, bias=False)
    return make.state


def _pad(x: Tensor, width: int = 1) -> Tensor:
    return F.pad(x, (width,) * 4, mode="reflect")


def encode(state: State, image: Tensor) -> Tensor:
    """The code z of images in [−1, 1]."""

    def spectral(name: str, x: Tensor) -> Tensor:
        weight = state[f"{name}.weight_orig"]
        sigma = state[f"{name}.weight_u"] @ weight.flatten(1) @ state[f"{name}.weight_v"]
        return F.leaky_relu(F.conv2d(_pad(x), weight / sigma, state[f"{name}.bias"], stride=2), 0.2)

    h = spectral("model.4", spectral("model.1", image))
    # The map takes the weight as it is kept, not divided by its norm.
    attention = torch.cat([h, h], 1) * state["fc.weight_orig"][:, :, None, None]
    attention = F.conv2d(attention, state["conv1x1.weight"], state["conv1x1.bias"])
    return F.leaky_relu(state["lamda"] * attention + h, 0.2)


def paint(state: State, z: Tensor, blocks: int) -> Tensor:
    """Images in [−1, 1] of codes."""

    def norm(name: str, x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None) -> Tensor:
        def by(dims: list[int]) -> Tensor:
            return (x - x.mean(dims, keepdim=True)) / (x.var(dims, keepdim=True) + 1e-5).sqrt()  # n − 1

        rho = state[f"{name}.rho"].softmax(2)
        y = rho[:, :, 0, None, None] * by([2, 3]) + rho[:, :, 1, None, None] * by([1, 2, 3])
        if gamma is None or beta is None:
            return y * state[f"{name}.gamma"] + state[f"{name}.beta"]
        return y * gamma[:, :, None, None] + beta[:, :, None, None]

    x = F.conv2d(_pad(z), state["UpBlock0.1.weight"], state["UpBlock0.1.bias"])
    x = norm("UpBlock0.2", x).relu()
    light = state["FC.0.weight"].shape[1] == x.shape[1]
    style = x.mean((2, 3)) if light else x.flatten(1)
    style = ((style @ state["FC.0.weight"].t()).relu() @ state["FC.2.weight"].t()).relu()
    gamma, beta = style @ state["gamma.weight"].t(), style @ state["beta.weight"].t()
    for i in range(1, blocks + 1):
        name = f"UpBlock1_{i}"
        y = norm(f"{name}.norm1", F.conv2d(_pad(x), state[f"{name}.conv1.weight"]), gamma, beta).relu()
        x = x + norm(f"{name}.norm2", F.conv2d(_pad(y), state[f"{name}.conv2.weight"]), gamma, beta)
    for first in (1, 9):
        name = "UpBlock2"
        x = norm(f"{name}.{first + 1}", F.conv2d(_pad(x), state[f"{name}.{first}.weight"])).relu()
        x = F.conv2d(x, state[f"{name}.{first + 3}.weight"], state[f"{name}.{first + 3}.bias"])
        x = norm(f"{name}.{first + 5}", F.pixel_shuffle(x, 2)).relu()
    return F.conv2d(_pad(x, 3), state["UpBlock2.17.weight"]).tanh()


def photo(path: Path, side: int) -> Tensor:
    """As the published test program reads it: bilinear to a square, [−1, 1]."""
    picture = Image.open(path).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].double() / 127.5 - 1
