"""Label files in one space and a model in another; some labelled images of the target."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from stylebridge.jobs.apply.models.segmenter import load_adapted
from stylebridge.jobs.evaluate.segmenter import evaluate
from stylebridge.jobs.recipe.reading import load_recipe
from support import folders
from support.folders import (
    NAMES,
    CommandLine,
    World,
    assert_same,
    learning,
    tiny_adapt,
    tiny_overrides,
    touched_paths,
    weights,
    write_domain,
)

own_cache, world, stylebridge = folders.own_cache, folders.world, folders.stylebridge

#: Label files hold these ids; earth and brick are the world's ground and wall by other names.
RAW = {"earth": 40, "brick": 7, "sky": 3, "moon": 9}
PAIRS = {"earth": "ground", "brick": "wall", "sky": "sky", "moon": "ignore"}


@pytest.fixture
def renamed(tmp_path: Path, world: World) -> tuple[Path, Path]:
    """The world's source with other ids, and the class map to the world's three classes."""
    source = tmp_path / "renamed"
    shutil.copytree(world.source, source)
    table = np.full(256, 255, np.uint8)
    table[[0, 1, 2]] = [RAW["earth"], RAW["brick"], RAW["sky"]]
    for path in (source / "labels").iterdir():
        Image.fromarray(table[np.array(Image.open(path))]).save(path)
    spaces = {"classes": [{"name": name, "raw": [raw]} for name, raw in RAW.items()]}
    (tmp_path / "raw.yaml").write_text(yaml.safe_dump({"name": "raw", **spaces}))
    # A label space's file is named as seen from the class map.
    class_map = {"from": "raw.yaml", "to": str(world.space), "map": PAIRS}
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(class_map))
    return source, tmp_path / "map.yaml"


@pytest.mark.slow
def test_a_class_map_changes_ids_and_nothing_else(
    world: World, renamed: tuple[Path, Path], tmp_path: Path
) -> None:
    """The same pictures with other label ids train the same weights, and get the same scores."""
    source, class_map = renamed
    plain = tiny_adapt(world, tmp_path / "plain")
    other = World(source, world.target, world.held_out, world.space)
    mapped = tiny_adapt(other, tmp_path / "mapped", label_space=None, class_maps=[class_map])
    assert_same(weights(mapped.run), weights(plain.run))
    assert load_adapted(mapped.run).space.classes == NAMES

    on_source = evaluate(
        mapped.run, source, label_space=class_map.parent / "raw.yaml", class_maps=[class_map], quiet=True
    )
    assert on_source.confusion == evaluate(plain.run, world.source, quiet=True).confusion
    assert on_source.protocol.startswith("three: ")


@pytest.mark.slow
def test_a_mapped_run_resumes_as_it_was(world: World, renamed: tuple[Path, Path], tmp_path: Path) -> None:
    source, class_map = renamed
    other = World(source, world.target, world.held_out, world.space)
    settings = {"label_space": None, "class_maps": [class_map], "evaluate_on": source}
    whole = tiny_adapt(other, tmp_path / "whole", recipe="colour-transfer-small", **settings)
    cut = tiny_adapt(other, tmp_path / "cut", recipe="colour-transfer-small", **settings).run
    shutil.rmtree(cut / "stages" / "2-colour-transfer")
    shutil.rmtree(cut / "segmenter")
    class_map.unlink()  # a run is self-contained
    (class_map.parent / "raw.yaml").unlink()
    from stylebridge.jobs.train import adapt

    again = adapt(out=cut, resume=True, device="cpu", quiet=True)
    assert_same(weights(again.run), weights(whole.run))
    assert again.after is not None
    assert whole.after is not None
    assert again.after.confusion == whole.after.confusion


@pytest.mark.slow
def test_the_class_map_is_reported(
    stylebridge: CommandLine, renamed: tuple[Path, Path], world: World, tmp_path: Path
) -> None:
    source, class_map = renamed
    sets = [part for change in tiny_overrides("source-only-small") for part in ("--set", change)]
    done = stylebridge(
        "adapt", "--source", source, "--target", world.target, "--class-map", class_map, "--out", tmp_path / "run",
        "--recipe", "source-only-small", "--device", "cpu", *sets,
    )  # fmt: skip
    assert done.code == 0, done.err
    told = " ".join(done.err.split())
    for pair in ("earth ground", "brick wall", "sky sky", "moon ignored"):
        assert pair in told
    facts = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    assert facts["class_maps"][0]["map"] == PAIRS


@pytest.mark.slow
def test_ids_without_names_are_not_guessed(
    stylebridge: CommandLine, world: World, tmp_path: Path, renamed: tuple[Path, Path]
) -> None:
    finished = tiny_adapt(world, tmp_path / "run").run
    stylebridge("evaluate", finished, "--data", renamed[0], "--quiet").refused("40", "three")


# --- some labelled images of the target ---------------------------------------------------------------------


@pytest.fixture
def few(world: World, tmp_path: Path) -> Path:
    """Label maps for two of the four target images, written beside, named like the images."""
    folder = tmp_path / "few"
    folder.mkdir()
    for number in (1, 3):
        label = np.zeros((48, 64), np.uint8)
        label[:20] = number % 3
        Image.fromarray(label).save(folder / f"{number:03}.png")
    return folder


@pytest.mark.slow
def test_labelled_target_images_join_training(world: World, few: Path, tmp_path: Path) -> None:
    with touched_paths() as touched:
        run = tiny_adapt(world, tmp_path / "run", target_labels=few, overrides=learning(steps=4)).run
    opened = {
        Path(p).name
        for event, p in touched
        if event == "open" and p.startswith(str(few)) and p.endswith("png")
    }
    assert opened == {"001.png", "003.png"}
    alone = tiny_adapt(world, tmp_path / "alone", overrides=learning(steps=4)).run
    assert any((weights(run)[k] != v).any() for k, v in weights(alone).items())
    facts = yaml.safe_load((run / "run.yaml").read_text())
    assert facts["target_labels"] == str(few)


@pytest.mark.slow
def test_they_teach_the_model_what_the_source_cannot(world: World, few: Path, tmp_path: Path) -> None:
    """A target labelled against the source's grain: the model follows where it was shown."""
    sets = [*learning(steps=60), "target_label_share=0.9"]
    run = tiny_adapt(world, tmp_path / "run", target_labels=few, overrides=sets).run
    alone = tiny_adapt(world, tmp_path / "alone", overrides=learning(steps=60)).run
    shown = tmp_path / "shown"
    for kind in ("images", "labels"):
        (shown / kind).mkdir(parents=True)
    for label in few.iterdir():
        shutil.copy(label, shown / "labels")
        shutil.copy(world.target / "images" / f"{label.stem}.jpg", shown / "images")
    with_labels, without = (evaluate(r, shown, quiet=True).pixel_accuracy for r in (run, alone))
    assert with_labels > without + 0.1


