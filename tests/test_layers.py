"""The rooms' order, held by reading every import: a lower room never imports an upper one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tfopt

PACKAGE = Path(tfopt.__file__).parent

#: Lowest first; rooms on one level do not import each other, except where named in SIDEWAYS.
LEVELS = [
    {"errors", "nest", "processes", "requirements", "words"},
    {"ir"},
    {"passes", "formats", "store", "data", "client"},
    {"recipe", "targets", "runtimes"},
    {"keras", "learn", "evidence", "ledger", "fidelity"},
    {"pipeline", "advice", "trial", "calibration_trials", "ledger_notes", "preflight"},
    {"proof", "race", "standing"},
    {"supply"},
    {"compression", "inspection", "measure", "publisher", "serve", "training"},
    {"report"},
    {"demo"},
    {"cli"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
#: Samples may come from a model's own warmup records, whose format is an edge; a TFLite is converted from a SavedModel.
SIDEWAYS = {("data", "formats")}


def rooms() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        room = relative.parts[0] if len(relative.parts) > 1 else relative.stem
        found.setdefault(room, []).append(path)
    return found


def imported_rooms(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tfopt."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "tfopt":
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("tfopt."))
    return names - {"__version__"}


@pytest.mark.parametrize("room", sorted(set(rooms()) - {"__init__", "__main__"}))
def test_a_room_imports_only_lower_rooms(room: str) -> None:
    assert room in LEVEL, f"{room} has no place in ARCHITECTURE.md's order"
    for path in rooms()[room]:
        for other in imported_rooms(path) - {room}:
            allowed = LEVEL[other] < LEVEL[room] or (room, other) in SIDEWAYS
            assert allowed, f"{path.relative_to(PACKAGE)} imports {other}"


def test_publish_and_serve_share_only_the_store() -> None:
    for path in rooms()["serve"]:
        assert "publisher" not in imported_rooms(path)
    for path in rooms().get("publisher", []):
        assert "serve" not in imported_rooms(path)
