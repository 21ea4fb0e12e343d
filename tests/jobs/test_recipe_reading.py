"""Recipes that extend others, changes that name a stage, short forms, and the commands that list recipes."""

from pathlib import Path

import pytest
import yaml

from stylebridge.errors import RecipeError
from stylebridge.jobs import train as train_job
from stylebridge.jobs.recipe.changes import short_forms
from stylebridge.jobs.recipe.reading import TASKS, load_recipe, recipe_names
from support import folders
from support.folders import CommandLine, World, tiny_overrides

own_cache, world, stylebridge = folders.own_cache, folders.world, folders.stylebridge


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# --- extends --------------------------------------------------------------------------------------------------


def test_what_is_not_said_is_the_extended_recipes(tmp_path: Path) -> None:
    text = (
        "name: mine\nextends: bridge-small\nseed: 7\nstages:\n- {name: self-training, trainer: {steps: 9}}\n"
    )
    mine, base = load_recipe(write(tmp_path / "mine.yaml", text)), load_recipe("bridge-small")
    assert (mine.name, mine.seed) == ("mine", 7)
    assert [stage.name for stage in mine.stages] == [stage.name for stage in base.stages]
    assert mine.stages[2].trainer == base.stages[2].trainer.model_copy(update={"steps": 9})
    assert mine.stages[:2] == base.stages[:2]
    assert (mine.segmenter, mine.inference, mine.onnx) == (base.segmenter, base.inference, base.onnx)
    again = load_recipe(write(tmp_path / "again.yaml", mine.spelt_out().to_yaml()))
    assert again == mine.spelt_out()
    assert "extends" not in mine.to_yaml()


def test_a_new_stage_is_appended_and_a_length_replaces_the_other_kind(tmp_path: Path) -> None:
    stage = yaml.safe_load(load_recipe("fada-small").to_yaml())["stages"][1]
    text = yaml.safe_dump({"extends": "source-only-small", "name": "more", "stages": [stage]})
    assert [s.name for s in load_recipe(write(tmp_path / "a.yaml", text)).stages] == [
        "source-only",
        stage["name"],
    ]
    text = "extends: cyclegan\nname: short\nstages: [{name: translate, trainer: {steps: 5}}]\n"
    trainer = load_recipe(write(tmp_path / "b.yaml", text), task="translate").stages[0].trainer
    assert (trainer.steps, trainer.epochs) == (5, None)


def test_files_are_found_beside_the_recipe_and_chains_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "extends: nice-gan-small\nname: base\nload: 64\n")
    mine = write(tmp_path / "mine.yaml", "extends: base.yaml\nname: mine\nnetworks: {blocks: 2}\n")
    recipe = load_recipe(mine, task="translate")
    assert (recipe.load, recipe.networks, recipe.preset) == (64, {"blocks": 2}, "nice-gan-small")


def test_the_form_of_version_0_1_may_extend_too(tmp_path: Path) -> None:
    text = "extends: nice-gan-small\nname: old\ntrainer: {steps: 3}\noptions: {cycle_weight: 2}\n"
    (stage,) = load_recipe(write(tmp_path / "old.yaml", text), task="translate").stages
    assert (stage.trainer.steps, stage.trainer.batch, stage.options) == (3, 1, {"cycle_weight": 2})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("extends: mine.yaml\nname: mine\n", "extends itself"),
        ("extends: nothing-like-it\nname: mine\n", "no recipe or file 'nothing-like-it'"),
        ("extends: [a]\nname: mine\n", "extends is"),
        (
            "extends: bridge-small\nname: mine\nstagess: []\n",
            "stagess is not a known key .did you mean stages",
        ),
        ("extends: sean-small\nname: mine\n", "is a recipe of synthesize, not of adapt"),
    ],
)
def test_what_is_wrong_with_an_extension_is_named(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=named):
        load_recipe(write(tmp_path / "mine.yaml", text))


# --- changes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "steps"),
    [
        ("fada-small", "stages.1.trainer.steps=7", {1: 7}),
        ("fada-small", "stages.adversarial.trainer.steps=7", {1: 7}),
        ("fada-small", "adversarial.trainer.steps=7", {1: 7}),
        ("fada-small", "stages.*.trainer.steps=7", {0: 7, 1: 7, 2: 7}),
        ("mixnmatch-small", "feature.trainer.steps=7", {1: 7}),
        ("nice-gan-small", "trainer.steps=7", {0: 7}),
    ],
)
def test_a_change_names_a_stage(name: str, change: str, steps: dict[int, int]) -> None:
    task = recipe_names()[name]
    before, after = (load_recipe(name, changes, task) for changes in ([], [change]))
    for index, (old, new) in enumerate(zip(before.stages, after.stages, strict=True)):
        assert new.trainer.steps == steps.get(index, old.trainer.steps)


def test_a_stages_key_needs_its_stage_where_there_are_several() -> None:
    with pytest.raises(RecipeError, match=r"3 stages: write source-only\.trainer\.steps=7, or stages\.\*\."):
        load_recipe("fada-small", ["trainer.steps=7"])


def test_short_forms_change_every_stage() -> None:
    changes = short_forms(5, 2, "bf16")
    for name, task in (("fada-small", "adapt"), ("mixnmatch-small", "mix"), ("sean", "synthesize")):
        recipe = load_recipe(name, changes, task)
        assert {(s.trainer.steps, s.trainer.epochs, s.trainer.batch) for s in recipe.stages} == {(5, None, 2)}
        assert recipe.precision == "bf16"
    assert short_forms(None, None, None) == []


def test_short_forms_say_which_stages_they_change(
    world: World, stylebridge: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train_job, "run_stage", stop)
    data = ["--source", world.source, "--target", world.target, "--label-space", world.space]
    changes = [*tiny_overrides("fada-small"), "stages.*.trainer.checkpoint_every=2"]
    sets = [part for change in changes for part in ("--set", change)]
    run = ["--recipe", "fada-small", "--out", tmp_path / "run", "--steps", 5, "--device", "cpu"]
    said = stylebridge("adapt", *data, *run, *sets).err
    assert "steps = 5 in every stage: source-only, adversarial, self-distillation." in said


def test_a_recipe_of_another_task_is_named(stylebridge: CommandLine, tmp_path: Path) -> None:
    for task, name in (("translate", "sean-small"), ("mix", "fada"), ("adapt", "nice-gan")):
        with pytest.raises(RecipeError, match=rf"{name} is a recipe of \w+, not of {task}"):
            load_recipe(name, task=task)


# --- the commands ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_recipes_are_listed_and_shown(stylebridge: CommandLine) -> None:
    listed = stylebridge("recipes", "list").out
    assert all(name in listed for name in recipe_names())
    for task in TASKS:
        alone = stylebridge("recipes", "list", "--task", task).out
        assert all(name in alone for name in recipe_names(task))
        assert alone == stylebridge(task, "recipes").out
    shown = stylebridge("recipes", "show", "mixnmatch-small").out
    assert yaml.safe_load(shown)["stages"][1]["optimizers"]["feature_extractor"]["lr"] > 0
    stylebridge("recipes", "list", "--task", "paint").refused("no task 'paint'", "translate")


def test_options_before_a_command_of_adapt_mean_train(stylebridge: CommandLine, tmp_path: Path) -> None:
    for words in (("adapt",), ("adapt", "train")):
        stylebridge(*words, "--source", tmp_path / "none", "--target", tmp_path).refused(
            str(tmp_path / "none")
        )
