"""Which run folders the page can name."""

import os
from pathlib import Path

import pytest

from stylebridge import studio
from stylebridge.errors import DataError, RunError
from stylebridge.jobs.apply.models.model import Model
from stylebridge.studio.runs import Models, Runs
from stylebridge.studio.sentences import told, without_paths


def test_runs_below_the_folder_are_listed_by_what_they_can_do(root: Path) -> None:
    runs = Runs([], root)
    assert runs.listed()["synthesize"] == ["runs/broken", "runs/castles", "runs/facades", "runs/spade"]
    assert runs.listed()["segment"] == ["runs/town"]
    assert runs.find("runs/town", "segment") == root / "runs" / "town"


def test_a_given_run_elsewhere_has_its_own_name(root: Path) -> None:
    elsewhere = root.parent / "elsewhere"
    runs = Runs([elsewhere], root)
    assert runs.listed()["synthesize"][0] == "elsewhere"
    assert runs.find("elsewhere", "synthesize") == elsewhere
    assert runs.name_of(elsewhere) == "elsewhere"


def test_two_given_runs_of_one_name_are_distinguished(tmp_path: Path) -> None:
    given = [tmp_path / "a" / "run", tmp_path / "b" / "run"]
    for path in given:
        path.mkdir(parents=True)
    (tmp_path / "start").mkdir()
    runs = Runs(given, tmp_path / "start")
    names = [runs.name_of(path) for path in given]
    assert len(set(names)) == 2
    assert [runs.find(name, "segment") for name in names] == given


def test_no_other_folder_can_be_named(root: Path, tmp_path: Path) -> None:
    start = tmp_path / "start"
    start.mkdir()
    os.symlink(root.parent / "elsewhere", start / "link")
    for name in (
        "../machine0",
        "..",
        "/etc",
        str(root),
        "link",
        "a/../../..",
        "~",
        "x\0y",
        str(root.parent / "elsewhere"),
    ):
        with pytest.raises(RunError) as caught:
            Runs([], start).find(name, "synthesize")
        assert str(root.parent) not in str(caught.value).replace(name, "")
    with pytest.raises(RunError, match="No run is chosen"):
        Runs([], start).find("  ", "synthesize")


def test_models_are_kept_until_their_run_is_made_anew(tmp_path: Path) -> None:
    models, opened = Models(), []

    def get(name: str) -> Model:
        return models.get(tmp_path / name, lambda: opened.append(name) or Model(tmp_path / name, "adapt", {}))

    for name in "abcde":
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.yaml").write_text("kind: adapt", encoding="utf-8")
    assert get("a") is get("a")
    os.utime(tmp_path / "a" / "run.yaml", ns=(1, 1))
    get("a")
    assert opened == ["a", "a"]
    for name in "bcde":
        get(name)
    get("a")
    assert opened == [*"aabcdea"]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("/home/me/runs/x/networks is damaged: train again.", "networks is damaged: train again."),
        ("No '/data/a b' and (/mnt/disk/m.png).", "No 'a b' and (m.png)."),
        ("C:\\Users\\me\\run is no run.", "run is no run."),
        ("runs/facades/networks is damaged (3/4 read).", "runs/facades/networks is damaged (3/4 read)."),
        ("/data/place/runs/x is no run.", "runs/x is no run."),
        ("Choose a/b or and/or.", "Choose a/b or and/or."),
    ],
)
def test_sentences_name_no_folder_of_the_machine(message: str, said: str) -> None:
    assert without_paths(message, Path("/data/place")) == said


def test_errors_are_told_and_never_raised(caplog: pytest.LogCaptureFixture) -> None:
    def raising(error: BaseException):
        def handler(request):
            raise error

        return told(handler)

    assert raising(DataError("/a/b/c.png is bad: mend it."))({}) == {"error": "c.png is bad: mend it."}
    assert "memory" in raising(MemoryError())({})["error"]
    surprise = raising(KeyError("/secret/path"))({})["error"]
    assert "secret" not in surprise
    assert "KeyError" not in surprise
    assert "KeyError" in caplog.text  # the terminal has it
    assert "error" in told(lambda request: {})(["no dict"])  # type: ignore[arg-type]


def test_without_gradio_the_mend_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"pip install 'stylebridge\[studio\]'"):
        studio.launch(None)
