"""What commands may overwrite: the rule of stylebridge.jobs.runs.outputs, and the commands that broke it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

from stylebridge.errors import RunError, UserError
from stylebridge.jobs.apply.files.inputs import collect_inputs, places_of
from stylebridge.jobs.apply.labelled_set import write_translated_set
from stylebridge.jobs.apply.models.model import Model
from stylebridge.jobs.datasets.doctor import doctor
from stylebridge.jobs.datasets.pack import pack
from stylebridge.jobs.datasets.toy import draw_toy
from stylebridge.jobs.demo import demo
from stylebridge.jobs.evaluate.images import output_file
from stylebridge.jobs.runs import lock as run_lock
from stylebridge.jobs.runs import outputs
from stylebridge.jobs.runs.claimed_files import claimed_files, ensure_unclaimed, frames_of
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.jobs.train import adapt, train_translator


class Recipe:
    """The part of a recipe that a run folder needs."""

    def to_yaml(self) -> str:
        return "name: x\n"


FACTS = {"kind": "translate", "versions": {"stylebridge": "0.1.0"}}


def write(path: Path, text: str = "mine") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def photos(folder: Path, count: int = 3) -> Path:
    (folder / "images").mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", (64, 48), (i, 9, 9)).save(folder / "images" / f"{i}.png")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def begun(path: Path) -> RunFolder:
    run = RunFolder(path)
    run.begin(Recipe(), FACTS)
    run_lock.release(path)
    return run


# --- the commands of the attack ---------------------------------------------------------------------------------


def test_a_recipe_in_the_folder_does_not_make_it_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    photos(tmp_path / "day")
    photos(tmp_path / "dusk")
    recipe = write(tmp_path / "recipe.yaml", "name: source-only-small\n")
    write(tmp_path / "run.yaml", "kind: adapt\n")
    before = files(tmp_path)
    monkeypatch.chdir(tmp_path)
    for out in (".", "../" + tmp_path.name, "day/.."):
        with pytest.raises(RunError, match="contains the source day"):
            adapt("day", "dusk", out, "source-only-small", overwrite=True, device="cpu", quiet=True)
    with pytest.raises(RunError, match="not a stylebridge run"):
        adapt("day", "dusk", write(tmp_path / "x" / "recipe.yaml").parent, overwrite=True, device="cpu")
    assert recipe.is_file()
    assert {name: files(tmp_path).get(name) for name in before} == before


@pytest.mark.parametrize("out", ["a", "a/images/run", ".", "link", "link/run", "b/../a"])
def test_a_training_never_lies_in_its_data(out: str, tmp_path: Path):
    a, b = photos(tmp_path / "a"), photos(tmp_path / "b")
    (tmp_path / "link").symlink_to(a)
    before = files(tmp_path)
    with pytest.raises(RunError, match=r"--out .* (is|contains|lies in) the a "):
        train_translator(a, b, tmp_path / out, overwrite=True, device="cpu", quiet=True)
    assert files(tmp_path) == before


@pytest.mark.parametrize("out", [".", "up", "data", "data/images"])
def test_translated_sets_do_not_replace_what_holds_their_data(out: str, tmp_path: Path):
    data = photos(tmp_path / "data")
    (tmp_path / "up").symlink_to(".", target_is_directory=True)
    before = files(tmp_path)
    model = Model(tmp_path / "run", "translate", {})
    with pytest.raises(RunError, match="the data"):
        write_translated_set(model, tmp_path / out, data, overwrite=True, quiet=True)
    assert files(tmp_path) == before


def test_the_demo_keeps_data_of_its_name(tmp_path: Path):
    for name in ("sim", "camera", "camera-held-out"):
        write(tmp_path / "my-data" / name / "images" / "a.png")
    before = files(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(RunError, match="my-data/sim exists already"):
            demo(tmp_path / "my", overwrite=overwrite, device="cpu", quiet=True)
    assert files(tmp_path) == before


def test_a_run_is_not_replaced_by_what_reuses_it(tmp_path: Path):
    a, b = photos(tmp_path / "a"), photos(tmp_path / "b")
    run = begun(tmp_path / "x").path
    before = files(run)
    for reuse in (run, tmp_path / "a" / ".." / "x"):
        with pytest.raises(RunError, match="is the run of --reuse"):
            adapt(a, b, run, "source-only-small", reuse=reuse, overwrite=True, device="cpu", quiet=True)
    assert files(run) == before


def test_shards_and_corrected_copies_keep_other_files(tmp_path: Path):
    data = photos(tmp_path / "data")
    for name, make in {
        "shards": lambda out: pack(data, out, unlabelled=True, overwrite=True, quiet=True),
        "fixed": lambda out: doctor(
            [data], out=tmp_path / "p.html", fix=out, unlabelled=True, overwrite=True, quiet=True
        ),
        "toy": lambda out: draw_toy(out, "sim", 1, size=(32, 32), overwrite=True, quiet=True),
    }.items():
        out = tmp_path / name
        make(out)
        make(out)  # ours alone: replaced
        thesis = write(out / "deep" / "thesis.txt")
        (out / "linked").symlink_to(data)
        before = files(out)
        with pytest.raises(RunError, match=r"did not write \(deep/thesis.txt, linked\)"):
            make(out)
        assert files(out) == before
        assert thesis.read_text() == "mine"
        assert len(files(data)) == 3


@pytest.mark.parametrize("out", ["data", ".", "data/labels", "link"])
def test_segment_does_not_write_into_its_input(out: str, tmp_path: Path):
    data = photos(tmp_path / "data")
    (tmp_path / "link").symlink_to(data)
    with pytest.raises(RunError, match="the input"):
        outputs.ensure_apart(tmp_path / out, places_of([data], collect_inputs([data])))


def test_scores_do_not_replace_other_json(tmp_path: Path):
    data = photos(tmp_path / "data")
    notes = write(tmp_path / "notes.json", '{"years": "of work"}')
    with pytest.raises(RunError, match="has no scores"):
        output_file(notes, {"the data": data})
    with pytest.raises(RunError, match="lies in the data"):
        output_file(data / "scores.json", {"the data": data})
    assert output_file(write(tmp_path / "s.json", '{"confusion": []}'), {}) == tmp_path / "s.json"


# --- single files -----------------------------------------------------------------------------------------------


def test_files_are_written_over_only_where_they_are_ours(tmp_path: Path):
    out = tmp_path / "out"
    write(out / "a.png")
    mine, made = out / "a.png", out / "b.png"
    with pytest.raises(RunError, match="was not written by this command"):
        ensure_unclaimed(out, outputs.LABEL_MAPS, [made, mine], overwrite=True)
    ensure_unclaimed(out, outputs.LABEL_MAPS, [made], overwrite=True)
    again = [made, frames_of(out / "film")]
    with claimed_files(out, outputs.LABEL_MAPS) as wrote:
        write(made, "ours")
        write(out / "film" / "000000.png", "ours")
        for path in again:
            wrote(path)
    with pytest.raises(RunError, match=r"exists already.*--overwrite"):
        ensure_unclaimed(out, outputs.LABEL_MAPS, again, overwrite=False)
    ensure_unclaimed(out, outputs.LABEL_MAPS, again, overwrite=True)
    write(out / "film" / "notes.txt")
    with pytest.raises(RunError, match=r"notes\.txt exists already and was not written"):
        ensure_unclaimed(out, outputs.LABEL_MAPS, again, overwrite=True)
    with pytest.raises(RunError, match="not a folder of shards"):
        outputs.ensure_free(out, outputs.SHARDS, overwrite=True)


def test_files_behind_a_link_are_not_ours(tmp_path: Path):
    out, mine = tmp_path / "out", write(tmp_path / "mine" / "a.png")
    with claimed_files(out, outputs.LABEL_MAPS) as wrote:
        wrote(write(out / "sub" / "a.png"))
        wrote(write(out / "b.png"))
    (out / "sub" / "a.png").unlink()
    (out / "sub").rmdir()
    (out / "sub").symlink_to(mine.parent)
    (out / "b.png").unlink()
    (out / "b.png").symlink_to(mine)
    for path in (out / "sub" / "a.png", out / "b.png"):
        with pytest.raises(RunError, match="was not written"):
            ensure_unclaimed(out, outputs.LABEL_MAPS, [path], overwrite=True)


def test_a_job_that_fails_leaves_no_claim(tmp_path: Path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="broken"), claimed_files(out, "x"):
        raise ValueError("broken")
    assert not out.exists()


@pytest.mark.slow
def test_a_killed_job_claims_only_what_it_wrote(tmp_path: Path):
    out = tmp_path / "out"
    code = (
        "import os, sys; from pathlib import Path; from stylebridge.jobs.runs.claimed_files import claimed_files\n"
        "out = Path(sys.argv[1])\n"
        "with claimed_files(out, 'label maps') as wrote:\n"
        "    (out / 'a.png').write_text('ours'); wrote(out / 'a.png')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(out)], check=False).returncode == -signal.SIGKILL
    planned = [out / "a.png", out / "b.png"]
    ensure_unclaimed(out, outputs.LABEL_MAPS, planned, overwrite=True)
    write(out / "b.png", "mine")
    with pytest.raises(RunError, match=r"b\.png exists already and was not written"):
        ensure_unclaimed(out, outputs.LABEL_MAPS, planned, overwrite=True)
    with claimed_files(out, outputs.LABEL_MAPS):
        pass
    assert outputs.read_marker(out) == {outputs.LABEL_MAPS: ["a.png"]}
    assert {p.name for p in out.iterdir()} == {"a.png", "b.png", outputs.MARKER}


@pytest.mark.parametrize("name", [outputs.MARKER, outputs.WRITTEN])
def test_a_link_in_place_of_the_marker_is_not_written_through(name: str, tmp_path: Path):
    out, mine = tmp_path / "out", write(tmp_path / "mine.txt", "mine")
    out.mkdir()
    (out / name).symlink_to(mine)
    with pytest.raises(RunError, match="symbolic link that stylebridge did not make"):
        ensure_unclaimed(out, outputs.LABEL_MAPS, [out / "a.png"], overwrite=True)
    with pytest.raises(RunError, match="symbolic link"), claimed_files(out, outputs.LABEL_MAPS):
        pass
    assert mine.read_text() == "mine"


def test_folders_of_the_users_inside_a_run_stay(tmp_path: Path):
    run = begun(tmp_path / "run").path
    for name in ("translated/holiday.png", "networks/mine.safetensors", "pseudo_labels/1-x/a.png"):
        path = write(run / name)
        with pytest.raises(RunError, match=f"has files that stylebridge did not write .{name}"):
            outputs.ensure_free(run, outputs.RUN, overwrite=True)
        path.unlink()
    (run / "ideas").mkdir()
    begun(run)
    assert (run / "ideas").is_dir()


# --- runs -------------------------------------------------------------------------------------------------------


def test_a_run_that_is_replaced_loses_what_it_wrote_and_nothing_else(tmp_path: Path):
    run = begun(tmp_path / "run").path
    for name in (
        "samples/000010.png",
        "tensorboard/1-x/events.out.tfevents.1",
        "trainer_state/1-x-00000001/state.json",
    ):
        write(run / name, "ours")
    begun(run)
    assert set(files(run)) - {run_lock.LOCK} == {outputs.MARKER, "recipe.yaml", "run.yaml"}
    for name in (
        "notes.txt",
        "samples/mine.png",
        "predictions/a.png",
        "translator/data/a.png",
        "networks/README",
    ):
        mine = write(run / name)
        with pytest.raises(RunError, match=f"did not write .{name}"):
            outputs.ensure_free(run, outputs.RUN, overwrite=True)
        with pytest.raises(RunError, match="did not write"):
            begun(run)
        assert yaml.safe_load((run / "run.yaml").read_text())["kind"] == "translate"
        run_lock.release(run)
        mine.unlink()
        for folder in (mine.parent, mine.parent.parent):
            if folder != run and not any(folder.iterdir()):
                folder.rmdir()


def test_runs_of_earlier_versions_are_known_by_their_facts(tmp_path: Path):
    run = tmp_path / "run"
    write(run / "recipe.yaml", "name: x")
    write(run / "pseudo_labels" / "3-x" / "images" / "a.png", "ours")
    for text in ("kind: adapt\n", "- a\n", "kind: thesis\nversions: {}\n", "\x00"):
        write(run / "run.yaml", text)
        with pytest.raises(RunError, match="not a stylebridge run"):
            outputs.ensure_free(run, outputs.RUN, overwrite=True)
    write(run / "run.yaml", yaml.safe_dump(FACTS))
    outputs.ensure_free(run, outputs.RUN, overwrite=True)
    write(run / "notes.txt")
    with pytest.raises(RunError, match="did not write"):
        outputs.ensure_free(run, outputs.RUN, overwrite=True)


def test_a_marker_cannot_name_files_elsewhere(tmp_path: Path):
    mine = write(tmp_path / "mine.txt")
    write(tmp_path / "out" / outputs.MARKER, '{"wrote": {"shards": ["../mine.txt", "/etc/hosts", "images"]}}')
    (tmp_path / "out" / "images").mkdir()
    write(tmp_path / "out" / "images" / "a.png")
    with pytest.raises(UserError):
        outputs.ensure_free(tmp_path / "out", outputs.SHARDS, overwrite=True)
    outputs.remove_ours(tmp_path / "out", outputs.SHARDS)
    assert mine.is_file()
    assert (tmp_path / "out" / "images" / "a.png").is_file()


# --- the lock ---------------------------------------------------------------------------------------------------

HOLD = "import sys,time; from pathlib import Path; from stylebridge.jobs.runs import lock as run_lock; "
HOLD += "run_lock.hold(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"


@pytest.mark.slow
def test_a_second_process_learns_who_holds_a_run(tmp_path: Path):
    run = begun(tmp_path / "run").path
    a, b = photos(tmp_path / "a"), photos(tmp_path / "b")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for how in ({"resume": True}, {"overwrite": True, "a": a, "b": b}):
            with pytest.raises(RunError, match=rf"is in use by process {holder.pid} on .* \(since 20.*: "):
                train_translator(out=run, device="cpu", quiet=True, **how)
        assert (run / "run.yaml").is_file()
    finally:
        holder.kill()
        holder.wait()
    run_lock.hold(run)  # the lock of a dead process does not block
    assert f'"pid": {os.getpid()}' in (run / run_lock.HOLDER).read_text()
    run_lock.hold(run)
    run_lock.release(run)
    assert not (run / run_lock.HOLDER).exists()


@pytest.mark.slow
def test_the_loaders_of_a_killed_process_do_not_hold_its_run_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = begun(tmp_path / "run").path
    fork = HOLD.replace("time.sleep(60)", "(time.sleep(2) if os.fork() == 0 else time.sleep(60))")
    script = fork.replace("import sys,time;", "import os,sys,time;")
    holder = subprocess.Popen([sys.executable, "-c", script, str(run)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    holder.stdout.readline()
    time.sleep(0.3)
    holder.kill()
    holder.wait()
    run_lock.hold(run)
    run_lock.release(run)
