"""Files of MixNMatch's authors with random values, and what the published networks make of them.

Written from the published code's facts; nothing of the package is used. Every layer is a plain convolution of channels
that are concatenated in the published order: in the parent stage the features before the shape code, in the child stage
the texture code before the features.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]
SIDE, PARENT = 128, 16


class _Maker:
    """Random weights under published names."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.state: State = {}

    def weight(self, name: str, *shape: int, gain: float = 1.4) -> None:
        fan = torch.Size(shape[1:]).numel()
        self.state[f"{name}.weight"] = gain * torch.randn(*shape, generator=self.generator) / fan**0.5

    def bias(self, name: str, size: int) -> None:
        self.state[f"{name}.bias"] = 0.1 * torch.randn(size, generator=self.generator)

    def norm(self, name: str, size: int) -> None:
        self.state[f"{name}.weight"] = 1 + 0.2 * torch.randn(size, generator=self.generator)
        self.state[f"{name}.bias"] = 0.2 * torch.randn(size, generator=self.generator)
        self.state[f"{name}.running_mean"] = 0.2 * torch.randn(size, generator=self.generator)
        self.state[f"{name}.running_var"] = 0.5 + torch.rand(size, generator=self.generator)
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(9)

    def same(self, name: str, into: int, out: int) -> None:
        self.weight(f"{name}.0", 2 * out, into, 3, 3)
        self.norm(f"{name}.1", 2 * out)

    def residual(self, name: str, size: int) -> None:
        self.weight(f"{name}.block.0", 2 * size, size, 3, 3)
        self.norm(f"{name}.block.1", 2 * size)
        self.weight(f"{name}.block.3", size, size, 3, 3)
        self.norm(f"{name}.block.4", size)

    def trunk(self, name: str, into: int, widths: list[int]) -> None:
        self.weight(f"{name}.fc.0", 2 * 16 * widths[0], into)
        self.norm(f"{name}.fc.1", 2 * 16 * widths[0])
        for n in range(1, 6):
            self.weight(f"{name}.upsample{n}.1", 2 * widths[n], widths[n - 1], 3, 3)
            self.norm(f"{name}.upsample{n}.2", 2 * widths[n])


