"""Recipes that are shipped, that lie in files, and that include each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfopt.errors import InvalidRecipe
from tfopt.passes.registry import BUILTIN, steps
from tfopt.recipe import dump_recipe, load_recipe, parse_recipe
from tfopt.recipe import shipped_recipes as shipped


def test_the_shipped_recipes_say_what_they_are_for() -> None:
    assert {"exact", "int8", "prune-int8"} <= shipped().keys()
    for name, path in shipped().items():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.description
        header = path.read_text().partition("\nname:")[0]
        assert all(line.startswith("#") for line in header.splitlines())
        assert "Use it" in header


#: Exact, and of no use but to a quantization or a pruning that comes behind, or to who names what nobody reads.
PREPARING = {"equalize", "smooth", "rotate_streams", "drop_outputs"}


def test_the_exact_recipe_holds_every_exact_pass_of_use_by_itself_and_no_other() -> None:
    recipe = load_recipe("exact")
    assert all(step.step.exact for step in recipe)
    useful = [name for name in BUILTIN if steps()[name].exact and name not in PREPARING]
    assert [step.step.name for step in recipe] == useful


def test_a_recipe_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yml"
    file.write_text("steps: [fold_constants]\n")
    assert load_recipe(str(file)).name == "mine"
    file.write_text("steps:\n- fold_constant\n")
    with pytest.raises(InvalidRecipe, match=r"mine\.yml:2: .*did you mean fold_constants"):
        load_recipe(str(file))
    file.write_bytes(b"name: \xff")
    with pytest.raises(InvalidRecipe, match="UTF-8"):
        load_recipe(str(file))
    with pytest.raises(InvalidRecipe, match=r"none\.yaml: .*No such file"):
        load_recipe(str(tmp_path / "none.yaml"))
    with pytest.raises(InvalidRecipe, match="cannot be read"):
        load_recipe(str(tmp_path))


def write(directory: Path, **recipes: str) -> Path:
    """Recipe files of these names; the path of the first."""
    directory.mkdir(exist_ok=True)
    for name, text in recipes.items():
        (directory / f"{name}.yaml").write_text(text)
    return directory / f"{next(iter(recipes))}.yaml"


def test_an_included_recipe_stands_in_the_place_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "tail.yaml").write_text("steps: [{repeat: [remove_dead]}, {include: ../last.yml}]")
    (tmp_path / "last.yml").write_text("steps: [{prune_magnitude: {sparsity: 0.25}}]")
    head = write(tmp_path, head="name: mine\nsteps: [fold_constants, include: deep/tail.yaml, tflite]")
    recipe = load_recipe(str(head))
    assert [step.step.name for step in recipe] == ["fold_constants", "remove_dead", "prune_magnitude", "tflite"]
    assert recipe.name == "mine"
    assert "include" not in dump_recipe(recipe)
    assert parse_recipe(dump_recipe(recipe), "again.yaml") == recipe


def test_a_shipped_recipe_comes_before_a_file_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "exact").write_text("steps: [remove_dead]")
    mine = write(tmp_path, mine="steps: [include: exact]")
    assert load_recipe(str(mine)).steps == load_recipe("exact").steps
    nearby = write(tmp_path, nearby="steps: [include: ./exact]")
    assert [step.step.name for step in load_recipe(str(nearby))] == ["remove_dead"]


def test_a_mistake_in_an_included_recipe_is_told_with_its_own_file_and_line(tmp_path: Path) -> None:
    mine = write(tmp_path, mine="steps: [include: wrong.yaml]", wrong="steps:\n  - fold_constant\n")
    with pytest.raises(InvalidRecipe, match=r"wrong\.yaml:2: .*did you mean fold_constants"):
        load_recipe(str(mine))


def test_recipes_that_include_each_other_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path, one="steps: [include: two.yaml]", two="steps:\n  - remove_dead\n  - include: ./one.yaml")
    with pytest.raises(
        InvalidRecipe, match=r"two\.yaml:3: include: a circle: \S*one\.yaml includes \S*two\.yaml includes \S*one\.yaml"
    ):
        load_recipe(str(one))
    alone = write(tmp_path, alone="steps: [include: alone.yaml]")
    with pytest.raises(InvalidRecipe, match=r"alone\.yaml:1: include: a circle"):
        load_recipe(str(alone))


def test_targets_and_steps_of_included_recipes_are_counted(tmp_path: Path) -> None:
    mine = write(tmp_path, mine="steps:\n  - tflite\n  - include: int8\n")
    with pytest.raises(InvalidRecipe, match=r"mine\.yaml:3: tflite is there twice"):
        load_recipe(str(mine))
    doubling = {f"r{n}": f"steps: [include: r{n + 1}.yaml, include: r{n + 1}.yaml]" for n in range(12)}
    first = write(tmp_path, **doubling, r12="steps: [remove_dead]")
    with pytest.raises(InvalidRecipe, match="more than 1000 steps"):
        load_recipe(str(first))


def test_a_name_that_does_not_exist_gets_the_nearest() -> None:
    with pytest.raises(InvalidRecipe, match="no recipe is called 'exat'; did you mean exact"):
        load_recipe("exat")


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_recipes_survive_a_round(name: str) -> None:
    recipe = load_recipe(name)
    assert parse_recipe(dump_recipe(recipe), "again.yaml") == recipe
