"""Names, files and processes that a command does not expect: one sentence and exit code 2, or it works."""

import json
import os
import pickle
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import get_worker_info

import stylebridge as package
from stylebridge.atomic import partial_path
from stylebridge.data import loader
from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import WorkerError
from stylebridge.jobs.apply.models import style_photos
from stylebridge.jobs.apply.models.style_photos import StylePhotos
from stylebridge.jobs.exchange.import_weights import flag, importers
from stylebridge.jobs.runs.outputs import MARKER
from support import corrupt, folders
from support.folders import CommandLine, World, tiny_overrides

own_cache, world, finished = folders.own_cache, folders.world, folders.finished
stylebridge = folders.stylebridge

TINY = [part for change in tiny_overrides("source-only-small") for part in ("--set", change)]


def train(world: World, out: object, *more: object) -> list[object]:
    """Arguments of a training of two steps."""
    given = ["--source", world.source, "--target", world.target, "--label-space", world.space, "--out", out]
    return ["adapt", "--recipe", "source-only-small", "--device", "cpu", *given, *TINY, *more]


def unwrapped(text: str) -> str:
    """What was printed, without the line breaks that a narrow terminal makes."""
    return re.sub(r"\s*\n\s*", "", text)


# --- markup --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["[red]a[bold]", "[/nope]", "[link=x]", ":smile:[@click=app.bell]"])
def test_signs_of_markup_in_paths_are_printed_as_they_are(
    stylebridge: CommandLine, world: World, finished: Path, tmp_path: Path, name: str
):
    top = tmp_path / name
    shutil.copytree(finished, top / "run")
    shutil.copytree(world.target, top / "photos")
    shutil.copytree(world.held_out, top / "held")
    done = stylebridge("segment", top / "run", top / "photos", "--out", top / "out", "--device", "cpu")
    assert (done.code, done.err.count("Traceback")) == (0, 0), done.err
    assert f"{name}/out" in unwrapped(done.out)
    done = stylebridge("evaluate", top / "run", "--data", top / "held", "--device", "cpu")
    assert "Traceback" not in done.err
    for arguments in (
        ["segment", top / "nowhere", top / "photos", "--out", top / "out"],
        ["data", "doctor", top / "nowhere"],
        ["recipes", "show", name],
        ["data", "pack", top / "nowhere", "--out", top / "packed"],
    ):
        stylebridge(*arguments).refused(name)


def test_signs_of_markup_in_class_names_and_the_run_folder(
    stylebridge: CommandLine, world: World, tmp_path: Path
):
    space = tmp_path / "[b]space.yaml"
    space.write_text(world.space.read_text().replace("ground", "'[/ground]'").replace("wall", "'[red]wall'"))
    mine = World(world.source, world.target, world.held_out, space)
    done = stylebridge(*train(mine, tmp_path / "[/run]", "--evaluate-on", world.held_out))
    assert done.code == 0, done.err
    for part in ("[/ground]", "[red]wall", "[/run]"):
        assert part in unwrapped(done.out), done.out


def test_consoles_are_opened_in_one_place():
    """Except for the doctor, which escapes every text itself."""
    top = Path(package.__file__).parent
    opening = {
        path.relative_to(top).as_posix()
        for path in top.rglob("*.py")
        if re.search(r"(?<![A-Za-z_])Console\(", path.read_text(encoding="utf-8"))
    }
    assert opening == {"terminal.py", "jobs/datasets/doctor.py"}


# --- names ---------------------------------------------------------------------------------------------------


def test_paths_that_are_not_utf_8_are_named(
    stylebridge: CommandLine, world: World, finished: Path, tmp_path: Path
):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    shutil.copytree(world.target, odd)
    stylebridge("segment", finished, odd, "--out", tmp_path / "out").refused("caf\\udce9", "is not UTF-8")
    stylebridge(*train(world, odd + "-run")).refused("caf\\udce9-run", "is not UTF-8")
    assert not Path(odd + "-run").exists()
    photo = next((world.target / "images").iterdir())
    (tmp_path / "photos").mkdir()
    shutil.copy(photo, os.fsdecode(os.fsencode(tmp_path) + b"/photos/caf\xe9.jpg"))
    stylebridge("segment", finished, tmp_path / "photos", "--out", tmp_path / "out").refused(
        "caf\\udce9.jpg has a name that is not UTF-8"
    )
    stylebridge("data", "doctor", tmp_path / "photos").refused("caf\\udce9.jpg")


