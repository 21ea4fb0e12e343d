"""Atomic files and folders with the user's permissions, and messages about failed writes."""

import errno
import os
import pickle
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stylebridge import atomic
from stylebridge.engine import checkpoint as ckpt
from stylebridge.errors import CheckpointError, DataError, RunError, StylebridgeError, WriteError


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def fail(_: object, error: Exception | None = None) -> None:
    raise error or ZeroDivisionError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_files_have_the_permissions_of_the_users_umask_whichever_library_wrote_them(tmp_path, umask):
    with atomic.written_file(tmp_path / "deep" / "weights.safetensors") as beside:
        save_file({"a": torch.zeros(1)}, beside)
    with atomic.written_folder(tmp_path / "model") as beside:
        save_file({"a": torch.zeros(1)}, beside / "weights.safetensors")
        (beside / "inner").mkdir()
        (beside / "inner" / "secret").touch(0o600)
    writer = ckpt.CheckpointWriter(tmp_path / "state", "1-x", 3)
    writer.open()
    ckpt.save_tensors({"a": torch.zeros(1)}, writer.partial / "network.x.safetensors")
    writer.commit(2)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 5
    assert {oct(mode(path)) for path in files} == {oct(0o666 & ~umask)}
    assert {oct(mode(path)) for path in tmp_path.rglob("*") if path.is_dir()} == {oct(0o777 & ~umask)}


def test_files_that_have_another_name_elsewhere_keep_their_permissions(tmp_path):
    (tmp_path / "theirs").touch(0o600)
    with atomic.written_folder(tmp_path / "ours") as beside:
        os.link(tmp_path / "theirs", beside / "hard")
        (beside / "soft").symlink_to(tmp_path / "theirs")
    assert mode(tmp_path / "theirs") == 0o600


def test_an_error_inside_leaves_everything_as_it_was(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()
    before = names(tmp_path)
    with pytest.raises(ZeroDivisionError), atomic.written_file(tmp_path / "file") as beside:
        fail(beside.write_text("half"))
    with pytest.raises(ZeroDivisionError), atomic.written_folder(tmp_path / "folder") as beside:
        fail((beside / "half").touch())
    assert names(tmp_path) == before
    assert (tmp_path / "file").read_text() == "old"


def test_a_folder_takes_the_place_of_the_old_one_and_nothing_is_left_beside(tmp_path):
    for content in ("old", "new"):
        with atomic.written_folder(tmp_path / "folder") as beside:
            (beside / content).touch()
    assert names(tmp_path) == {"folder", "folder/new"}


def test_what_a_killed_process_left_is_cleared_and_an_old_folder_put_back(tmp_path):
    (tmp_path / ".partial-folder").mkdir()
    (tmp_path / ".partial-folder" / "half").touch()
    (tmp_path / ".replaced-folder").mkdir()
    (tmp_path / ".replaced-folder" / "old").touch()
    atomic.clear_leftovers(tmp_path / "folder")
    assert names(tmp_path) == {"folder", "folder/old"}
    with atomic.written_folder(tmp_path / "folder") as beside:
        (beside / "new").touch()
    assert names(tmp_path) == {"folder", "folder/new"}


def test_links_stay_and_what_they_point_to_is_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "run").mkdir()
    (tmp_path / "disk" / "run" / "old").touch()
    (tmp_path / "disk" / "file").write_text("old")
    (tmp_path / "run").symlink_to("disk/run")
    (tmp_path / "file").symlink_to("disk/file")
    with atomic.written_folder(tmp_path / "run") as beside:
        (beside / "new").touch()
    atomic.write_text(tmp_path / "file", "new")
    assert (tmp_path / "run").is_symlink()
    assert (tmp_path / "file").is_symlink()
    assert (tmp_path / "disk" / "file").read_text() == "new"
    assert names(tmp_path / "disk") == {"file", "run", "run/new"}


@pytest.mark.parametrize("name", ["x" * 251 + ".png", "ä" * 125 + ".yml", os.fsdecode(b"\xff\xfe.txt")])
def test_every_name_that_the_file_system_takes_can_be_written(tmp_path, name):
    atomic.write_text(tmp_path / name, "content")
    with atomic.written_folder(tmp_path / "below" / name) as beside:
        (beside / "inside").touch()
    with atomic.written_folder(tmp_path / "below" / name):
        pass
    assert os.listdir(tmp_path / "below") == [name]
    assert sorted(os.listdir(tmp_path)) == sorted(["below", name])


@pytest.mark.parametrize(
    ("number", "mend"),
    [
        (errno.ENOSPC, "make room, or choose another --out."),
        (errno.EROFS, "change the permissions, or choose another --out."),
        (errno.EACCES, "change the permissions, or choose another --out."),
        (errno.EIO, "check the disk, or choose another --out."),
    ],
)
def test_a_write_that_the_disk_refuses_is_one_sentence(tmp_path, number, mend):
    target = tmp_path / "scores.json"
    with (
        pytest.raises(WriteError) as caught,
        atomic.written_file(target, mend=atomic.OTHER_OUT) as beside,
    ):
        fail(beside.write_text("half"), OSError(number, os.strerror(number)))
    assert str(caught.value) == f"{target} cannot be written ({os.strerror(number)}): {mend}"
    assert names(tmp_path) == set()


def test_libraries_own_exceptions_of_a_full_disk_are_understood_and_others_pass(tmp_path):
    with pytest.raises(RunError, match="make room"), atomic.explained(tmp_path, error=RunError):
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    with pytest.raises(RuntimeError, match="shapes"), atomic.explained(tmp_path):
        raise RuntimeError("shapes differ")
    with pytest.raises(DataError, match="No space left for this"), atomic.explained(tmp_path):
        raise DataError("No space left for this")


def test_a_real_full_disk_and_a_file_in_the_way(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with pytest.raises(WriteError, match="No space left"), atomic.explained(tmp_path / "x"):
        Path("/dev/full").write_bytes(b"x")
    (tmp_path / "file").touch()
    with (
        pytest.raises(WriteError, match="move the existing file or folder away"),
        atomic.written_file(tmp_path / "file" / "x"),
    ):
        pass
    with (
        pytest.raises(WriteError, match="move the existing file or folder away"),
        atomic.written_folder(tmp_path / "file") as beside,
    ):
        (beside / "inside").touch()
    assert names(tmp_path) == {"file"}


def test_a_checkpoint_that_cannot_be_written_names_what_is_intact_from_the_runs_folder_too(tmp_path):
    (tmp_path / "trainer_state" / "1-x-00000007").mkdir(parents=True)
    with (
        pytest.raises(CheckpointError, match="1-x-00000007 is intact"),
        ckpt.explain_full_disk("the snapshot", tmp_path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_problem_and_mend_of_an_error_can_be_distinguished():
    error = DataError("a.png has no labels", "give some")
    assert str(error) == "a.png has no labels: give some."
    assert (error.problem, error.mend) == ("a.png has no labels", "give some")
    plain = StylebridgeError("In one piece: as before.")
    assert (str(plain), plain.problem, plain.mend) == ("In one piece: as before.",) * 2 + (None,)


def test_an_option_that_another_caller_does_not_have_can_be_left_out():
    error = DataError("a.png holds id 9", "correct it", "name a space with --label-space")
    assert str(error) == "a.png holds id 9: correct it, or name a space with --label-space."
    assert str(DataError(error.problem, error.mend)) == "a.png holds id 9: correct it."
    again = pickle.loads(pickle.dumps(error))  # as workers of a loader send it
    assert (str(again), again.problem, again.option) == (str(error), error.problem, error.option)
