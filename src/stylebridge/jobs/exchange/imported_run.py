"""The run folder of an import: networks or a segmenter, its recipe, its facts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from stylebridge.engine import checkpoint as ckpt
from stylebridge.interop.importer import Imported
from stylebridge.jobs.recipe.reading import load_recipe
from stylebridge.jobs.runs.networks_folder import save_parts
from stylebridge.jobs.runs.outputs import RUN, replaced_folder
from stylebridge.version import __version__

#: The data keys of each task's runs, which are unknown for imported ones.
_DATA = {"adapt": ("source", "target"), "translate": ("a", "b")}


def write_imported(task: str, imported: Imported, files: Mapping[str, Path], folder: Path) -> None:
    """Write the run folder atomically.

    Args:
        files: the files read, by the importer's option names; ``run.yaml`` has their names and hashes.

    Raises:
        UserError: the folder exists already, the write fails, or the recipe does not fit.
    """
    changes = [f"{key}={json.dumps(value)}" for key, value in imported.changes.items()]
    recipe = None if imported.recipe is None else load_recipe(imported.recipe, changes, task)
    facts: dict[str, Any] = {"kind": task, "recipe": imported.recipe}
    facts |= dict.fromkeys(_DATA.get(task, ("data",)))
    if imported.space is not None:
        facts["label_space"] = imported.space.as_dict()
    origins = {name: _origin(path) for name, path in files.items()}
    facts["imported"] = {**origins.pop("file", {}), **imported.facts, **origins}
    facts["versions"] = {"stylebridge": __version__, "torch": str(torch.__version__)}
    with replaced_folder(folder, RUN) as beside:
        if imported.segmenter is not None:
            assert imported.space is not None
            assert recipe is not None
            inference = recipe.inference.model_dump(mode="json")
            extra = {"label_space": imported.space.as_dict(), "inference": inference}
            imported.segmenter.save_pretrained(beside / "segmenter", extra=extra)
        if imported.settings is not None:
            save_parts(imported.networks, imported.settings, beside, "the networks")
        elif imported.networks:
            (beside / "networks").mkdir()
            for name, network in imported.networks.items():
                ckpt.save_tensors(network.state_dict(), beside / "networks" / f"{name}.safetensors")
        if recipe is not None:
            (beside / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        text = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)
        (beside / "run.yaml").write_text(text, encoding="utf-8")


def _origin(path: Path) -> dict[str, Any]:
    """A released file's name and hash."""
    with path.open("rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
