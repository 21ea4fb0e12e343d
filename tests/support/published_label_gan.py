"""SPADE and SEAN written out from the specification, slowly: one-hot maps, style maps, plain convolutions.

Everything works on a state dict with the published names. :func:`published` makes one of our networks' own parameters,
differentiably, so that values and gradients can be compared.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

State = dict[str, Tensor]
Draw = Callable[[Tensor], Tensor]
#: The blocks that an upsampling comes before, where it is "normal".
NORMAL = ["G_middle_0", "up_0", "up_1", "up_2", "up_3"]
BLOCKS = ("head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3", "up_4")


# --- published names from our parameters -------------------------------------------------------------------------


def convolution(stacked: Tensor, half: int) -> Tensor:
    """One half of a weight [9, 2C, S] as a convolution's [C, S, 3, 3]."""
    weight = stacked.chunk(2, 1)[half]
    return torch.stack([torch.stack(list(weight[3 * i : 3 * i + 3]), -1) for i in range(3)], -2)


def published_norm(norm: nn.Module, sean: bool) -> State:
    """The published entries of one norm."""
    mask = "Spade." if sean else ""
    shared, both = norm.mask.shared, norm.mask.scale_shift
    state = {f"{mask}mlp_shared.0.weight": shared.weight, f"{mask}mlp_shared.0.bias": shared.bias}
    for half, name in enumerate(("gamma", "beta")):
        state[f"{mask}mlp_{name}.weight"] = both.weight.chunk(2)[half]
        state[f"{mask}mlp_{name}.bias"] = both.bias.chunk(2)[half]
    for kind in ("running_mean", "running_var", "num_batches_tracked"):
        state[f"param_free_norm.{kind}"] = getattr(norm.norm, kind)
    if not sean:
        return state
    state |= {f"Spade.param_free_norm.{k}": torch.full_like(v, 7) for k, v in norm.norm.state_dict().items()}
    state["noise_var"] = norm.noise_scale
    for half, name in enumerate(("gamma", "beta")):
        state[f"blending_{name}"] = norm.blending[half : half + 1]
        if norm.style_channels:
            state[f"conv_{name}.weight"] = convolution(norm.style_weight, half)
            state[f"conv_{name}.bias"] = norm.style_bias.chunk(2)[half]
    for k in range(norm.classes if norm.style_channels else 0):
        state |= {f"fc_mu{k}.weight": norm.code_weight[k], f"fc_mu{k}.bias": norm.code_bias[k]}
    return state


def published(network: nn.Module) -> State:
    """The published entries of SPADENetworks or SEANNetworks: a generator file."""
    sean = hasattr(network.generator, "mean_styles")
    state: State = {}
    if sean:
        state |= {f"Zencoder.{key}": value for key, value in network.encoder.named_parameters()}
    generator = network.generator
    for part in ("fc", "conv_img"):
        state |= {f"{part}.{key}": value for key, value in getattr(generator, part).named_parameters()}
    for name in BLOCKS:
        block = getattr(generator, name, None)
        if block is None:
            continue
        for part, module in block.named_children():
            kind, number = part.split("_")
            if kind == "norm":
                prefix = f"{name}.{'ace' if sean else 'norm'}_{number}."
                state |= {prefix + key: value for key, value in published_norm(module, sean).items()}
            else:
                tensors = dict(module.named_parameters()) | dict(module.named_buffers())
                state |= {f"{name}.{part}.{key}": value for key, value in tensors.items()}
    return state


# --- the specification, written out -------------------------------------------------------------------------------


def below(state: State, prefix: str) -> State:
    return {
        key.removeprefix(prefix + "."): value for key, value in state.items() if key.startswith(prefix + ".")
    }


