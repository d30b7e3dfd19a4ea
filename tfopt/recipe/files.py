"""Where recipes lie, and their text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tfopt.errors import InvalidRecipe, nearest

_PACKAGE = Path(__file__).resolve().parents[1]
_SUFFIXES = (".yaml", ".yml")


def shipped_recipes() -> Mapping[str, Path]:
    """Path of each shipped recipe by name. They lie in the package once installed, beside it in a checkout."""
    inside = _PACKAGE / "recipes"
    directory = inside if inside.is_dir() else _PACKAGE.parent / "recipes"
    return {path.stem: path for path in sorted(directory.glob("*.yaml"))}


def find_recipe(name_or_path: str, directory: Path | None = None) -> Path:
    """The file of a shipped recipe, else the path, taken from `directory` when it is relative.

    Raises InvalidRecipe for a word that is neither the name of a shipped recipe nor a file.
    """
    shipped = shipped_recipes()
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path) if directory is None else directory / name_or_path
    if not path.exists() and path.suffix not in _SUFFIXES and Path(name_or_path).name == name_or_path:
        raise InvalidRecipe(f"no recipe is called {name_or_path!r}", hint=nearest(name_or_path, shipped))
    return path


def read_recipe(path: Path) -> str:
    """The text of a recipe's file. Raises InvalidRecipe when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidRecipe(f"the recipe cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise InvalidRecipe("the recipe is no UTF-8 text", where=str(path)) from error
    except ValueError as error:  # a NUL in the path
        raise InvalidRecipe(f"the recipe cannot be read: {error}", where=repr(str(path))) from error


def display_name(path: Path) -> str:
    """How errors name the file: a shipped one without its directory."""
    return path.name if path in shipped_recipes().values() else str(path)