def generator_state(ngf: int, shapes: int, textures: int, pose: int, seed: int = 0) -> State:
    make, n = _Maker(seed), ngf
    make.trunk("background_stage", pose + textures, [8 * n, 4 * n, 2 * n, n, n, n // 2])
    make.trunk("parent_stage", pose + shapes, [8 * n, 4 * n, 2 * n, n, PARENT, PARENT])
    make.same("parent_stage.jointConv", PARENT + shapes, PARENT)
    for i in range(3):
        make.residual(f"parent_stage.residual.{i}", PARENT)
    make.same("child_stage.jointConv", textures + PARENT, 2 * PARENT)
    for i in range(2):
        make.residual(f"child_stage.residual.{i}", 2 * PARENT)
    make.same("child_stage.samesample", 2 * PARENT, PARENT)
    for head, into, out in (
        ("background_image", n // 2, 3),
        ("parent_image", PARENT, 3),
        ("parent_mask", PARENT, 1),
        ("child_image", PARENT, 3),
        ("child_mask", PARENT, 1),
    ):
        make.weight(f"{head}.img.0", out, into, 3, 3)
    return make.state


def encoder_state(ndf: int, shapes: int, textures: int, pose: int, seed: int = 1) -> State:
    make = _Maker(seed)
    for factor, codes in (("z", pose), ("b", textures), ("p", shapes), ("c", textures)):
        name = f"model_{factor}"
        make.weight(f"{name}.0.0", ndf, 3, 4, 4)
        for i, layer in enumerate((2, 5, 8)):
            make.weight(f"{name}.0.{layer}", ndf << (i + 1), ndf << i, 4, 4)
            make.norm(f"{name}.0.{layer + 1}", ndf << (i + 1))
        for part, out, into, kernel in ((1, 16, 8, 4), (2, 8, 16, 3), (3, 8, 8, 3)):
            make.weight(f"{name}.{part}.0", out * ndf, into * ndf, kernel, kernel)
            make.norm(f"{name}.{part}.1", out * ndf)
        make.weight(f"{name}.4", codes, 8 * ndf, 4, 4)
        make.bias(f"{name}.4", codes)
    return make.state


def extractor_state(n: int, seed: int = 2) -> State:
    make, down = _Maker(seed), [n, n, 2 * n, 4 * n, 8 * n, 16 * n, 16 * n]
    make.same("first.0", 3, n)
    make.same("first.1", n, n)
    for i in range(1, 7):
        make.weight(f"down{i}.0", 2 * down[i], down[i - 1], 4, 4)
        make.bias(f"down{i}.0", 2 * down[i])
        make.norm(f"down{i}.1", 2 * down[i])
    ups = ((16, 8), (8 + 16, 16), (16 + 8, 8), (8 + 4, 4), (4 + 2, 2))
    sizes = [(a * n, b * n) for a, b in ups] + [((2 + 1) * n, PARENT)]
    for i, (into, out) in enumerate(sizes, start=1):
        make.state[f"up{i}.0.weight"] = torch.randn(into, 2 * out, 4, 4, generator=make.generator) / into**0.5
        make.bias(f"up{i}.0", 2 * out)
        make.norm(f"up{i}.1", 2 * out)
    for i in range(2):
        make.residual(f"last.{i}", PARENT)
    return make.state


# --- the published networks, in evaluation ------------------------------------------------------------------------


def _norm(state: State, name: str, x: Tensor) -> Tensor:
    return F.batch_norm(
        x,
        state[f"{name}.running_mean"],
        state[f"{name}.running_var"],
        state[f"{name}.weight"],
        state[f"{name}.bias"],
        eps=1e-5,
    )


def _gate(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return a * b.sigmoid()


def _same(state: State, name: str, x: Tensor) -> Tensor:
    return _gate(_norm(state, f"{name}.1", F.conv2d(x, state[f"{name}.0.weight"], padding=1)))


def _residual(state: State, name: str, x: Tensor) -> Tensor:
    y = _gate(_norm(state, f"{name}.block.1", F.conv2d(x, state[f"{name}.block.0.weight"], padding=1)))
    return x + _norm(state, f"{name}.block.4", F.conv2d(y, state[f"{name}.block.3.weight"], padding=1))


def _trunk(state: State, name: str, codes: Tensor) -> Tensor:
    x = _gate(_norm(state, f"{name}.fc.1", codes @ state[f"{name}.fc.0.weight"].t())).view(
        len(codes), -1, 4, 4
    )
    for n in range(1, 6):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = _gate(
            _norm(
                state, f"{name}.upsample{n}.2", F.conv2d(x, state[f"{name}.upsample{n}.1.weight"], padding=1)
            )
        )
    return x


def _spread(code: Tensor) -> Tensor:
    return code[:, :, None, None].repeat(1, 1, SIDE, SIDE)


def parent_features(g: State, pose: Tensor, shape: Tensor) -> Tensor:
    x = _trunk(g, "parent_stage", torch.cat([pose, shape], 1))
    x = _same(g, "parent_stage.jointConv", torch.cat([x, _spread(shape)], 1))  # features, then code
    for i in range(3):
        x = _residual(g, f"parent_stage.residual.{i}", x)
    return x


def generate(g: State, behind: Tensor, background: Tensor, features: Tensor, texture: Tensor) -> Tensor:
    """The child image [B, 3, 128, 128] in [−1, 1]. ``behind``: the pose code of the background."""

    def head(name: str, x: Tensor) -> Tensor:
        y = F.conv2d(x, g[f"{name}.img.0.weight"], padding=1)
        return y.sigmoid() if name.endswith("mask") else y.tanh()

    scene = head("background_image", _trunk(g, "background_stage", torch.cat([behind, background], 1)))
    mask = head("parent_mask", features)
    scene = head("parent_image", features) * mask + scene * (1 - mask)
    x = _same(g, "child_stage.jointConv", torch.cat([_spread(texture), features], 1))  # code, then features
    for i in range(2):
        x = _residual(g, f"child_stage.residual.{i}", x)
    x = _same(g, "child_stage.samesample", x)
    mask = head("child_mask", x)
    return head("child_image", x) * mask + scene * (1 - mask)


def encode(e: State, factor: str, image: Tensor) -> Tensor:
    """A code as the generator takes it: 4·tanh of the pose, softmax of the others."""
    name = f"model_{factor}"
    x = F.leaky_relu(F.conv2d(image, e[f"{name}.0.0.weight"], stride=2, padding=1), 0.2)
    for layer in (2, 5, 8):
        x = F.conv2d(x, e[f"{name}.0.{layer}.weight"], stride=2, padding=1)
        x = F.leaky_relu(_norm(e, f"{name}.0.{layer + 1}", x), 0.2)
    for part, stride in ((1, 2), (2, 1), (3, 1)):
        x = F.conv2d(x, e[f"{name}.{part}.0.weight"], stride=stride, padding=1)
        x = F.leaky_relu(_norm(e, f"{name}.{part}.1", x), 0.2)
    x = F.conv2d(x, e[f"{name}.4.weight"], e[f"{name}.4.bias"], stride=4).flatten(1)
    return 4 * x.tanh() if factor == "z" else x.softmax(1)


def extract(x_state: State, image: Tensor) -> Tensor:
    """The feature extractor: what comes up stands before what came down in every concatenation."""
    x = _same(x_state, "first.1", _same(x_state, "first.0", image))
    down = []
    for i in range(1, 7):
        x = F.conv2d(x, x_state[f"down{i}.0.weight"], x_state[f"down{i}.0.bias"], stride=2, padding=1)
        x = _gate(_norm(x_state, f"down{i}.1", x))
        down.append(x)
    for i in range(1, 7):
        x = torch.cat([x, down[6 - i]], 1) if i > 1 else x
        x = F.conv_transpose2d(x, x_state[f"up{i}.0.weight"], x_state[f"up{i}.0.bias"], stride=2, padding=1)
        x = _gate(_norm(x_state, f"up{i}.1", x))
    return _residual(x_state, "last.1", _residual(x_state, "last.0", x))


# --- files and photos ---------------------------------------------------------------------------------------------


def photo(path: Path) -> Tensor:
    """As the published test program reads it: bilinear to 128×128, [−1, 1]."""
    picture = Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].double() / 127.5 - 1


def save(state: State, path: Path) -> Path:
    """From a data-parallel wrapper, as released."""
    torch.save({f"module.{key}": value for key, value in state.items()}, path)
    return path


def doubled(state: State) -> State:
    return {key: value.double() for key, value in state.items()}
