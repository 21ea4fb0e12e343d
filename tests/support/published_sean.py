"""A generator file of SEAN's authors with random values, and what the published networks make of it. Nothing of the
package is used."""

import torch
from torch import Tensor
from torch.nn import functional as F

from support.published_label_gan import NORMAL, State, generate, style_matrix

#: Blocks and their channels in and out, in multiples of nf.
BLOCKS = {"head_0": (16, 16), "G_middle_0": (16, 16), "G_middle_1": (16, 16), "up_0": (16, 8), "up_1": (8, 4),
          "up_2": (4, 2), "up_3": (2, 1)}  # fmt: skip


def published_state(classes: int, nf: int = 4, hidden: int = 8, style: int = 16, seed: int = 0) -> State:
    """Random weights; no noise, which differs between programs."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}

    def conv(name: str, out: int, into: int, kernel: int, bias: bool = True, gain: float = 1.0) -> None:
        state[f"{name}.weight"] = (
            gain * torch.randn(out, into, kernel, kernel, generator=generator) / (into**0.5 * kernel)
        )
        if bias:
            state[f"{name}.bias"] = 0.1 * torch.randn(out, generator=generator)

    def spectral(name: str, out: int, into: int, kernel: int, bias: bool = True) -> None:
        conv(name, out, into, kernel, bias)
        weight = state[f"{name}.weight_orig"] = state.pop(f"{name}.weight")
        u = F.normalize(torch.randn(out, generator=generator), dim=0)
        state[f"{name}.weight_v"] = F.normalize(weight.flatten(1).t() @ u, dim=0)
        state[f"{name}.weight_u"] = F.normalize(weight.flatten(1) @ state[f"{name}.weight_v"], dim=0)

    def ace(name: str, channels: int, styled: bool) -> None:
        state[f"{name}.blending_gamma"] = torch.randn(1, generator=generator)
        state[f"{name}.blending_beta"] = torch.randn(1, generator=generator)
        state[f"{name}.noise_var"] = torch.zeros(channels)
        for part in (f"{name}.Spade.param_free_norm", f"{name}.param_free_norm"):
            state[f"{part}.running_mean"] = torch.randn(channels, generator=generator)
            state[f"{part}.running_var"] = 0.5 + torch.rand(channels, generator=generator)
            state[f"{part}.num_batches_tracked"] = torch.tensor(7)
        conv(f"{name}.Spade.mlp_shared.0", hidden, classes, 3)
        for part in ["Spade.mlp_gamma", "Spade.mlp_beta"]:
            conv(f"{name}.{part}", channels, hidden, 3)
        if styled:
            for k in range(classes):
                state[f"{name}.fc_mu{k}.weight"] = torch.randn(style, style, generator=generator) / style**0.5
                state[f"{name}.fc_mu{k}.bias"] = 0.3 * torch.randn(style, generator=generator)
            for part in ["conv_gamma", "conv_beta"]:
                conv(f"{name}.{part}", channels, style, 3)

    c = style // 16
    for n, (into, out) in {1: (3, c), 4: (c, 2 * c), 7: (2 * c, 4 * c), 14: (8 * c, style)}.items():
        conv(f"Zencoder.model.{n}", out, into, 3, gain=2.0)
    state["Zencoder.model.10.weight"] = torch.randn(4 * c, 8 * c, 3, 3, generator=generator) / (4 * c) ** 0.5
    state["Zencoder.model.10.bias"] = 0.1 * torch.randn(8 * c, generator=generator)
    conv("fc", 16 * nf, classes, 3)
    for block, (a, b) in BLOCKS.items():
        into, out = a * nf, b * nf
        middle = min(into, out)
        spectral(f"{block}.conv_0", middle, into, 3)
        spectral(f"{block}.conv_1", out, middle, 3)
        ace(f"{block}.ace_0", into, block != "up_3")
        ace(f"{block}.ace_1", middle, block != "up_3")
        if into != out:
            spectral(f"{block}.conv_s", out, into, 1, bias=False)
            ace(f"{block}.ace_s", into, block != "up_3")
    conv("conv_img", 3, nf, 3)
    return state


def published_output(state: State, labels: Tensor, image: Tensor, image_labels: Tensor) -> Tensor:
    """Labels [H, W] (255 = none) in the style of an image [3, h, w] in [−1, 1]: float64 [3, H, W] in [−1, 1]."""
    classes = state["fc.weight"].shape[1]
    state = {key: value.double() for key, value in state.items()}
    styles = style_matrix(state, image[None].double(), image_labels[None], classes)
    picture = generate(state, labels[None], classes, NORMAL, styles, lambda x: x.new_zeros(1), training=False)
    return picture[0] * 2 - 1