@pytest.mark.parametrize("length", [251, 255])
def test_photos_with_the_longest_names_are_segmented(
    stylebridge: CommandLine, world: World, finished: Path, tmp_path: Path, length: int
):
    name = "ä" * 100 + "a" * (length - 204)
    (tmp_path / "photos").mkdir()
    shutil.copy(next((world.target / "images").iterdir()), tmp_path / "photos" / f"{name}.jpg")
    done = stylebridge(
        "segment", finished, tmp_path / "photos", "--out", tmp_path / "out", "--overlay", "--device", "cpu"
    )
    assert done.code == 0, done.err
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == [f"{name}.png"]
    assert [path.name for path in (tmp_path / "out").rglob(".*")] == [MARKER]  # no leftovers


def test_names_that_are_too_long_for_the_disk_are_named(
    stylebridge: CommandLine, world: World, finished: Path, tmp_path: Path
):
    long = tmp_path / ("x" * 300)
    for arguments in (
        train(world, long),
        ["segment", finished, world.target, "--out", long],
        ["evaluate", finished, "--data", world.held_out, "--out", long, "--device", "cpu"],
        ["recipes", "show", long],
        ["data", "doctor", long],
    ):
        done = stylebridge(*arguments)
        assert done.code == 2
        done.refused("xxx")
    for name in ("a.png", "x" * 251, "ä" * 120 + ".png", "x" * 251 + ".mp4"):
        beside = partial_path(tmp_path / name)
        assert len(beside.name.encode()) <= 255
        assert beside.suffix == Path(name).suffix


# --- processes and memory ------------------------------------------------------------------------------------


def test_a_killed_worker_is_a_sentence(
    stylebridge: CommandLine, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    collate = loader._collate

    def dying(*given):
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return collate(*given)

    monkeypatch.setattr(loader, "_collate", dying)
    stylebridge(*train(world, tmp_path / "run", "--workers", "1", "--quiet")).refused(
        "A data-loading process died", "--workers"
    )


def test_only_the_death_of_a_worker_is_renamed():
    with (
        pytest.raises(WorkerError, match=r"died \(\(pid\(s\) 7\) exited unexpectedly\)"),
        loader.named_worker_deaths(),
    ):
        raise RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")
    with pytest.raises(WorkerError, match="killed by signal: Killed"), loader.named_worker_deaths():
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    with pytest.raises(RuntimeError, match="CUDA"), loader.named_worker_deaths():
        raise RuntimeError("CUDA out of memory")


def test_a_large_style_photo_is_made_smaller_with_its_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    space = LabelSpace.generic(3)
    labels = np.zeros((300, 500), np.uint8)
    labels[:, 250:] = 1
    Image.fromarray(np.repeat(labels[..., None] * 200, 3, 2)).save(tmp_path / "a.png")
    Image.fromarray(labels).save(tmp_path / "a_labels.png")
    whole, _ = StylePhotos(space).read(tmp_path / "a.png")
    assert whole.shape == (300, 500, 3)
    monkeypatch.setattr(style_photos, "MAX_STYLE_PIXELS", 150 * 250)
    photo, maps = StylePhotos(space).read(tmp_path / "a.png")
    assert (photo.shape, maps.shape) == ((150, 250, 3), (150, 250))
    assert (maps[:, :120] == 0).all()
    assert (maps[:, 130:] == 1).all()
    assert (photo[:, :120] == 0).all()
    assert (photo[:, 130:] == 200).all()


# --- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", ["seed=" + "[" * 3000, "name=[&a [*a]]", "a." * 3000 + "b=1", "seed=" + "9" * 5000]
)
def test_deep_and_long_changes_of_a_recipe(
    stylebridge: CommandLine, world: World, tmp_path: Path, change: str
):
    done = stylebridge(*train(world, tmp_path / "run", "--set", change))
    done.refused("--set")
    assert len(done.err) < 2100
    assert not (tmp_path / "run").exists()


def test_files_that_are_nested_deeply(stylebridge: CommandLine, world: World, finished: Path, tmp_path: Path):
    shutil.copytree(finished, tmp_path / "run")
    facts = tmp_path / "run" / "segmenter" / "stylebridge.json"
    facts.write_text('{"extra":' + "[" * 100_000)
    arguments = [tmp_path / "run", world.target, "--out", tmp_path / "out", "--device", "cpu"]
    stylebridge("segment", *arguments).refused("stylebridge.json")
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{c}: &{c} [{', '.join([f'*{b}'] * 9)}]\n" for b, c in zip("abcdefgh", "bcdefghi", strict=True)
    )
    (tmp_path / "bomb.yaml").write_text(bomb)
    mine = World(world.source, world.target, world.held_out, tmp_path / "bomb.yaml")
    for given in (
        train(mine, tmp_path / "new"),
        ["recipes", "show", tmp_path / "bomb.yaml"],
        train(world, tmp_path / "new", "--class-map", tmp_path / "bomb.yaml"),
        ["data", "class-map", tmp_path / "bomb.yaml", "camvid-11"],
    ):
        done = stylebridge(*given)
        done.refused("bomb.yaml", "aliases")
        assert len(done.err) < 1000
    (tmp_path / "run" / "run.yaml").write_text(bomb)
    shutil.copy(finished / "segmenter" / "stylebridge.json", facts)
    stylebridge("evaluate", tmp_path / "run", "--data", world.held_out).refused("run.yaml")