def one_hot(labels: Tensor, classes: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """[B, K, H, W], zeros where the label is 255."""
    return torch.stack([(labels == k).to(dtype) for k in range(classes)], 1)


def conv(state: State, x: Tensor, padding: int = 1, stride: int = 1) -> Tensor:
    return F.conv2d(x, state["weight"], state.get("bias"), stride, padding)


def spectral(state: State, x: Tensor, padding: int) -> Tensor:
    """A spectrally normalised convolution in evaluation: stored u and v."""
    weight = state["weight_orig"]
    sigma = state["weight_u"] @ weight.flatten(1) @ state["weight_v"]
    return F.conv2d(x, weight / sigma, state.get("bias"), padding=padding)


def normalise(state: State, x: Tensor, training: bool) -> Tensor:
    """Batch norm without affine part."""
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    if not training:
        mean, var = state["param_free_norm.running_mean"], state["param_free_norm.running_var"]
    return (x - mean[:, None, None]) / (var + 1e-5).sqrt()[:, None, None]


def mask_part(state: State, m: Tensor) -> tuple[Tensor, Tensor]:
    a = conv(below(state, "mlp_shared.0"), m).relu()
    return conv(below(state, "mlp_gamma"), a), conv(below(state, "mlp_beta"), a)


def spade(state: State, x: Tensor, m: Tensor, training: bool) -> Tensor:
    """Section 1."""
    gamma, beta = mask_part(state, F.interpolate(m, size=x.shape[-2:], mode="nearest"))
    return normalise(state, x, training) * (1 + gamma) + beta


def ace(state: State, x: Tensor, m: Tensor, styles: Tensor, draw: Draw, training: bool) -> Tensor:
    """Section 4: the style map is painted region by region and convolved whole."""
    x = normalise(state, x + draw(x) * state["noise_var"][:, None, None], training)
    m = F.interpolate(m, size=x.shape[-2:], mode="nearest")
    gamma, beta = mask_part(below(state, "Spade"), m)
    if "conv_gamma.weight" in state:
        images, classes = m.shape[:2]
        painted = []
        for b in range(images):
            canvas = torch.zeros(styles.shape[-1], *x.shape[-2:], dtype=x.dtype)
            for k in range(classes):
                code = (state[f"fc_mu{k}.weight"] @ styles[b, k] + state[f"fc_mu{k}.bias"]).relu()
                canvas = canvas + code[:, None, None] * m[b, k]
            painted.append(canvas)
        style_map = torch.stack(painted)
        for_gamma, for_beta = state["blending_gamma"].sigmoid(), state["blending_beta"].sigmoid()
        gamma = for_gamma * conv(below(state, "conv_gamma"), style_map) + (1 - for_gamma) * gamma
        beta = for_beta * conv(below(state, "conv_beta"), style_map) + (1 - for_beta) * beta
    return x * (1 + gamma) + beta


def generate(
    state: State,
    labels: Tensor,
    classes: int,
    doublings: list[str],
    styles: Tensor | None,
    draw: Draw,
    training: bool,
    m: Tensor | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """The generator. ``doublings``: the blocks that an upsampling comes before. ``m``: in place of the labels' one-hot
    form. ``start``: the start grid that a VAE makes of its code."""
    m = one_hot(labels, classes) if m is None else m

    def norm(name: str, x: Tensor) -> Tensor:
        if styles is None:
            return spade(below(state, name), x, m, training)
        return ace(below(state, name.replace("norm", "ace")), x, m, styles, draw, training)

    def block(name: str, x: Tensor) -> Tensor:
        shortcut = x
        if f"{name}.conv_s.weight_orig" in state:
            shortcut = spectral(below(state, f"{name}.conv_s"), norm(f"{name}.norm_s", x), 0)
        x = F.leaky_relu(norm(f"{name}.norm_0", x), 0.2)
        x = F.leaky_relu(norm(f"{name}.norm_1", spectral(below(state, f"{name}.conv_0"), x, 1)), 0.2)
        return shortcut + spectral(below(state, f"{name}.conv_1"), x, 1)

    stride = 2 ** len(doublings)
    small = F.interpolate(m, size=[side // stride for side in labels.shape[-2:]], mode="nearest")
    x = conv(below(state, "fc"), small) if start is None else start
    for name in BLOCKS:
        if f"{name}.conv_0.bias" in state:
            x = F.interpolate(x, scale_factor=2, mode="nearest") if name in doublings else x
            x = block(name, x)
    return (conv(below(state, "conv_img"), F.leaky_relu(x, 0.2)).tanh() + 1) / 2


def style_matrix(state: State, image: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The style encoder on images in [−1, 1], and its means over regions."""

    def norm(x: Tensor) -> Tensor:
        x = x - x.mean((2, 3), keepdim=True)
        return F.leaky_relu(x / (x.square().mean((2, 3), keepdim=True) + 1e-5).sqrt(), 0.2)

    def part(number: int) -> State:
        return below(state, f"Zencoder.model.{number}")

    x = norm(conv(part(1), F.pad(image, (1, 1, 1, 1), mode="reflect"), padding=0))
    x = norm(conv(part(4), x, stride=2))
    x = norm(conv(part(7), x, stride=2))
    up = part(10)
    x = norm(F.conv_transpose2d(x, up["weight"], up["bias"], stride=2, padding=1, output_padding=1))
    x = conv(part(14), F.pad(x, (1, 1, 1, 1), mode="reflect"), padding=0).tanh()
    m = F.interpolate(one_hot(labels, classes), size=x.shape[-2:], mode="nearest")
    rows = torch.zeros(len(x), classes, x.shape[1], dtype=x.dtype)
    for b in range(len(x)):
        for k in range(classes):
            inside = m[b, k] > 0
            if inside.any():
                rows[b, k] = x[b][:, inside].mean(1)
    return rows


# --- inputs -----------------------------------------------------------------------------------------------------


def shaken(network: nn.Module, seed: int = 0) -> nn.Module:
    """All parameters and running statistics at random, float64; spectral norms keep sensible u and v."""
    generator = torch.Generator().manual_seed(seed)
    network = network.double()
    with torch.no_grad():
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif tensor.is_floating_point() and not name.endswith(("weight_u", "weight_v", "mean_styles")):
                fan = max(1, tensor[0].numel()) if tensor.dim() > 1 else 4
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * fan**-0.5)
        for module in network.modules():
            if hasattr(module, "weight_u"):
                u, _, v = torch.linalg.svd(module.weight_orig.flatten(1), full_matrices=False)
                module.weight_u.copy_(u[:, 0])
                module.weight_v.copy_(v[0])
    return network


def blocks_of_labels(
    images: int, height: int, width: int, classes: int, seed: int = 0, side: int = 4
) -> Tensor:
    """Label maps uint8 [B, H, W] of patches, with some noise at single pixels, and void (255) in both."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(
        classes + 1, (images, 1, -(-height // side), -(-width // side)), generator=generator
    )
    labels = F.interpolate(coarse.double(), scale_factor=side)[:, 0, :height, :width].long()
    other = torch.randint(classes + 1, labels.shape, generator=generator)
    labels = torch.where(torch.rand(labels.shape, generator=generator) < 0.05, other, labels)
    return labels.masked_fill(labels == classes, 255).to(torch.uint8)
