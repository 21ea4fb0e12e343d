"""SEAN as its spec sheet says it, word for word and slowly: a state dict of the authors' layout with random values, and
what the published networks make of it. Nothing of the package is used."""

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]
#: Blocks and their channels in and out, in multiples of nf.
BLOCKS = {"head_0": (16, 16), "G_middle_0": (16, 16), "G_middle_1": (16, 16), "up_0": (16, 8), "up_1": (8, 4),
          "up_2": (4, 2), "up_3": (2, 1)}  # fmt: skip


def published_state(classes: int, nf: int = 4, hidden: int = 8, style: int = 16, seed: int = 0) -> State:
    """Random weights; no noise, which no two programs draw alike."""
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
    """Labels [H, W] (255 = none) in the style of an image [3, h, w] in [−1, 1]: [3, H, W] in [−1, 1]."""
    classes = state["fc.weight"].shape[1]
    one_hot = _one_hot(labels, classes)
    return _generate(state, one_hot, _styles(state, image[None], _one_hot(image_labels, classes)))[0]


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    return torch.stack([(labels == k).float() for k in range(classes)])[None]


def _conv(state: State, name: str, x: Tensor, padding: int = 1, stride: int = 1) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), stride, padding)


def _styles(state: State, x: Tensor, one_hot: Tensor) -> Tensor:
    x = F.pad(x, (1, 1, 1, 1), mode="reflect")
    x = F.leaky_relu(F.instance_norm(_conv(state, "Zencoder.model.1", x, 0)), 0.2)
    x = F.leaky_relu(F.instance_norm(_conv(state, "Zencoder.model.4", x, stride=2)), 0.2)
    x = F.leaky_relu(F.instance_norm(_conv(state, "Zencoder.model.7", x, stride=2)), 0.2)
    weight, bias = state["Zencoder.model.10.weight"], state["Zencoder.model.10.bias"]
    x = F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1)
    x = F.pad(F.leaky_relu(F.instance_norm(x), 0.2), (1, 1, 1, 1), mode="reflect")
    x = torch.tanh(_conv(state, "Zencoder.model.14", x, 0))
    regions = F.interpolate(one_hot, size=x.shape[-2:], mode="nearest")[0]
    rows = [x[0][:, mask > 0].mean(1) if (mask > 0).any() else x.new_zeros(x.shape[1]) for mask in regions]
    return torch.stack(rows)


def _ace(state: State, name: str, x: Tensor, one_hot: Tensor, styles: Tensor) -> Tensor:
    mask = F.interpolate(one_hot, size=x.shape[-2:], mode="nearest")
    norm = f"{name}.param_free_norm"
    x = F.batch_norm(x, state[f"{norm}.running_mean"], state[f"{norm}.running_var"])
    a = F.relu(_conv(state, f"{name}.Spade.mlp_shared.0", mask))
    gamma, beta = _conv(state, f"{name}.Spade.mlp_gamma", a), _conv(state, f"{name}.Spade.mlp_beta", a)
    if f"{name}.conv_gamma.weight" in state:
        painted = x.new_zeros(1, styles.shape[1], *x.shape[-2:])
        for k, region in enumerate(mask[0]):
            code = F.relu(
                F.linear(styles[k], state[f"{name}.fc_mu{k}.weight"], state[f"{name}.fc_mu{k}.bias"])
            )
            painted[0][:, region > 0] = code[:, None]
        shares = [torch.sigmoid(state[f"{name}.blending_{part}"]) for part in ("gamma", "beta")]
        gamma = shares[0] * _conv(state, f"{name}.conv_gamma", painted) + (1 - shares[0]) * gamma
        beta = shares[1] * _conv(state, f"{name}.conv_beta", painted) + (1 - shares[1]) * beta
    return x * (1 + gamma) + beta


def _spectral(state: State, name: str, x: Tensor, padding: int = 1) -> Tensor:
    weight = state[f"{name}.weight_orig"]
    sigma = state[f"{name}.weight_u"] @ weight.flatten(1) @ state[f"{name}.weight_v"]
    return F.conv2d(x, weight / sigma, state.get(f"{name}.bias"), padding=padding)


def _block(state: State, name: str, x: Tensor, one_hot: Tensor, styles: Tensor) -> Tensor:
    shortcut = x
    if f"{name}.conv_s.weight_orig" in state:
        shortcut = _spectral(state, f"{name}.conv_s", _ace(state, f"{name}.ace_s", x, one_hot, styles), 0)
    dx = _spectral(
        state, f"{name}.conv_0", F.leaky_relu(_ace(state, f"{name}.ace_0", x, one_hot, styles), 0.2)
    )
    dx = _spectral(
        state, f"{name}.conv_1", F.leaky_relu(_ace(state, f"{name}.ace_1", dx, one_hot, styles), 0.2)
    )
    return shortcut + dx


def _generate(state: State, one_hot: Tensor, styles: Tensor) -> Tensor:
    height, width = one_hot.shape[-2:]
    x = _conv(state, "fc", F.interpolate(one_hot, size=(height // 32, width // 32), mode="nearest"))
    for name in BLOCKS:
        if name not in ("head_0", "G_middle_1"):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = _block(state, name, x, one_hot, styles)
    return torch.tanh(_conv(state, "conv_img", F.leaky_relu(x, 0.2)))