# --- what held must keep holding ------------------------------------------------------------------------------


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("kind", importers())
def test_pickles_are_never_run(stylebridge: CommandLine, tmp_path: Path, kind: str):
    mark = tmp_path / "hacked"
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil(mark)))
    torch.save({"state_dict": Evil(mark)}, tmp_path / "zip.pth")
    torch.save(Evil(mark), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    wanted = [name for name, file in importers()[kind][1].files.items() if file.required]
    for name in ("plain.pth", "zip.pth", "old.pth"):
        given = [part for n in wanted for part in ([] if n == "file" else [flag(n)]) + [tmp_path / name]]
        stylebridge("import", kind, *given, "--out", tmp_path / "run").refused(name)
        assert not mark.exists()
        assert not (tmp_path / "run").exists()


def test_a_run_holds_nothing_that_is_unpickled(
    stylebridge: CommandLine, world: World, finished: Path, tmp_path: Path
):
    shutil.copytree(finished, tmp_path / "run")
    mark = tmp_path / "hacked"
    for path in (tmp_path / "run").rglob("*.safetensors"):
        path.write_bytes(pickle.dumps(Evil(mark)))
    arguments = [tmp_path / "run", world.target, "--out", tmp_path / "out", "--device", "cpu"]
    done = stylebridge("segment", *arguments)
    assert (done.code, "Traceback" in done.err, mark.exists()) == (2, False, False), done.err


@pytest.mark.slow
def test_names_are_text_in_the_pages(stylebridge: CommandLine, world: World, tmp_path: Path):
    name = '"><script>alert(1)</script><img src=x onerror=alert(2)>'.replace("/", "⁄")
    data = tmp_path / name
    shutil.copytree(world.source, data)
    photo = data / "images" / f"{name}.jpg"
    (data / "images" / "000.jpg").rename(photo)
    (data / "labels" / "000.png").rename(data / "labels" / f"{name}.png")
    photo.write_bytes(photo.read_bytes()[:500])
    space = tmp_path / "space.yaml"
    space.write_text(world.space.read_text().replace("ground", json.dumps(name)))
    page = tmp_path / "page.html"
    assert stylebridge("data", "doctor", data, "--label-space", space, "--out", page).code == 1
    shutil.copy(world.source / "images" / "000.jpg", photo)
    mine = World(data, world.target, world.held_out, space)
    done = stylebridge(*train(mine, tmp_path / "run", "--evaluate-on", world.held_out))
    assert done.code == 0, done.err
    for written in (page, tmp_path / "run" / "report.html"):
        text = written.read_text(encoding="utf-8")
        assert "<script>alert" not in text
        assert "<img src=x" not in text
    assert "&lt;script&gt;alert" in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_hostile_files_through_the_commands(
    stylebridge: CommandLine, world: World, finished: Path, tmp_path: Path
):
    """Files that are damaged, misleading or not images: each command succeeds or fails with one sentence."""
    ended = []
    for number, name, content in corrupt.corrupted(20, seed=7):
        place = tmp_path / f"{number}"
        (place / "images").mkdir(parents=True)
        (place / "labels").mkdir()
        source = place / name if name.endswith(".zip") else place
        for folder in ("images", "labels"):
            (place / folder / name).write_bytes(content)
        if name.endswith(".zip"):
            source.write_bytes(content)
            for folder in ("images", "labels"):
                shutil.rmtree(place / folder)
        for command in (
            ["segment", finished, source, "--out", tmp_path / f"out-{number}", "--device", "cpu", "--quiet"],
            [
                "data",
                "pack",
                source,
                "--label-space",
                world.space,
                "--out",
                tmp_path / f"p-{number}",
                "--quiet",
            ],
            ["evaluate", finished, "--data", source, "--device", "cpu", "--quiet"],
        ):
            done = stylebridge(*command)
            assert "Traceback" not in done.err, (number, name, done.err)
            assert done.code in (0, 2), (number, name, done.err)
            if done.code == 2:
                done.refused()
            ended.append(done.code)
    assert {0, 2} == set(ended)
