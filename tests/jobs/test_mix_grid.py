"""Sheets of mixes: each cell is the mix of its photos, each photo is encoded once."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylebridge.errors import DataError
from stylebridge.jobs.apply.mixing.grid import crossed, mix_grid, parse_vary
from stylebridge.jobs.apply.mixing.sheet import Reference, sheet
from stylebridge.jobs.apply.models.mixer import BATCH, FACTORS, Mixing, Mode, pixels
from stylebridge.jobs.apply.models.model import Model
from stylebridge.networks.mixnmatch import Mixer
from support import folders
from support.folders import CommandLine
from support.mixing import SIDE, as_unit, patches, save_photos, tiny_mixer, tiny_run

pytestmark = pytest.mark.slow

stylebridge = folders.stylebridge


@pytest.fixture(scope="module")
def mixer() -> Mixer:
    return tiny_mixer()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, mixer: Mixer) -> Path:
    return tiny_run(tmp_path_factory.mktemp("mix") / "run", mixer)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Twenty photos, more than a batch, four of them references."""
    folder = tmp_path_factory.mktemp("photos")
    fixed = save_photos(folder / "fixed", patches(4, seed=2))
    many = save_photos(folder / "many", patches(20, seed=3))
    few = save_photos(folder / "few", patches(3, seed=4))
    return {"fixed": fixed, "many": many, "few": few}


def units(paths: list[Path]) -> torch.Tensor:
    return as_unit(np.stack([np.array(Image.open(path)) for path in paths]))


def found_in(picture: np.ndarray, cell: np.ndarray) -> Iterator[tuple[int, int]]:
    """The position of a cell in a sheet, which enlarges small cells twofold: (top, left)."""
    large = cell.repeat(2, 0).repeat(2, 1)
    # Sums of a batch and of one image alone may be rounded to neighbouring values.
    first = np.argwhere((abs(picture.astype(int) - large[0, 0]) <= 1).all(-1))
    for top, left in first.tolist():
        cut = picture[top : top + len(large), left : left + len(large)]
        if cut.shape == large.shape and (abs(cut.astype(int) - large) <= 1).all():
            yield top, left


