"""The names of the files of a run: those that ``--overwrite`` may remove.

A run grows during training, so its files are recognised by name. Folders that are written at once (networks, results of
stages, label maps, translated images) have their own marker with a list of files; in runs of earlier versions, without
markers, they are recognised by suffix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

#: The lock of a run, and the file that names its holder.
LOCK, HOLDER = ".stylebridge.lock", ".stylebridge.holder.json"
#: Names and sizes of a run's training files.
DATA_FILES = "data.json"

_STAGE = r"\d+-[a-z0-9-]+"
_SEGMENTER = r"segmenter/(README\.md|(config|preprocessor_config|stylebridge)\.json|model\.safetensors)"
_NAMES = re.compile(
    "|".join(
        (
            r"(recipe|run)\.yaml|(data|scores)\.json|(metrics|label_free)\.jsonl|report\.html",
            r"segmenter\.onnx",
            re.escape(LOCK),
            re.escape(HOLDER),
            rf"samples/({_STAGE}-)?\d{{6,}}\.png",
            rf"tensorboard/{_STAGE}/events\.out\.tfevents\.[^/]+",
            rf"trainer_state/[.a-z-]*{_STAGE}-\d{{8,}}/"
            r"(network|optimizer|process|state|files)[^/]*\.(safetensors|json)",
            rf"snapshots/{_STAGE}-\d{{6,}}\.safetensors",
            _SEGMENTER,
            r"networks/extractor\.safetensors",
            # Temporary names of atomic writes, also left by a killed process.
            r"(.*/)?\.(partial|replaced)-.*",
        )
    )
)
#: Folders that are written at once, and their contents.
_WHOLE = (
    (re.compile(r"networks"), re.compile(r"[^/]+\.safetensors|config\.json")),
    (
        re.compile(rf"stages/{_STAGE}"),
        re.compile(rf"{_SEGMENTER}|networks/[^/]+\.safetensors"),
    ),
    (re.compile(rf"pseudo_labels/{_STAGE}"), re.compile(r".+\.png")),
    (re.compile(r"translated"), re.compile(r".+\.png")),
)
#: The run of the recipe's translator, inside the run.
_TRANSLATOR = "translator"
_MARKER = ".stylebridge.json"


def run_files(folder: Path, there: set[str], listed: Callable[[Path], Sequence[str] | None]) -> set[str]:
    """The files in a run folder that the run wrote.

    Args:
        there: all contents, as paths below the folder.
        listed: the files in the marker of a folder that is written at once; None: no marker.
    """
    found = {name for name in there if _NAMES.fullmatch(name)}
    lists: dict[str, Sequence[str] | None] = {}
    for name in there - found:
        head = name.split("/")
        if head[0] == _TRANSLATOR and len(head) > 1:
            continue
        for depth in (1, 2):
            place, below = "/".join(head[:depth]), "/".join(head[depth:])
            pattern = next((inside for outside, inside in _WHOLE if outside.fullmatch(place)), None)
            if pattern is None or not below:
                continue
            if place not in lists:
                lists[place] = listed(folder / place)
            known = lists[place]
            if pattern.fullmatch(below) if known is None else below in known or below == _MARKER:
                found.add(name)
    inner = {name[len(_TRANSLATOR) + 1 :] for name in there if name.startswith(f"{_TRANSLATOR}/")}
    if inner:
        own = run_files(folder / _TRANSLATOR, inner, listed) | (inner & {_MARKER})
        found |= {f"{_TRANSLATOR}/{name}" for name in own}
    return found
