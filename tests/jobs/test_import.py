"""``stylebridge import`` reads what the methods declare, those of installed packages too."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from stylebridge.cli import app
from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError, RecipeError, RunError
from stylebridge.interop.importer import FILES, OPTIONS, Importer, ReleasedFile
from stylebridge.jobs.apply.models.segmenter import load_adapted
from stylebridge.jobs.exchange.import_weights import flag, import_weights, importers
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.networks.segmenters.build import SegmenterConfig, build_segmenter
from support import folders
from support.folders import CommandLine
from support.packages import installed

stylebridge = folders.stylebridge

KINDS = importers()
VALUES = {"label_space": "cityscapes-19", "image_size": 256, "channels": "3", "upsampling": "more"}


def required(kind: str) -> dict[str, Path]:
    return {name: Path(name) for name, file in KINDS[kind][1].files.items() if file.required}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*FILES, *OPTIONS])
def test_what_an_importer_does_not_declare_is_refused(kind: str, name: str, tmp_path: Path) -> None:
    importer = KINDS[kind][1]
    if name in {*importer.files, *importer.options}:
        return
    given = {"file": None, **required(kind), name: VALUES.get(name, Path("more.pth"))}
    with pytest.raises(DataError, match=f"{flag(name)} is not an option of {kind} weights") as caught:
        import_weights(kind, out=tmp_path / "run", **given)
    takers = [k for k, (_, other) in KINDS.items() if name in {*other.files, *other.options}]
    assert f"only of {', '.join(takers)}" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_missing_is_named(kind: str, tmp_path: Path) -> None:
    for name in required(kind):
        given = {"file": None, **required(kind)} | {name: None}
        with pytest.raises(DataError, match=f"{kind} weights need {flag(name)}: .*import {kind} "):
            import_weights(kind, out=tmp_path / "run", **given)


@pytest.mark.parametrize("kind", KINDS)
def test_the_run_is_used_by_a_command_that_exists(kind: str) -> None:
    command, words = get_command(app), KINDS[kind][1].use.format(run="RUN").split()
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    assert words[0] == "RUN"
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_the_list_has_every_kind_with_its_files_and_options(
    stylebridge: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    done = stylebridge("import", "--list")
    assert done.code == 0, done.err
    rows = {line.split()[0]: line for line in done.out.splitlines() if not line.startswith(" ")}
    assert list(rows)[1:] == list(KINDS)
    for kind, (spec, importer) in KINDS.items():
        block = done.out[done.out.index(rows[kind]) :]
        assert spec.title in rows[kind]
        assert all(file.name in rows[kind] for file in importer.files.values())
        assert all(f"{flag(name)} ({meaning})" in block for name, meaning in importer.options.items())
    assert "[--feature-extractor EX.pth]" in rows["mixnmatch"]


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from stylebridge.cli import app\n"
        "try: app(['import', '--help'])\n"
        "finally: assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_an_importer_declares_what_the_command_has() -> None:
    with pytest.raises(ValueError, match="declares decoder: choose among file, generator"):
        Importer({"decoder": ReleasedFile("D.pth")}, lambda given: None, "segment {run}")
    with pytest.raises(ValueError, match="no required file"):
        Importer({"file": ReleasedFile("D.pth", required=False)}, lambda given: None, "segment {run}")


# --- a method of another package ------------------------------------------------------------------------------------

PACKAGE = '''
"""A method that is trained as the baseline is, and whose authors release two files."""

import torch

from stylebridge.data.label_space import LabelSpace
from stylebridge.interop.importer import Given, Imported, Importer, ReleasedFile
from stylebridge.methods.registry import MethodSpec
from stylebridge.methods.source_only import SourceOnly
from stylebridge.networks.segmenters.build import SegmenterConfig, build_segmenter


class Halves(SourceOnly):
    name = "halves"


def read(given: Given) -> Imported:
    state = {}
    for path in given.files.values():
        state |= torch.load(path, weights_only=True)
    space = LabelSpace.load(given.label_space or "camvid-11")
    config = SegmenterConfig(
        encoder="tu-test_efficientnet",
        weights=None,
        options={"decoder_pyramid_channels": 16, "decoder_segmentation_channels": 32},
    )
    segmenter = build_segmenter(config, space.num_classes)
    segmenter.load_state_dict(state)
    return Imported(
        segmenter=segmenter,
        space=space,
        recipe="source-only-small",
        changes={"segmenter": config.model_dump(mode="json"), "inference.size": (64, 48)},
        facts={"epochs": 7},
        lines=("7 epochs",),
    )


METHOD = MethodSpec(
    name="halves",
    task="adapt",
    method=Halves,
    title="Halves",
    paper="a test",
    importers={
        "halves": Importer(
            {"encoder": ReleasedFile("enc.pt"), "generator": ReleasedFile("dec.pt")},
            read,
            "segment {run} PHOTOS --out out/",
            {"label_space": "default: camvid-11"},
        )
    },
)
'''


def test_weights_of_an_installed_method_are_imported_and_used(
    stylebridge: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"decoder_pyramid_channels": 16, "decoder_segmentation_channels": 32}
    config = SegmenterConfig(encoder="tu-test_efficientnet", weights=None, options=options)
    space = LabelSpace.load("camvid-11")
    state = build_segmenter(config, space.num_classes).state_dict()
    encoder = {key: value for key, value in state.items() if "encoder" in key}
    assert encoder
    torch.save(encoder, "enc.pt")
    torch.save({key: value for key, value in state.items() if key not in encoder}, "dec.pt")
    files = ("--encoder", "enc.pt", "--generator", "dec.pt")
    with installed(tmp_path / "site", "halves", PACKAGE):
        assert "halves" in stylebridge("import", "--list").out
        done = stylebridge("import", "halves", *files, "--out", "run")
        stylebridge("import", "halves", *files[:2], "--out", "new").refused("need --generator", "dec.pt")
        stylebridge("import", "halves", *files, "--channels", "3", "--out", "new").refused("sean, spade")
    assert done.out.splitlines()[0].endswith("is now the run run: stylebridge segment run PHOTOS --out out/")
    assert done.out.splitlines()[1] == "7 epochs"
    facts = RunFolder(Path("run")).facts()
    assert (facts["kind"], facts["recipe"]) == ("adapt", "source-only-small")
    assert facts["imported"]["epochs"] == 7
    assert facts["imported"]["encoder"]["file"] == "enc.pt"
    model = load_adapted(Path("run"))
    assert model.space == space
    assert model.inference.size == (64, 48)
    for key, value in model.segmenter.state_dict().items():
        assert torch.equal(value, state[key]), key
    with pytest.raises(
        RunError, match="'halves' is not a kind of released weights"
    ):  # it is not installed any more
        import_weights("halves", None, "run")


def test_a_package_that_declares_a_name_again_is_named(tmp_path: Path) -> None:
    source = PACKAGE.replace('"halves": Importer', '"fada": Importer')
    with (
        installed(tmp_path, "halves", source),
        pytest.raises(RecipeError, match="fada and halves both declare an importer 'fada': remove"),
    ):
        importers()
