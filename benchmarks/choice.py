"""Which models a benchmark is asked for on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Collection


def chosen_models(description: str | None, known: Collection[str]) -> list[str]:
    """Names out of `known`, none where all are meant; ends the process with a message for another."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(known))
    chosen: list[str] = parser.parse_args().models
    if unknown := sorted(set(chosen) - set(known)):
        parser.error(f"unknown model {unknown[0]}: choose from {', '.join(known)}")
    return chosen
