"""vit-light: a plain vision transformer of timm with a light decoder."""

import json
import math
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants as hub_constants
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.engine import OptimizerConfig
from stylebridge.errors import RecipeError, WeightsError
from stylebridge.methods.registry import find_method
from stylebridge.networks import pretrained
from stylebridge.networks.segmenters.build import (
    SegmenterConfig,
    ViTSegmenter,
    build_segmenter,
    load_segmenter,
)
from stylebridge.networks.segmenters.vit import chosen_layers
from support.mini import batches, mini_trainer

SMALL = {"channels": 16, "layers": 3}


def build(encoder: str = "test_vit", classes: int = 4, seed: int = 0, **changes) -> ViTSegmenter:
    torch.manual_seed(seed)
    values = {"weights": None, "options": SMALL, **changes}
    segmenter = build_segmenter(SegmenterConfig(arch="vit-light", encoder=encoder, **values), classes)
    assert isinstance(segmenter, ViTSegmenter)
    return segmenter


def tokens_of(encoder: nn.Module, image: Tensor, layers: tuple[int, ...]) -> list[Tensor]:
    """What the blocks give, [B, N, D] with the tokens that stand for no patch, read off with hooks."""
    seen: dict[int, Tensor] = {}
    hooks = [
        encoder.blocks[i].register_forward_hook(lambda m, a, out, i=i: seen.__setitem__(i, out))  # type: ignore
        for i in layers
    ]
    encoder.forward_features(image)  # type: ignore[operator]
    for hook in hooks:
        hook.remove()
    return [seen[i] for i in layers]


def layer_norm(x: Tensor, layer: nn.LayerNorm) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt() * layer.weight + layer.bias


