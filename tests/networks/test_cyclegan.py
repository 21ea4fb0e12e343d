"""CycleGAN's networks: published sizes and keys, a forward pass written out, and images that do not fit."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.errors import DataError
from stylebridge.networks.cyclegan import (
    PRESETS,
    CycleGANConfig,
    CycleGANNetworks,
    Discriminator,
    Generator,
    InstanceNorm,
)

torch.set_num_threads(1)

MINI = CycleGANConfig(image_size=32, channels=3, blocks=2, layers=2)


def conv(inputs: int, outputs: int, kernel: int) -> int:
    return inputs * outputs * kernel * kernel + outputs


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def mini_networks() -> CycleGANNetworks:
    """With biases off zero and weights large enough that each layer shows in the result."""
    torch.manual_seed(2)
    networks = CycleGANNetworks(MINI).double()
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.normal_(0, 0.3)
    return networks


# --- sizes and keys -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("preset", "published"), [("cyclegan", 11_378_179), ("cyclegan-128", 7_837_699)])
def test_generator_has_the_published_number_of_parameters(preset: str, published: int) -> None:
    with torch.device("meta"):
        generator = Generator(PRESETS[preset])
    ends = conv(3, 64, 7) + conv(64, 3, 7)
    down, up = conv(64, 128, 3) + conv(128, 256, 3), 256 * 128 * 9 + 128 + 128 * 64 * 9 + 64
    blocks = PRESETS[preset].blocks * 2 * conv(256, 256, 3)
    assert parameters(generator) == ends + down + blocks + up == published


def test_discriminator_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        discriminator = Discriminator(PRESETS["cyclegan"])
    layers = ((3, 64), (64, 128), (128, 256), (256, 512), (512, 1))
    assert parameters(discriminator) == sum(conv(*layer, 4) for layer in layers) == 2_764_737


def test_keys_are_those_of_the_published_code() -> None:
    with torch.device("meta"):
        networks = CycleGANNetworks(PRESETS["cyclegan"])
    shapes = {"model.1": (64, 3, 7, 7), "model.4": (128, 64, 3, 3), "model.7": (256, 128, 3, 3)}
    shapes |= {f"model.{n}.conv_block.{i}": (256, 256, 3, 3) for n in range(10, 19) for i in (1, 5)}
    shapes |= {"model.19": (256, 128, 3, 3), "model.22": (128, 64, 3, 3), "model.26": (3, 64, 7, 7)}
    biases = {key: shape[1] if key in ("model.19", "model.22") else shape[0] for key, shape in shapes.items()}
    wanted = {f"{k}.weight": s for k, s in shapes.items()} | {f"{k}.bias": (n,) for k, n in biases.items()}
    assert {k: tuple(v.shape) for k, v in networks.generators["a"].state_dict().items()} == wanted
    widths = {0: (64, 3), 2: (128, 64), 5: (256, 128), 8: (512, 256), 11: (1, 512)}
    wanted = {f"model.{n}.weight": (*w, 4, 4) for n, w in widths.items()}
    wanted |= {f"model.{n}.bias": w[:1] for n, w in widths.items()}
    assert {k: tuple(v.shape) for k, v in networks.discriminators["b"].state_dict().items()} == wanted


def test_weights_start_at_a_deviation_of_0_02_and_biases_at_zero() -> None:
    torch.manual_seed(0)
    networks = CycleGANNetworks(PRESETS["cyclegan-small"])
    for name, value in networks.named_parameters():
        if name.endswith("bias"):
            assert not value.any(), name
        elif value.numel() > 4000:
            assert value.std().item() == pytest.approx(0.02, rel=0.05), name
            assert abs(value.mean().item()) < 0.001


def test_presets() -> None:
    assert (PRESETS["cyclegan"].image_size, PRESETS["cyclegan"].blocks) == (256, 9)
    assert (PRESETS["cyclegan-128"].image_size, PRESETS["cyclegan-128"].blocks) == (128, 6)
    assert all(
        PRESETS[name].channels == 64 and PRESETS[name].layers == 3 for name in ("cyclegan", "cyclegan-128")
    )
    small = CycleGANNetworks(PRESETS["cyclegan-small"])
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    assert small.generators["a"](image).shape == image.shape
    assert small.discriminators["a"](image).shape == (1, 1, 14, 14)


# --- what they compute ----------------------------------------------------------------------------------------


def instance_norm(x: Tensor) -> Tensor:
    mean = x.mean((2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((2, 3), keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def reflect(x: Tensor, n: int) -> Tensor:
    rows = [*range(n, 0, -1), *range(x.shape[2]), *range(x.shape[2] - 2, x.shape[2] - 2 - n, -1)]
    columns = [*range(n, 0, -1), *range(x.shape[3]), *range(x.shape[3] - 2, x.shape[3] - 2 - n, -1)]
    return x[:, :, rows][:, :, :, columns]


def generate(state: dict[str, Tensor], x: Tensor, blocks: int) -> Tensor:
    """The published generator from its weights, layer by layer."""

    def layer(key: str, x: Tensor, **options) -> Tensor:
        return F.conv2d(x, state[f"{key}.weight"], state[f"{key}.bias"], **options)

    x = instance_norm(layer("model.1", reflect(x, 3))).relu()
    for key in ("model.4", "model.7"):
        x = instance_norm(layer(key, x, stride=2, padding=1)).relu()
    for n in range(10, 10 + blocks):
        y = instance_norm(layer(f"model.{n}.conv_block.1", reflect(x, 1))).relu()
        x = x + instance_norm(layer(f"model.{n}.conv_block.5", reflect(y, 1)))
    for n in (10 + blocks, 13 + blocks):
        # A transposed convolution spelt out: zeros between pixels, then the turned kernel.
        batch, channels, height, width = x.shape
        spread = x.new_zeros(batch, channels, 2 * height, 2 * width)
        spread[:, :, ::2, ::2] = x
        kernel = state[f"model.{n}.weight"].transpose(0, 1).flip(2, 3)
        x = instance_norm(F.conv2d(F.pad(spread, (1, 1, 1, 1)), kernel, state[f"model.{n}.bias"])).relu()
    return layer(f"model.{16 + blocks + 1}", reflect(x, 3)).tanh()


def judge(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The published discriminator with two stride-2 layers."""

    def layer(n: int, x: Tensor, stride: int) -> Tensor:
        return F.conv2d(x, state[f"model.{n}.weight"], state[f"model.{n}.bias"], stride=stride, padding=1)

    def leaky(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.2 * x)

    x = leaky(layer(0, x, 2))
    x = leaky(instance_norm(layer(2, x, 2)))
    x = leaky(instance_norm(layer(5, x, 1)))
    return layer(8, x, 1)


