"""What is told of a step."""

from __future__ import annotations

from tfopt.ir.graph import Graph, Model
from tfopt.passes.base import graph_pass
from tfopt.passes.needs.statistics import Statistics
from tfopt.report.passes_table import step_text, to_dict


@graph_pass(exact=False)
def guess(model: Model, statistics: Statistics, *, rate: float = 0.5) -> Model:
    """Guess from the samples."""
    return model


@graph_pass
def settle(graph: Graph) -> Graph:
    """Settle what is open."""
    return graph


def test_what_a_step_needs_is_told() -> None:
    assert step_text(guess).splitlines() == [
        "guess (lossy, needs Statistics)",
        "",
        "Guess from the samples.",
        "",
        "Options:",
        "  rate: float = 0.5",
    ]
    assert step_text(settle).startswith("settle (exact)\n")
    assert (to_dict(guess)["needs"], to_dict(settle)["needs"]) == (["Statistics"], [])
