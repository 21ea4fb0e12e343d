"""Load transformers models from the Hugging Face hub, its cache, or a folder. Only safetensors files are read, and no
code of a repository is run."""

import importlib.util
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import constants as hub_constants
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from stylebridge.errors import RecipeError, WeightsError
from stylebridge.networks import pretrained
from stylebridge.networks.pretrained import MEND, Normalisation
from stylebridge.networks.segmenters.config import HF_ENCODER, HF_PREFIX, SegmenterConfig, unknown

log = logging.getLogger(__name__)

#: Configuration entries that a segmenter sets itself, or that define the model.
RESERVED_OPTIONS = {
    *("num_labels", "id2label", "label2id", "use_auxiliary_head", "architectures", "model_type", "dtype"),
    *("transformers_version", "_name_or_path", "problem_type", "return_dict", "output_hidden_states"),
}
PROCESSOR = "preprocessor_config.json"


class Source(NamedTuple):
    """The location of a model: a folder, or a hub repository at a revision."""

    place: str
    revision: str | None
    local: bool

    @classmethod
    def parse(cls, arch: str) -> "Source":
        """``hf:FOLDER``, ``hf:ORG/NAME`` or ``hf:ORG/NAME@REVISION``; raises RecipeError for anything else."""
        place = arch.removeprefix(HF_PREFIX)
        if place and Path(place).is_dir():
            if not (Path(place) / "config.json").is_file():
                raise RecipeError(
                    f"segmenter.arch: the folder {place} has no config.json; give a transformers model's."
                )
            return cls(place, None, local=True)
        name, _, revision = place.partition("@")
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", name):
            raise RecipeError(
                f"segmenter.arch: {place!r} is neither a folder nor a name on the Hugging Face hub; write "
                "hf:ORG/NAME, hf:ORG/NAME@REVISION or hf:FOLDER."
            )
        return cls(name, revision or None, local=False)

    @property
    def keywords(self) -> dict[str, Any]:
        """Keyword arguments of every ``from_pretrained``."""
        return {
            "revision": self.revision or "main",
            "trust_remote_code": False,
            "local_files_only": self.local,
        }


def find_source(config: SegmenterConfig) -> Source:
    """The location of the model of ``config.arch``, without reading it.

    Raises:
        RecipeError: transformers is not installed, ``arch`` is not a model, or an encoder is given.
    """
    require_transformers()
    if config.encoder != HF_ENCODER:
        raise RecipeError(
            f"segmenter.encoder: {HF_PREFIX} models have their own encoder, not {config.encoder!r}; omit the key."
        )
    return Source.parse(config.arch)


@contextmanager
def reading(source: Source) -> Iterator[None]:
    """Inside, transformers is quiet, and uses the hub only for missing local files, if the hub answers."""
    with quietly(), nullcontext() if source.local else pretrained.hub_or_cache():
        yield


def starting_model(source: Source, config: SegmenterConfig, num_classes: int) -> tuple[Any, Normalisation]:
    """A transformers model of K classes with its initial weights, and the image normalisation.

    Raises:
        RecipeError: the model does not exist, its kind is not supported, or an option is wrong.
        WeightsError: configuration or weights are not available or do not fit.
    """
    settings = _read_settings(source)
    _check_kind(settings, source)
    _change(settings, config.options)
    settings.num_labels = num_classes
    if hasattr(settings, "use_auxiliary_head"):
        settings.use_auxiliary_head = False  # our methods do not use its loss
    normalisation = _read_normalisation(source)
    if config.weights is None:
        model = _from_settings(settings)
    elif config.weights == "imagenet":
        model = _from_source(source, settings)
    else:
        model = _from_file(settings, Path(config.weights))
    return model, normalisation


def saved_model(folder: Path) -> Any:
    """The model of a saved segmenter, offline. Raises :class:`WeightsError` if files are missing or damaged."""
    try:
        require_transformers()
    except RecipeError as error:
        raise WeightsError(f"{folder} contains a transformers model: {error}") from error
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} has no config.json; save the segmenter again.")
    if not _has_weights(folder):
        raise WeightsError(f"{folder} has no model.safetensors; save the segmenter again.")
    from transformers import AutoModelForSemanticSegmentation

    try:
        with quietly():
            model, found = AutoModelForSemanticSegmentation.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:
        raise WeightsError(
            f"The segmenter in {folder} cannot be loaded ({_reason(error)}); save it again."
        ) from error
    absent = _fresh(found)
    if absent:
        raise WeightsError(
            f"The segmenter in {folder} lacks {_listed(absent)}, or has other shapes; save it again."
        )
    return model


