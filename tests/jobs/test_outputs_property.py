"""Random trees of inputs and outputs: no file that is not ours ever disappears or changes."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from stylebridge.errors import UserError
from stylebridge.jobs.datasets.doctor import doctor
from stylebridge.jobs.datasets.pack import pack
from stylebridge.jobs.datasets.toy import draw_toy
from stylebridge.jobs.runs import outputs
from stylebridge.jobs.runs.claimed_files import claimed_files, ensure_unclaimed

pytestmark = pytest.mark.slow

KINDS = [outputs.RUN, outputs.SHARDS, outputs.TOY, outputs.TRANSLATED]
#: Among them: the names that our own commands write.
NAMES = st.sampled_from(
    [
        "a.png",
        "run.yaml",
        "recipe.yaml",
        "index.json",
        "000000.tar",
        "report.html",
        "metrics.jsonl",
        "notes.txt",
    ]
)
FOLDERS = st.sampled_from(
    ["", "images", "labels", "samples", "networks", "translator", "stages/1-x", "Images"]
)
#: Places, some of which are one place written in several ways.
PLACES = st.sampled_from(
    [
        "out",
        "data",
        "data/images",
        "other",
        ".",
        "out/deep",
        "data/../out",
        "link-to-data",
        "link-to-out",
        "up/out",
    ]
)
FILES = st.lists(st.tuples(PLACES, FOLDERS, NAMES), max_size=8)
OURS = st.lists(st.tuples(st.sampled_from(["out", "other", "data"]), st.sampled_from(KINDS)), max_size=2)


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, 3, 4)).save(path)


def build(top: Path, ours: list, files: list) -> None:
    """Data, folders that we wrote, links between them, and files of the user's anywhere."""
    for number in range(3):
        picture(top / "data" / "images" / f"{number}.png", number)
    (top / "out").mkdir()
    for place, kind in ours:
        if place != "data":
            with contextlib.suppress(UserError), outputs.replaced_folder(top / place, kind) as folder:
                (folder / "images").mkdir()
                (folder / "images" / "made.png").write_text("made")
                (folder / ("run.yaml" if kind == outputs.RUN else "index.json")).write_text("kind: adapt")
    (top / "link-to-data").symlink_to(top / "data")
    (top / "link-to-out").symlink_to("out", target_is_directory=True)
    (top / "up").symlink_to(".", target_is_directory=True)
    for number, (place, folder, name) in enumerate(files):
        path = top / place / folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if not os.path.lexists(path):
            path.write_text(f"mine {number}")


def state(top: Path) -> dict[str, bytes]:
    """Every file by its real place, except ours (those with our mark)."""
    found = {}
    for place, _, names in os.walk(top):
        for name in names:
            path = Path(place, name)
            found[str(path.relative_to(top))] = path.read_bytes() if path.is_file() else b""
    return found


def users(before: dict[str, bytes]) -> dict[str, bytes]:
    return {
        name: content
        for name, content in before.items()
        if content.startswith(b"mine") or (name.startswith("data/images/") and name.endswith(".png"))
    }


def attempt(command: str, top: Path, out: Path) -> None:
    if command == "pack":
        pack(top / "data", out, unlabelled=True, overwrite=True, quiet=True)
    elif command == "fix":
        doctor([top / "data"], out=top / "page.html", fix=out, unlabelled=True, overwrite=True, quiet=True)
    elif command == "toy":
        draw_toy(out, "sim", 1, size=(32, 32), overwrite=True, quiet=True)
    elif command == "files":
        written = [out / "a.png", out / "images" / "made.png", out / "0.png"]
        outputs.ensure_apart(out, {"the input": top / "data"})
        ensure_unclaimed(out, outputs.LABEL_MAPS, written, overwrite=True)
        with claimed_files(out, outputs.LABEL_MAPS) as wrote:
            for path in written:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("made")
                wrote(path)
    else:
        outputs.ensure_apart(out, {"the input": top / "data"})
        outputs.ensure_free(out, command, overwrite=True)
        with outputs.replaced_folder(out, command) as beside:
            (beside / "new").write_text("made")


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(
    ours=OURS,
    files=FILES,
    where=PLACES,
    command=st.sampled_from(["pack", "fix", "toy", "files", *KINDS]),
    twice=st.booleans(),
)
def test_no_file_of_the_users_disappears_or_changes(
    ours: list, files: list, where: str, command: str, twice: bool
) -> None:
    top = Path(tempfile.mkdtemp()).resolve()
    try:
        build(top, ours, files)
        before = users(state(top))
        for _ in range(1 + twice):
            with contextlib.suppress(UserError):
                attempt(command, top, top / where)
            after = state(top)
            assert {name: after.get(name) for name in before} == before
            assert not [name for name in after if "/.replaced-" in f"/{name}" or "/.partial-" in f"/{name}"]
    finally:
        shutil.rmtree(top)
