"""The model card of a saved segmenter: ``README.md``, generated for this model.

It claims no licence: the use of the weights depends on the data and on the pretrained encoder, whose terms
the package does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stylebridge.atomic import write_text
from stylebridge.data.text_files import read_json
from stylebridge.metrics.segmentation import SegmentationScores
from stylebridge.networks.segmenters.config import DEEPLAB_V2, HF_PREFIX, VIT_LIGHT
from stylebridge.version import __version__

CARD = "README.md"
_FACTS = "stylebridge.json"


@dataclass(frozen=True)
class Training:
    """The training of a segmenter, as far as known.

    Attributes:
        source, target: the domains' titles.
        recipe: the recipe's name.
        seed: the run's seed.
        scored_on: the data of the scores; None: no scores.
        before, after: the scores of the segmenter trained only on the source, and of this one.
    """

    source: str
    target: str
    recipe: str
    seed: int
    scored_on: str | None = None
    before: SegmentationScores | None = None
    after: SegmentationScores | None = None


def write_model_card(
    folder: Path, training: Training | None = None, mend: str = "choose another folder"
) -> None:
    """Write the card of a segmenter's folder atomically.

    Raises:
        WriteError: it cannot be written; ``mend`` ends the message.
    """
    write_text(folder / CARD, model_card(read_json(folder / _FACTS), training), mend=mend)


def model_card(facts: Mapping[str, Any], training: Training | None = None) -> str:
    """The text of the card.

    Args:
        facts: the contents of ``stylebridge.json``.
    """
    parts = [_front(facts), _what(facts, training)]
    parts += [_scores(training)] if training is not None else []
    parts += [_classes(facts), _use(facts), _LICENCE]
    return "\n\n".join(part for part in parts if part) + "\n"


_LICENCE = """## Licence

The licences of the training data are unknown to this package. No licence is claimed for these weights:
whether and how you may pass them on depends on those data and on the pretrained encoder."""


def _front(facts: Mapping[str, Any]) -> str:
    """The metadata for model hubs; without a licence, because it is unknown."""
    own = facts["arch"] in (DEEPLAB_V2, VIT_LIGHT)
    library = "stylebridge" if own else "transformers" if _is_transformers(facts) else _SMP.replace("_", "-")
    tags = "\n".join(f"- {tag}" for tag in ("semantic-segmentation", "domain-adaptation", "stylebridge"))
    return f"---\nlibrary_name: {library}\npipeline_tag: image-segmentation\ntags:\n{tags}\n---"


_SMP = "segmentation_models_pytorch"


def _is_transformers(facts: Mapping[str, Any]) -> bool:
    return str(facts["arch"]).startswith(HF_PREFIX)


def _what(facts: Mapping[str, Any], training: Training | None) -> str:
    text = f"# {facts['arch']} on {facts['encoder']}, {facts['num_classes']} classes\n\nA semantic segmentation model"
    if training is not None:
        text = (
            f"# {_plain(training.source)} → {_plain(training.target)}: {facts['arch']} on {facts['encoder']}\n\n"
            f"A semantic segmentation model, trained with labels of *{_plain(training.source)}* (source) for images of "
            f"*{_plain(training.target)}* (target), by the recipe `{training.recipe}`"
        )
    return f"{text}. Written by stylebridge {__version__}."


def _scores(training: Training) -> str:
    after, before = training.after, training.before
    if after is None:
        return "## Scores\n\nNone: there were no labels to score against."
    columns = ["class", *(["source only"] if before else []), "this model"]
    rows = [[_plain(name)] + ([_percent(before.iou[i])] if before else []) + [_percent(after.iou[i])]
            for i, name in enumerate(after.classes)]  # fmt: skip
    rows.append(
        ["**mean**"] + ([_percent(before.miou_present)] if before else []) + [_percent(after.miou_present)]
    )
    lines = [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)]
    return (
        f"## Scores\n\nIntersection over union in per cent on {_plain(training.scored_on or 'the target')}: "
        f"{after.pixels:,} labelled pixels, protocol: {after.protocol}.\nOne seed ({training.seed}): the spread over "
        f"seeds is not known.\n\n" + "\n".join(lines)
    )


def _classes(facts: Mapping[str, Any]) -> str:
    space = _mapping(_mapping(facts.get("extra")).get("label_space"))
    names = space.get("classes")
    if not isinstance(names, list | tuple):
        return ""
    listed = "\n".join(f"{index}. {_plain(name)}" for index, name in enumerate(names))
    return f"## Classes\n\nThe number of a logit's channel and of a pixel in label maps (255: no class).\n\n{listed}"


def _use(facts: Mapping[str, Any]) -> str:
    return (
        "## Use\n\nFOLDER is this folder.\n\n```\nstylebridge segment FOLDER PHOTOS --out masks/\n```\n\n```python\n"
        "from stylebridge.networks.segmenters.build import load_segmenter\n\n"
        f"segmenter = load_segmenter(FOLDER)  # takes RGB images [B, 3, H, W] in [0, 1]\n```{_without_us(facts)}"
    )


def _without_us(facts: Mapping[str, Any]) -> str:
    """How to load the network with another library, without stylebridge."""
    if facts["arch"] in (DEEPLAB_V2, VIT_LIGHT):
        return ""
    library, code = _SMP, f"import {_SMP} as smp\n\nmodel = smp.from_pretrained(FOLDER).eval()"
    if _is_transformers(facts):
        auto = "AutoModelForSemanticSegmentation"
        library = "transformers"
        code = f"from transformers import {auto}\n\nmodel = {auto}.from_pretrained(FOLDER).eval()"
    mean, std = (", ".join(f"{value:g}" for value in facts[key]) for key in ("mean", "std"))
    size = facts.get("resize_to")
    fit = f"resize it to {size[0]}×{size[1]}" if size else f"pad it to multiples of {facts['multiple_of']}"
    return (
        f"\n\nWith {library} alone:\n\n```python\n{code}\n```\n\nTake an image in [0, 1], channels "
        f"{facts['channels']}, minus ({mean}), over ({std}); then {fit}. `{_FACTS}` says all of it."
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _plain(text: Any) -> str:
    """A name, escaped for Markdown and HTML."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in " ".join(str(text).split()))