def require_transformers() -> None:
    """Raises RecipeError if transformers is not installed."""
    if importlib.util.find_spec("transformers") is None:
        raise RecipeError(
            f"Segmenters that begin with {HF_PREFIX} need the package transformers; install it with "
            "pip install 'stylebridge[transformers]'."
        )


@contextmanager
def quietly() -> Iterator[None]:
    """Inside, transformers prints no progress bars and advice, and requests no conversion of files."""
    from transformers.utils import logging as theirs

    verbosity, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    before = os.environ.get("DISABLE_SAFETENSORS_CONVERSION")
    theirs.set_verbosity(logging.CRITICAL)
    theirs.disable_progress_bar()
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    try:
        yield
    finally:
        theirs.set_verbosity(verbosity)
        if bars:
            theirs.enable_progress_bar()
        if before is None:
            del os.environ["DISABLE_SAFETENSORS_CONVERSION"]
        else:
            os.environ["DISABLE_SAFETENSORS_CONVERSION"] = before


def _read_settings(source: Source) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source.place, **source.keywords)
    except Exception as error:  # from the hub client, its HTTP client, or transformers
        if source.local:
            raise WeightsError(
                f"{Path(source.place) / 'config.json'} cannot be read ({_reason(error)}); give a transformers "
                "model's folder."
            ) from error
        if hub_constants.HF_HUB_OFFLINE:
            raise WeightsError(
                f"The configuration of {source.place} is neither in the Hugging Face cache nor downloadable; "
                f"download the model and give its folder (segmenter.arch: {HF_PREFIX}FOLDER)."
            ) from error
        raise WeightsError(
            f"segmenter.arch: {source.place} cannot be read from the Hugging Face hub ({_reason(error)}); check the "
            "name, or give a downloaded folder."
        ) from error


def _check_kind(settings: Any, source: Source) -> None:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES as SEMANTIC,
    )
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES as UNIVERSAL,
    )

    kind = settings.model_type
    if kind in UNIVERSAL:
        raise RecipeError(
            f"segmenter.arch: {source.place} ({kind}) classifies masks, not pixels, which the methods here cannot "
            "train; choose a model like SegFormer, UperNet, DPT or BEiT."
        )
    if kind not in SEMANTIC:
        raise RecipeError(
            f"segmenter.arch: {source.place} is a {kind} model, and transformers has no segmenter of that kind; choose "
            f"one of {', '.join(sorted(SEMANTIC))}."
        )


def _change(settings: Any, options: Mapping[str, Any]) -> None:
    known = sorted(set(settings.to_dict()) - RESERVED_OPTIONS)
    for name, value in options.items():
        if name not in known:
            raise RecipeError(unknown("segmenter.options", name, known))
        try:
            setattr(settings, name, value)
        except Exception as error:  # transformers has its own type checks
            raise RecipeError(
                f"segmenter.options.{name} is {value!r}: {_reason(error)}; change it."
            ) from error


def _from_settings(settings: Any) -> Any:
    from transformers import AutoModelForSemanticSegmentation

    try:
        return AutoModelForSemanticSegmentation.from_config(
            settings, dtype=torch.float32, trust_remote_code=False
        )
    except Exception as error:  # errors depend on the model
        raise RecipeError(
            f"segmenter.options: {settings.model_type} models cannot use these ({_reason(error)}); change them."
        ) from error


def _from_source(source: Source, settings: Any) -> Any:
    if source.local and not _has_weights(Path(source.place)):
        raise WeightsError(f"{source.place} has no model.safetensors, but only safetensors are read; {MEND}.")
    try:
        model, found = _model_class(settings).from_pretrained(
            source.place, **_loading(settings), **source.keywords
        )
    except Exception as error:  # from the hub client, its HTTP client, or transformers
        if not source.local and hub_constants.HF_HUB_OFFLINE:
            raise WeightsError(
                f"The weights of {source.place} are neither in the Hugging Face cache nor downloadable; {MEND}."
            ) from error
        raise WeightsError(
            f"The weights of {source.place} cannot be loaded ({_reason(error)}); only safetensors are read: choose a "
            f"revision that has them ({HF_PREFIX}ORG/NAME@REVISION), {MEND}."
        ) from error
    return _checked(model, found, source.place, whole_encoder=False)