@pytest.mark.parametrize("encoder", ["test_vit", "test_vit4"])
def test_is_the_formula(encoder: str) -> None:
    segmenter = build(encoder).double().eval()
    image = torch.rand(2, 3, 48, 80, dtype=torch.float64)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in ((0.5,) * 3, (0.5,) * 3))
    decoder, prefix = segmenter.decoder, segmenter.encoder.num_prefix_tokens
    with torch.no_grad():
        maps = tokens_of(segmenter.encoder, (image - mean) / std, segmenter.layers)
        total = torch.zeros(2, 15, 16, dtype=torch.float64)
        for tokens, norm, project in zip(maps, decoder.norms, decoder.projections, strict=True):
            assert isinstance(norm, nn.LayerNorm)
            total += layer_norm(tokens[:, prefix:], norm) @ project.weight.T + project.bias
        x = total.transpose(1, 2).reshape(2, 16, 3, 5)
        for refine in decoder.refine:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = F.conv2d(x, refine[0].weight, padding=1)
            grouped = x.reshape(2, refine[1].num_groups, -1)
            grouped = (grouped - grouped.mean(-1, keepdim=True)) / (
                grouped.var(-1, unbiased=False, keepdim=True) + 1e-5
            ).sqrt()
            x = grouped.reshape(x.shape) * refine[1].weight.view(1, -1, 1, 1) + refine[1].bias.view(
                1, -1, 1, 1
            )
            x = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        assert x.shape == (2, 16, 12, 20)
        torch.testing.assert_close(segmenter.features(image), x, rtol=1e-9, atol=1e-9)
        logits = torch.einsum("bchw,kc->bkhw", x, segmenter.classifier.weight[..., 0, 0])
        logits = logits + segmenter.classifier.bias.view(1, -1, 1, 1)
        logits = F.interpolate(logits, size=(48, 80), mode="bilinear", align_corners=True)
        torch.testing.assert_close(segmenter(image), logits, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("upsample", [1, 2, 4])
def test_any_size(upsample: int) -> None:
    segmenter = build(options={**SMALL, "upsample": upsample}).eval()
    image = torch.rand(1, 3, 45, 61)
    padded = F.pad(image, (0, 3, 0, 3), mode="reflect")
    with torch.no_grad():
        features = segmenter.features(image)
        assert features.shape == (1, segmenter.feature_channels, 3 * upsample, 4 * upsample)
        assert segmenter.canvas((45, 61)) == (48, 64)
        torch.testing.assert_close(segmenter(image), segmenter(padded)[..., :45, :61])
        assert segmenter(torch.rand(1, 3, 5, 70)).shape == (1, 4, 5, 70)  # too small to mirror


def test_dinov2_and_what_it_is_normalised_with() -> None:
    segmenter = build("vit_small_patch14_dinov2.lvd142m").eval()
    assert segmenter.layers == (3, 7, 11)
    assert segmenter.normalisation.mean == (0.485, 0.456, 0.406)
    with torch.no_grad():
        assert segmenter.features(torch.rand(1, 3, 98, 70)).shape == (1, 16, 28, 20)
        assert segmenter(torch.rand(1, 3, 98, 70)).shape == (1, 4, 98, 70)


def test_rotary_positions_and_registers_as_in_dinov3() -> None:
    segmenter = build("vit_tiny_patch16_dinov3_qkvb", options={**SMALL, "layers": [1, 3]}).eval()
    assert len(segmenter.encoder.blocks) == 4  # what lies behind the last block that is read is left out
    with torch.no_grad():
        assert segmenter(torch.rand(1, 3, 40, 50)).shape == (1, 4, 40, 50)


def test_the_prefix_of_smp_may_stay() -> None:
    ours, theirs = build("test_vit").eval(), build("tu-test_vit").eval()
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(ours(image), theirs(image))


@pytest.mark.parametrize(
    ("layers", "depth", "chosen"),
    [(4, 12, (2, 5, 8, 11)), (4, 6, (0, 2, 3, 5)), (1, 12, (11,)), (3, 3, (0, 1, 2)), ((1, 2), 6, (1, 2))],
)
def test_which_layers_are_read(layers: int | tuple[int, ...], depth: int, chosen: tuple[int, ...]) -> None:
    assert chosen_layers(layers, depth) == chosen


@pytest.mark.parametrize(
    ("values", "key", "hint"),
    [
        ({"encoder": "vit_small_patch14_dino2"}, "segmenter.encoder", "vit_small_patch14_dinov2"),
        ({"encoder": "vit_small_patch14_dinov2.in1k"}, "segmenter.encoder", "dinov2.lvd142m"),
        ({"encoder": "resnet18"}, "segmenter.encoder", "plain vision transformer"),
        ({"encoder": "swin_tiny_patch4_window7_224"}, "segmenter.encoder", "plain vision transformer"),
        ({"encoder": "vit_relpos_small_patch16_224"}, "segmenter.encoder", "any size"),
        ({"options": {"chanels": 8}}, "segmenter.options", "channels"),
        ({"options": {"upsample": 3}}, "segmenter.options.upsample", "3"),
        ({"options": {"layers": 7}}, "segmenter.options.layers", "6 blocks"),
        ({"options": {"layers": [3, 1]}}, "segmenter.options.layers", "ascending"),
        ({"options": {"layers": [6]}}, "segmenter.options.layers", "0 to 5"),
        ({"arch": "vit-lite"}, "segmenter.arch", "vit-light"),
    ],
)
def test_mistakes_are_named(values: dict, key: str, hint: str) -> None:
    values = {"arch": "vit-light", "encoder": "test_vit", "weights": None, **values}
    with pytest.raises(RecipeError) as caught:
        build_segmenter(SegmenterConfig(**values), 4)
    assert key in str(caught.value)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


# --- weights ------------------------------------------------------------------------------------------------


def test_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pretrained, "reachable", lambda *_: False)
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(WeightsError, match=r"vit_small_patch14_dinov2.*segmenter\.weights: none"):
        build("vit_small_patch14_dinov2", weights="imagenet")
    monkeypatch.setattr(pretrained, "timm_tags", lambda _: [])
    with pytest.raises(WeightsError, match="no released weights of test_vit4"):
        build("test_vit4", weights="imagenet")


def test_tags_are_those_of_the_model_alone() -> None:
    assert pretrained.timm_tags("vit_small_patch14_dinov2") == ["vit_small_patch14_dinov2.lvd142m"]


@pytest.mark.parametrize("which", ["whole", "encoder", "timm"])
def test_files(tmp_path: Path, which: str) -> None:
    trained = build(seed=1)
    if which == "timm":  # the whole classifier: blocks, final norm and head that are not wanted here
        state = timm.create_model("test_vit", num_classes=7).state_dict()
        expected = {f"encoder.{key}": value for key, value in state.items()}
    elif which == "encoder":
        state = trained.encoder.state_dict()
        expected = {f"encoder.{key}": value for key, value in state.items()}
    else:
        state = expected = trained.state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    found = build(weights=str(tmp_path / "weights.safetensors")).state_dict()
    common = expected.keys() & found.keys()
    assert {key for key in found if key.startswith("encoder.")} <= common
    assert all(torch.equal(found[key], expected[key]) for key in common)