def test_forward_passes_equal_those_written_out() -> None:
    networks = mini_networks()
    image = torch.rand(2, 3, 24, 32, dtype=torch.float64) * 2 - 1
    generator, discriminator = networks.generators["b"], networks.discriminators["b"]
    expected = generate(generator.state_dict(), image, MINI.blocks)
    torch.testing.assert_close(generator(image), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        discriminator(image), judge(discriminator.state_dict(), image), rtol=1e-9, atol=1e-12
    )
    assert expected.std() > 0.1


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_gradients_do_not_depend_on_the_memory_order(order: torch.memory_format, images: int) -> None:
    """torch's own instance norm fails this on a CPU for a single image."""
    torch.manual_seed(4)
    image = torch.rand(images, 3, 16, 16, dtype=torch.float64) * 2 - 1
    weight = torch.rand(images, 3, 16, 16, dtype=torch.float64)
    expected, found = mini_networks().generators["a"], mini_networks().generators["a"].to(memory_format=order)  # type: ignore[call-overload]
    (generate(dict(expected.named_parameters()), image, MINI.blocks) * weight).sum().backward()
    (found(image.contiguous(memory_format=order)) * weight.contiguous(memory_format=order)).sum().backward()
    for (name, mine), other in zip(found.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(
            mine.grad, other.grad, rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_gradients_of_the_norm() -> None:
    torch.manual_seed(5)
    x = torch.rand(2, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(InstanceNorm(3), x)
    torch.testing.assert_close(InstanceNorm(3)(x), instance_norm(x))


@pytest.mark.parametrize(("layers", "patch"), [(3, 70), (2, 34)])
def test_a_score_sees_a_patch(layers: int, patch: int) -> None:
    """Without instance norm, whose means are of the whole image."""
    torch.manual_seed(0)
    discriminator = Discriminator(CycleGANConfig(image_size=160, channels=2, layers=layers)).double()
    for n, module in enumerate(discriminator.model):
        if isinstance(module, InstanceNorm):
            discriminator.model[n] = nn.Identity()
    image = torch.rand(1, 3, 160, 160, dtype=torch.float64, requires_grad=True)
    scores = discriminator(image)
    middle = scores.shape[-1] // 2
    (gradient,) = torch.autograd.grad(scores[0, 0, middle, middle], image)
    seen = gradient[0].abs().sum(0) > 0
    assert seen.any(1).sum() == seen.any(0).sum() == patch


# --- in use ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(32, 24), (37, 50), (1, 5)])
def test_translator_takes_images_of_any_size(size: tuple[int, int]) -> None:
    networks = mini_networks()
    translator = networks.translator("b")
    image = torch.rand(1, 3, *size, dtype=torch.float64)
    result = translator(image)
    assert result.shape == image.shape
    assert 0 <= result.min() <= result.max() <= 1
    height, width = (max(8, -(-side // 4) * 4) for side in size)
    rows, columns = torch.arange(height).clamp(max=size[0] - 1), torch.arange(width).clamp(max=size[1] - 1)
    expected = networks.generators["b"](2 * image[:, :, rows][..., columns] - 1) / 2 + 0.5
    torch.testing.assert_close(result, expected[..., : size[0], : size[1]])


def test_what_does_not_fit_is_refused() -> None:
    networks = mini_networks()
    with pytest.raises(DataError, match=r"50×36 .* multiples of 4"):
        networks.generators["a"](torch.zeros(1, 3, 36, 50, dtype=torch.float64))
    with pytest.raises(DataError, match="8×4"):
        networks.generators["a"](torch.zeros(1, 3, 4, 8, dtype=torch.float64))
    with pytest.raises(DataError, match=r"11×40 is too small.* 12 pixels"):
        networks.discriminators["a"](torch.zeros(1, 3, 40, 11, dtype=torch.float64))
    assert networks.discriminators["a"](torch.zeros(1, 3, 12, 12, dtype=torch.float64)).shape[2:] == (1, 1)


@pytest.mark.parametrize(
    "wrong", [{"image_size": 20}, {"image_size": 66}, {"blocks": 0}, {"norm": "batch"}, {"layers": 7}]
)
def test_settings_that_do_not_fit_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        CycleGANConfig(**wrong)
