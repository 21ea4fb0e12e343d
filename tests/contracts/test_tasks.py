"""The contract of every task: a mistake loses nothing, and a resumed run continues unchanged."""

import io
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console

from stylebridge.engine import Trainer
from stylebridge.errors import RunError, UserError
from stylebridge.methods.registry import all_methods
from support import folders
from support.tiny_tasks import TASKS, Task, write_data

own_cache = folders.own_cache


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module", params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    return TASKS[request.param]


@pytest.fixture(scope="module")
def whole(task: Task, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained without interruption; tests do not write into it."""
    run = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(run.parent / "cache"))
        task.begin(data, run)
    return run


def contents(run: Path) -> dict[str, bytes]:
    """All files except the lock, by path."""
    files = [path for path in run.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}


def test_every_methods_task_is_among_them() -> None:
    assert {spec.task for spec in all_methods().values()} == TASKS.keys(), (
        "add the task to tests/support/tiny_tasks.py"
    )


# --- to the end -----------------------------------------------------------------------------------------------


class Stopped(BaseException):
    """Stands for SIGKILL: nothing in the package catches it."""


def stop_after(patch: pytest.MonkeyPatch, saves: int) -> None:
    """Stop after a number of checkpoints."""
    save, count = Trainer.save, iter(range(1, 99))

    def saving(trainer: Trainer, *args: object) -> None:
        save(trainer, *args)  # type: ignore[arg-type]
        if next(count) == saves:
            raise Stopped

    patch.setattr(Trainer, "save", saving)


def assert_same_run(task: Task, ours: Path, theirs: Path) -> None:
    """Bit-identical weights, and the recipe."""
    mine, others = task.tensors(ours), task.tensors(theirs)
    assert mine
    folders.assert_same(mine, others)
    assert (ours / "recipe.yaml").read_bytes() == (theirs / "recipe.yaml").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_a_run_that_was_stopped_ends_in_the_same_weights(
    last: bool, task: Task, data: Path, whole: Path, tmp_path: Path
) -> None:
    """Stopped after its first checkpoint, and after its last, before results were passed on."""
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, task.saves if last else 1)
        with pytest.raises(Stopped):
            task.begin(data, run)
    task.resume(run)
    assert_same_run(task, run, whole)


@pytest.mark.slow
def test_the_runs_recipe_gives_the_same_run(task: Task, data: Path, whole: Path, tmp_path: Path) -> None:
    task.run(data, tmp_path / "run", recipe=whole / "recipe.yaml")
    assert_same_run(task, tmp_path / "run", whole)


@pytest.mark.slow
def test_the_seed_decides(task: Task, data: Path, whole: Path, tmp_path: Path) -> None:
    task.begin(data, tmp_path / "run", seed=1)
    mine, others = task.tensors(tmp_path / "run"), task.tensors(whole)
    assert any(not torch.equal(value, others[name]) for name, value in mine.items())


@pytest.mark.slow
def test_a_finished_run_says_so_and_is_left_alone(task: Task, whole: Path, tmp_path: Path) -> None:
    run, said = shutil.copytree(whole, tmp_path / "run"), io.StringIO()
    before = contents(run)
    task.resume(run, quiet=False, console=Console(file=said, width=400))
    assert "is finished" in said.getvalue()
    assert contents(run) == before


@pytest.mark.slow
def test_a_run_without_its_report_is_finished_without_training(
    task: Task, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    (run / "report.html").unlink()
    monkeypatch.setattr(Trainer, "fit", lambda *_: pytest.fail("trained again"))
    before = task.tensors(run)
    task.resume(run)
    assert (run / "report.html").is_file()
    folders.assert_same(task.tensors(run), before)


# --- the start ------------------------------------------------------------------------------------------------


@pytest.fixture
def begin_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings stop where they would begin to train."""

    def stop(*_: object) -> None:
        raise Stopped

    monkeypatch.setattr(Trainer, "fit", stop)


def start(task: Task, data: Path, out: Path, *changes: str, **options: object) -> Path:
    with pytest.raises(Stopped):
        task.begin(data, out, changes, **options)
    return out


def test_a_mistake_leaves_the_old_run_intact(
    task: Task, data: Path, tmp_path: Path, begin_only: None
) -> None:
    run = start(task, data, tmp_path / "run")
    (run / "samples").mkdir()
    (run / "samples" / "000001.png").write_text("ours")
    before = contents(run)
    trainer = task.trainer
    for out in (run, tmp_path / "new"):
        for wrong in (
            (f"{trainer}batch=4", f"{trainer}accumulate=3"),
            (f"{trainer}stepps=4",),
            (f"{trainer}steps=-1",),
            ("no_such_key=1",),
        ):
            with pytest.raises(UserError):
                task.begin(data, out, wrong, overwrite=True)
        with pytest.raises(UserError):
            task.begin(tmp_path / "nowhere" / "set", out, overwrite=True)
        with pytest.raises(UserError):
            task.begin(data, out, overwrite=True, recipe="no-such-recipe")
    assert contents(run) == before
    assert not (tmp_path / "new").exists()
    with pytest.raises(RunError, match="exists already"):
        task.begin(data, run)
    assert contents(run) == before
    start(task, data, run, overwrite=True)
    assert not (run / "samples").exists()


def test_what_is_not_a_run_is_never_replaced(
    task: Task, data: Path, tmp_path: Path, begin_only: None
) -> None:
    photos = shutil.copytree(data, tmp_path / "photos")
    with pytest.raises(RunError, match="not a stylebridge run"):
        task.begin(data, photos, overwrite=True)
    assert contents(photos) == contents(data)
    with pytest.raises(RunError, match="does not exist"):
        task.resume(tmp_path / "none")


def test_a_resumed_run_refuses_other_settings_and_names_the_first(
    task: Task, data: Path, tmp_path: Path, begin_only: None
) -> None:
    run = start(task, data, tmp_path / "run")
    start(task, data, run, resume=True)  # the same command again
    with pytest.raises(Stopped):
        task.resume(run)
    before = contents(run)
    steps = f"{task.trainer}steps"
    for changes, options, named in (
        ((f"{steps}=7",), {}, r"stages\.0\.trainer\.steps is 2 there and 7 now"),
        ((), {"seed": 5}, "seed is 0 there and 5 now"),
        ((), {"overwrite": True}, "--overwrite replaces"),
    ):
        with pytest.raises(RunError, match=named):
            task.begin(data, run, changes, resume=True, **options)
    other = shutil.copytree(data, tmp_path / "other")
    shutil.copy(data.parent / "three.yaml", tmp_path / "three.yaml")
    with pytest.raises(RunError, match=r"was (made|begun) with"):
        task.begin(other, run, resume=True)
    assert contents(run) == before


def test_changed_data_is_refused(task: Task, data: Path, tmp_path: Path, begin_only: None) -> None:
    shutil.copy(data.parent / "three.yaml", tmp_path / "three.yaml")
    mine = shutil.copytree(data, tmp_path / "set")
    run = start(task, mine, tmp_path / "run")
    image = min((mine / "images").iterdir())
    Image.effect_noise((64, 48), 90).convert("RGB").save(image, format="PNG")
    with pytest.raises(RunError, match=rf"1 changed: images/{image.name}.*--accept-changed-data"):
        task.resume(run)
    with pytest.raises(Stopped):
        task.resume(run, accept_changed_data=True)


@pytest.mark.parametrize("labelled", ["adapt", "synthesize"])
def test_options_of_the_start_are_compared(
    labelled: str, data: Path, tmp_path: Path, begin_only: None
) -> None:
    run = start(TASKS[labelled], data, tmp_path / "run")
    with pytest.raises(RunError, match="begun without --allow-missing-classes"):
        TASKS[labelled].begin(data, run, resume=True, allow_missing_classes=True)
    before = contents(run)
    with pytest.raises(UserError, match="nowhere"):
        TASKS[labelled].begin(data, run, overwrite=True, label_space=tmp_path / "nowhere.yaml")
    assert contents(run) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "translator.recipe=nowhere",
        "translator.run=nowhere",
        "translator.overrides=['trainer.stepps=4']",
        "translator.overrides=['trainer.accumulate=3', 'trainer.batch=4']",
    ],
)
def test_a_wrong_translator_of_an_adaptation_is_a_mistake_too(
    change: str, data: Path, tmp_path: Path, begin_only: None
) -> None:
    adapt = TASKS["adapt"]
    run = start(adapt, data, tmp_path / "run")
    before = contents(run)
    for out in (run, tmp_path / "new"):
        with pytest.raises(UserError):
            adapt.run(data, out, recipe="translate-then-train-small", overrides=[change], overwrite=True)
    assert contents(run) == before
    assert not (tmp_path / "new").exists()