def _from_file(settings: Any, path: Path) -> Any:
    state = pretrained.strip_prefix(pretrained.read_weights(path))
    # Our checkpoints prefix the model's keys with "model."; transformers converts keys of older releases.
    ours = {key.removeprefix("model."): value for key, value in state.items()}
    state = ours if all(key.startswith("model.") for key in state) else state
    try:
        model, found = _model_class(settings).from_pretrained(None, state_dict=state, **_loading(settings))
    except Exception as error:
        raise WeightsError(f"{path} does not fit the segmenter ({_reason(error)}); {MEND}.") from error
    return _checked(model, found, str(path), whole_encoder=True)


def _loading(settings: Any) -> dict[str, Any]:
    return {
        "config": settings,
        "dtype": torch.float32,
        "use_safetensors": True,
        "ignore_mismatched_sizes": True,
        "output_loading_info": True,
    }


def _model_class(settings: Any) -> Any:
    from transformers import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING

    return MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING[type(settings)]


def _checked(model: Any, found: Mapping[str, Any], name: str, whole_encoder: bool) -> Any:
    """Check that the encoder's weights were loaded; log the tensors that start random."""
    fresh = _fresh(found)
    head = tuple(f"{child}." for child, _ in model.named_children() if "head" in child or child == "neck")
    encoder = {key for key in model.state_dict() if not key.startswith(head)}
    lacking = sorted(encoder & set(fresh))
    if lacking and (whole_encoder or len(lacking) == len(encoder)):
        raise WeightsError(
            f"{name} does not fit the segmenter (missing, or with another shape: {_listed(lacking)}); give weights of "
            "this architecture."
        )
    if fresh:
        log.warning("%s: %d tensors start random: %s", name, len(fresh), _listed(fresh))
    return model.train()


def _fresh(found: Mapping[str, Any]) -> list[str]:
    mismatched = [key if isinstance(key, str) else key[0] for key in found.get("mismatched_keys", ())]
    return sorted({*found.get("missing_keys", ()), *mismatched})


def _read_normalisation(source: Source) -> Normalisation:
    """The normalisation of the model's image processor for images in [0, 1]; without one, ImageNet's."""
    if source.local:
        if not (Path(source.place) / PROCESSOR).is_file():
            return Normalisation()
    elif not _hub_has_processor(source):
        return Normalisation()
    from transformers import AutoImageProcessor

    try:
        processor: Any = AutoImageProcessor.from_pretrained(source.place, **source.keywords)
    except Exception as error:
        raise WeightsError(
            f"{PROCESSOR} of {source.place} cannot be read ({_reason(error)}); give a model with a valid one."
        ) from error
    bgr = bool(getattr(processor, "do_flip_channel_order", False))
    if not getattr(processor, "do_normalize", False):
        return Normalisation((0.0,) * 3, (1.0,) * 3, bgr)
    return Normalisation(tuple(processor.image_mean), tuple(processor.image_std), bgr)


def _hub_has_processor(source: Source) -> bool:
    try:
        hf_hub_download(source.place, PROCESSOR, revision=source.revision)
        return True
    except LocalEntryNotFoundError as error:
        known = try_to_load_from_cache(source.place, PROCESSOR, revision=source.revision)
        if known is not None and not isinstance(known, str):  # the cache records that there is none
            return False
        raise WeightsError(
            f"{PROCESSOR} of {source.place} is neither in the Hugging Face cache nor downloadable; download the model "
            f"and give its folder (segmenter.arch: {HF_PREFIX}FOLDER)."
        ) from error
    except EntryNotFoundError:
        return False
    except Exception as error:
        raise WeightsError(
            f"{PROCESSOR} of {source.place} cannot be downloaded ({_reason(error)}); try again, or give a downloaded "
            "folder."
        ) from error


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json"))


def _listed(keys: list[str], shown: int = 4) -> str:
    return ", ".join(keys[:shown]) + (f" and {len(keys) - shown} more" if len(keys) > shown else "")


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(".")