def test_files_with_another_grid_of_positions(tmp_path: Path) -> None:
    """As the release's own file of a ViT that was trained at another size."""
    other = timm.create_model("test_vit", img_size=96)  # 6 × 6 patches instead of 10 × 10
    with torch.no_grad():
        other.pos_embed.copy_(torch.randn(1, 1, 64).expand_as(other.pos_embed))  # constant: so it stays
    torch.save({"model": other.state_dict()}, tmp_path / "other.pth")
    encoder = build(weights=str(tmp_path / "other.pth")).encoder
    assert encoder.pos_embed.shape[1] - other.pos_embed.shape[1] == 100 - 36
    torch.testing.assert_close(encoder.pos_embed[0], other.pos_embed[0, :1].expand(101, -1))
    assert torch.equal(encoder.blocks[5].attn.qkv.weight, other.blocks[5].attn.qkv.weight)


def test_the_releases_own_file_of_dinov2(tmp_path: Path) -> None:
    """Its names: mask_token, register_tokens; its positions begin with the class token's, which timm adds to it."""
    state = timm.create_model("vit_small_patch14_reg4_dinov2").state_dict()
    release = {
        key: value for key, value in state.items() if key not in ("reg_token", "cls_token", "pos_embed")
    }
    release |= {"mask_token": torch.zeros(1, 384), "register_tokens": state["reg_token"]}
    release["cls_token"] = torch.rand(1, 1, 384)
    release["pos_embed"] = torch.cat([torch.rand(1, 1, 384), state["pos_embed"]], 1)
    torch.save(release, tmp_path / "dinov2_vits14_reg4_pretrain.pth")
    encoder = build(
        "vit_small_patch14_reg4_dinov2", weights=str(tmp_path / "dinov2_vits14_reg4_pretrain.pth")
    ).encoder
    assert torch.equal(encoder.cls_token, release["cls_token"] + release["pos_embed"][:, :1])
    for name in ("reg_token", "pos_embed", "blocks.11.ls2.gamma", "patch_embed.proj.weight"):
        assert torch.equal(encoder.state_dict()[name], state[name])


def test_files_of_another_architecture(tmp_path: Path) -> None:
    save_file(timm.create_model("test_vit3").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"other\.safetensors does not fit"):
        build(weights=str(tmp_path / "other.safetensors"))


# --- saved --------------------------------------------------------------------------------------------------


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    build().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file(state | {"classifier.bias": torch.zeros(9)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"classifier\.bias \[9\] instead of \[4\]"):
        load_segmenter(tmp_path)
    del state["classifier.bias"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"missing: classifier\.bias"):
        load_segmenter(tmp_path)
    facts = json.loads((tmp_path / "stylebridge.json").read_text(encoding="utf-8"))
    (tmp_path / "stylebridge.json").write_text(json.dumps(facts | {"encoder": "vit_of_tomorrow"}))
    with pytest.raises(WeightsError, match="vit_of_tomorrow"):
        load_segmenter(tmp_path)


# --- training -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("name", ["fada", "self-training"])
def test_trains_with_a_method(name: str, frozen: bool, tmp_path: Path) -> None:
    segmenter = build(freeze_encoder=frozen).double()
    before = {key: value.clone() for key, value in segmenter.state_dict().items()}
    method = find_method(name).method(segmenter)
    streams = {
        "source": batches(2, (40, 24)),
        "target": batches(2, (40, 24), seed=1, labelled=False),
    }
    rates = {"kind": "adamw", "lr": 1e-3, "group_lr": {"head": 10.0}}
    optimizers = {"segmenter": OptimizerConfig(**rates)}
    if name == "fada":
        optimizers["discriminator"] = OptimizerConfig(lr=1e-4)
        method.networks["discriminator"].double()
    mini_trainer(method, streams, tmp_path, optimizers).fit()
    changed = {key for key, value in segmenter.state_dict().items() if not torch.equal(value, before[key])}
    assert {"classifier.weight", "decoder.refine.0.0.weight"} <= changed
    assert any(key.startswith("encoder.blocks") for key in changed) != frozen
    assert all(value.isfinite().all() for value in segmenter.state_dict().values())