@pytest.mark.slow
def test_the_truth_takes_the_place_of_pseudo_labels(world: World, few: Path, tmp_path: Path) -> None:
    run = tiny_adapt(world, tmp_path / "run", recipe="fada-small", target_labels=few).run
    made = {path.stem: path for path in (run / "pseudo_labels").rglob("*.png")}
    assert sorted(made) == ["000", "001", "002", "003"]
    for label in few.iterdir():
        np.testing.assert_array_equal(np.array(Image.open(made[label.stem])), np.array(Image.open(label)))


@pytest.mark.slow
def test_scores_leave_out_what_was_trained_on(world: World, tmp_path: Path) -> None:
    target = write_domain(tmp_path / "target", 4, dark=True, seed=9)
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(target / "labels" / "002.png", few)
    other = World(world.source, target, world.held_out, world.space)
    run = tiny_adapt(other, tmp_path / "run", target_labels=few).run
    left = [np.array(Image.open(target / "labels" / f"{i:03}.png")) for i in (0, 1, 3)]
    scores = json.loads((run / "scores.json").read_text())
    assert scores["after"]["pixels"] == sum(int((label != 255).sum()) for label in left)


@pytest.mark.slow
def test_a_run_with_labelled_target_images_resumes(world: World, few: Path, tmp_path: Path) -> None:
    from stylebridge.jobs.train import adapt

    whole = tiny_adapt(
        world, tmp_path / "whole", target_labels=few, overrides=["stages.0.trainer.steps=4"]
    ).run
    cut = tiny_adapt(world, tmp_path / "cut", target_labels=few, overrides=["stages.0.trainer.steps=4"]).run
    shutil.rmtree(cut / "stages" / "1-source-only")
    shutil.rmtree(cut / "segmenter")
    kept = sorted(path for path in (cut / "trainer_state").iterdir() if path.is_dir())
    for path in kept[1:]:
        shutil.rmtree(path)
    adapt(out=cut, resume=True, device="cpu", quiet=True)
    assert_same(weights(cut), weights(whole))


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("stranger", ["stranger.png", "does not match a target image"]),
        ("empty", ["has no label maps"]),
        ("missing", ["does not exist"]),
        ("size", ["001.png", "32×24", "64×48"]),
        ("id", ["001.png", "77", "three"]),
    ],
)
def test_wrong_target_labels_are_refused(
    stylebridge: CommandLine, world: World, tmp_path: Path, how: str, named: list[str]
) -> None:
    folder = tmp_path / "few"
    if how != "missing":
        folder.mkdir()
    if how == "stranger":
        Image.fromarray(np.zeros((48, 64), np.uint8)).save(folder / "stranger.png")
    if how in ("size", "id"):
        shape = (24, 32) if how == "size" else (48, 64)
        Image.fromarray(np.full(shape, 77 if how == "id" else 0, np.uint8)).save(folder / "001.png")
    stylebridge(
        "adapt", "--source", world.source, "--target", world.target, "--target-labels", folder,
        "--label-space", world.space, "--out", tmp_path / "run", "--device", "cpu", "--quiet",
    ).refused(*named)  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_the_share_is_in_the_recipe() -> None:
    assert load_recipe("fada-small").target_label_share == 0.5
