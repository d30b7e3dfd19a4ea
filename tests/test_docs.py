"""The docs can't rot: what they show is run, what there is they name, what they link to is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tfopt.cli.main import app
from tfopt.passes.registry import steps
from tfopt.recipe import parse_recipe, shipped_recipes

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLE = ROOT / "examples" / "linear_regression.py"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def blocks(page: Path, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(page.read_text()) if found == language]


def commands(page: Path) -> list[str]:
    """Every `tfopt ...` line of the page's shell blocks, without comments."""
    lines = [line for block in blocks(page, "") for line in block.splitlines()]
    return [line.partition("  #")[0].strip(" $&") for line in lines if line.lstrip("$ ").startswith("tfopt ")]


def test_the_example_in_the_readme_is_the_file() -> None:
    assert EXAMPLE.read_text() in blocks(README, "python")


def test_the_example_runs_and_predicts(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert abs(float(done.stdout.strip().strip("[]")) - 9) < 0.5
    code = [line for line in EXAMPLE.read_text().splitlines() if line.strip()]
    assert len(code) < 20


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def known_options(command: str) -> set[str]:
    shown = subprocess.run(
        [sys.executable, "-m", "tfopt", *shlex.split(command), "--help"], capture_output=True, text=True, check=True
    ).stdout
    return set(re.findall(r"(?<![\w-])--[a-z][a-z_-]*", shown))


@pytest.fixture(scope="session")
def options_of() -> dict[str, set[str]]:
    return {}


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "cli.md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_in_the_docs_exist_with_their_options(page: Path, options_of: dict[str, set[str]]) -> None:
    for line in commands(page):
        words = shlex.split(line)[1:]
        command = " ".join(words[:2]) if words[0] == "versions" else words[0]
        if command not in options_of:
            options_of[command] = known_options(command)
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= options_of[command], line


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_recipes_in_the_docs_parse(page: Path) -> None:
    for text in blocks(page, "yaml"):
        parse_recipe(text, page.name)


def test_every_pass_recipe_and_command_is_in_the_docs() -> None:
    reference = {p.name: p.read_text() for p in (ROOT / "docs" / "reference").glob("*.md")}
    for name in steps():
        assert f"## {name}\n" in reference["passes.md"]
    for name in shipped_recipes():
        assert f"## {name}\n" in reference["recipes.md"]
    names = [command.name for command in app.registered_commands] + [group.name for group in app.registered_groups]
    for command in names:
        assert f"## tfopt {command}\n" in reference["cli.md"]


def test_generated_pages_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_test_that_a_feature_of_tensorflow_serving_is_held_by_is_there() -> None:
    page = ROOT / "docs" / "reference" / "serving-contract.md"
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", page.read_text())
    assert len(named) > 60
    for file, test in named:
        path = ROOT / file if file.startswith("tests/") else ROOT / "tests" / "serve" / file
        assert f"def {test}(" in path.read_text(), f"{file} has no {test}"
