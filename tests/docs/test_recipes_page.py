"""The recipe of docs/recipes.md is read as the page says, and so are its changes."""

import re
from pathlib import Path

from stylebridge.jobs.recipe.reading import load_recipe

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"


def test_the_recipe_and_the_changes_of_the_page(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (recipe,) = re.findall(r"```yaml\n(.+?)```", text, re.S)
    changes = re.findall(r"`--set '?([^`' ]+=\d+)'?`", text)
    (tmp_path / "mine.yaml").write_text(recipe, encoding="utf-8")
    plain = load_recipe(tmp_path / "mine.yaml")
    assert (plain.name, plain.seed) == ("mine", 1)
    assert [stage.trainer.steps for stage in plain.stages] == [300, 300, 600]
    changed = load_recipe(tmp_path / "mine.yaml", changes[:3])
    assert [stage.trainer.steps for stage in changed.stages] == [100, 100, 600]
    assert {stage.trainer.batch for stage in changed.stages} == {2}
    single = load_recipe("nice-gan-small", changes[3:], "translate")
    assert single.stages[0].trainer.steps == 100


def test_commands_with_the_options_of_the_page() -> None:
    from typer.main import get_command

    from stylebridge.cli import app

    train = get_command(app).commands["translate"].commands["train"]  # type: ignore[attr-defined]
    options = {name for parameter in train.params for name in parameter.opts}
    assert set(re.findall(r"`(--[a-z]+)", PAGE.read_text(encoding="utf-8"))) - {"--task"} <= options