@pytest.mark.parametrize("mode", ["code", "feature"])
def test_mixes_in_batches_are_the_networks_mixes_one_by_one(mixer: Mixer, mode: str) -> None:
    mixing, photos = Mixing(mixer, mode), patches(19, seed=5)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    picks = {factor: rng.integers(0, 19, 21).tolist() for factor in mixing.factors}
    coded = {factor: mixing.encode(factor, photos) for factor in mixing.factors}
    made = list(mixing.paint(coded, picks))
    images = torch.cat([each.image for each in made])
    image = as_unit(photos)
    for number in range(21):
        chosen = {factor: image[[picks[factor][number]]] for factor in mixing.factors}
        wanted = mixer.mix(**chosen) if mode == "code" else mixer.mix_features(**chosen)
        torch.testing.assert_close(images[[number]], wanted.image * 0.5 + 0.5, atol=1e-4, rtol=0)
        batch, place = made[number // BATCH], number % BATCH
        torch.testing.assert_close(batch.shape_mask[place], wanted.parent_mask[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(batch.texture_mask[place], wanted.child_mask[0], atol=1e-4, rtol=0)
    assert float((images[0] - images[1:]).abs().mean((1, 2, 3)).min()) > 0.005


def test_a_sheet_of_two_factors_has_each_mix_in_its_row_and_column(
    run: Path, mixer: Mixer, photos: dict[str, list[Path]], tmp_path: Path
) -> None:
    many, few, fixed = photos["many"][0].parent, photos["few"][0].parent, photos["fixed"]
    mix_grid(
        run, tmp_path / "sheet.png", vary=[f"texture={few}", f"shape={many}"], pose=fixed[0], background=fixed[1],
        quiet=True,
    )  # fmt: skip
    picture = np.array(Image.open(tmp_path / "sheet.png"))
    pose, behind = units(fixed[:1]), units(fixed[1:2])
    # The photos stand at the edge of their row or column.
    rows = [next(found_in(picture, np.array(Image.open(photos["many"][number])))) for number in (0, 17)]
    columns = [next(found_in(picture, np.array(Image.open(path)))) for path in photos["few"]]
    assert rows[0][0] < rows[1][0]
    assert [left for _, left in columns] == sorted({left for _, left in columns})
    assert columns[0][0] < rows[0][0]
    assert rows[0][1] < columns[0][1]
    found: dict[tuple[int, int], set[tuple[int, int]]] = {}
    for top, shape in zip((rows[0][0], rows[1][0]), (photos["many"][0], photos["many"][17]), strict=True):
        for (_, left), texture in zip(columns, photos["few"], strict=True):
            made = mixer.mix(pose, behind, units([shape]), units([texture]))
            found[top, left] = set(found_in(picture, pixels(made.image * 0.5 + 0.5)[0]))
    assert all(place in places for place, places in found.items())
    # Photos of one category give one mix; these six are more than one.
    assert len({frozenset(places) for places in found.values()}) > 3
    for reference in fixed[:2]:
        ((top, _),) = found_in(picture, np.array(Image.open(reference)))
        assert top < columns[0][0]


def test_one_factor_continues_in_lines_and_has_masks(
    stylebridge: CommandLine, run: Path, mixer: Mixer, photos: dict[str, list[Path]], tmp_path: Path
) -> None:
    fixed, many = photos["fixed"], photos["many"]
    out = tmp_path / "sheet.png"
    done = stylebridge(
        "mix", "apply", run, "--vary", f"pose={many[0].parent}", "--background", fixed[0], "--shape", fixed[1],
        "--texture", fixed[2], "--grid", out, "--masks",
    )  # fmt: skip
    assert done.code == 0, done.err
    made = mixer.mix(units([many[0], many[12]]), *(units([file] * 2) for file in fixed[:3]))
    wanted = {"sheet.png": made.image * 0.5 + 0.5, "sheet-shape-mask.png": made.parent_mask,
              "sheet-texture-mask.png": made.child_mask}  # fmt: skip
    for name, kind in wanted.items():
        picture = np.array(Image.open(tmp_path / name))
        first, later = (next(found_in(picture, cell)) for cell in pixels(kind))
        # Photo 13 is the third of the second line.
        assert later[0] > first[0]
        assert later[1] > first[1]


def test_every_photo_is_encoded_once_and_by_its_factor_alone(
    run: Path, photos: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: dict[str, int] = {}
    opened = Model.mixing

    def counting(model: Model, mode: Mode) -> Mixing:
        mixing = opened(model, mode)
        for name, encoder in mixing.mixer.encoders.named_children():
            encoder.register_forward_hook(
                lambda _, images, __, name=name: counted.update({name: counted.get(name, 0) + len(images[0])})
            )
        return mixing

    monkeypatch.setattr(Model, "mixing", counting)
    fixed = photos["fixed"]
    vary = [f"texture={photos['many'][0].parent}", f"shape={photos['few'][0].parent}"]
    mix_grid(run, tmp_path / "sheet.png", vary=vary, pose=fixed[0], background=fixed[1], quiet=True)
    # The background photo's pose is needed, too.
    assert counted == {"model_z": 2, "model_b": 1, "model_p": 3, "model_c": 20}


def test_picks_go_row_by_row() -> None:
    picks, form = crossed(FACTORS, {"texture": "abc", "pose": "de"})
    assert form == (2, 3)
    assert picks["texture"] == [0, 1, 2, 0, 1, 2]
    assert picks["pose"] == [0, 0, 0, 1, 1, 1]
    assert picks["shape"] == picks["background"] == [0] * 6


@pytest.mark.parametrize(("columns", "rows"), [(1, 0), (10, 0), (11, 0), (25, 0), (1, 1), (4, 3), (12, 2)])
def test_all_cells_and_photos_are_on_the_sheet(columns: int, rows: int) -> None:
    rng = np.random.default_rng(0)

    def flat(count: int) -> np.ndarray:
        return np.broadcast_to(rng.integers(0, 220, (count, 1, 1, 3), np.uint8), (count, SIDE, SIDE, 3))

    def references(count: int) -> list[Reference]:
        return [Reference("pose", "a very long name " * 3, picture) for picture in flat(count)]

    fixed, across, down = references(2), references(columns), references(rows)
    cells = flat(max(rows, 1) * columns).reshape(max(rows, 1), columns, SIDE, SIDE, 3)
    made = sheet(fixed, across, down, cells)
    shown = np.bincount((made.astype(int) @ [65536, 256, 1]).ravel())
    every = np.concatenate(
        [[each.picture[0, 0] for each in fixed + across + down], cells[:, :, 0, 0].reshape(-1, 3)]
    )
    assert (shown[every.astype(int) @ [65536, 256, 1]] >= (2 * SIDE) ** 2).all()
    assert made.shape[1] < 2 * SIDE * (max(columns if rows else min(columns, 10), 2) + 2) * 1.2


@pytest.mark.parametrize(
    ("vary", "word"),
    [
        (["texture"], "FACTOR=PHOTOS"), (["colour=x"], "pose, background"), (["texture=no"], "does not exist"),
        (["texture=empty"], "no photos"), (["texture=few", "texture=few"], "twice"),
        (["texture=few", "shape=few", "pose=few"], "once or twice"), (["texture=many", "shape=many"], "2,500"),
    ],
)  # fmt: skip
def test_what_cannot_be_varied_is_reported(
    vary: list[str], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, count in (("empty", 0), ("few", 2), ("many", 51)):
        Path(folder).mkdir()
        for number in range(count):
            Path(folder, f"{number}.png").touch()
    with pytest.raises(DataError, match=word) as told:
        parse_vary(vary)
    assert str(told.value).endswith(".")


def test_options_that_do_not_fit_together_are_named(
    stylebridge: CommandLine, run: Path, photos: dict[str, list[Path]], tmp_path: Path
) -> None:
    fixed, few = photos["fixed"], photos["few"][0].parent
    rest = ["--background", fixed[0], "--shape", fixed[1], "--texture", fixed[2]]
    sheet_out, vary = ["--grid", tmp_path / "s.png"], ["--vary", f"pose={few}"]
    apply = ("mix", "apply", run)
    stylebridge(*apply, *rest, *vary).refused("--grid")
    stylebridge(*apply, *rest, *sheet_out).refused("--vary")
    stylebridge(*apply, *rest, *vary, *sheet_out, "--out", tmp_path / "x.png").refused("--out")
    stylebridge(*apply, *rest, *vary, *sheet_out, "--video", fixed[0]).refused("--video")
    stylebridge(*apply, *rest, *vary, *sheet_out, "--pose", fixed[0]).refused("leave out --pose")
    stylebridge(*apply, *rest[2:], *vary, *sheet_out).refused("--background")
    stylebridge(*apply, *rest, *vary, *sheet_out, "--mode", "feature").refused("leave out --vary pose")
    stylebridge(*apply, *rest, *vary, "--grid", tmp_path / "s.jpg").refused(".png")
    (tmp_path / "s-shape-mask.png").touch()
    stylebridge(*apply, *rest, *vary, *sheet_out, "--masks").refused("s-shape-mask.png", "--overwrite")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"x")
    stylebridge(*apply, *rest, "--vary", f"pose={tmp_path / 'bad'}", *sheet_out).refused("a.png")
    assert not (tmp_path / "s.png").exists()
