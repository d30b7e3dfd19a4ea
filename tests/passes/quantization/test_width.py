"""7 bits or 8, where it is left to be found out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.passes.decided import IMAGE, Told, conv, model_of
from tfopt.ir.graph import Model, Value
from tfopt.passes.needs.trials import Verdict
from tfopt.passes.quantize import quantize
from tfopt.passes.registry import steps
from tfopt.recipe import parse_recipe


@dataclass
class Bits:
    """Trials that hold for weights of at least so many bits."""

    least: int
    judged: list[int] = field(default_factory=list)

    def judge(self, model: Model) -> Verdict:
        self.judged.append(model.graph.grids[Value("y_w")].bits)
        return Verdict(self.judged[-1] >= self.least, f"{self.judged[-1]} bits were tried")

    def damages(self, model: Model, candidates: Iterable[Model]) -> Iterator[float]:
        return iter(())


MODEL = model_of(IMAGE + conv("y", "x"), "%y")


@pytest.mark.parametrize(
    ("least", "bits", "told"),
    [
        (7, 7, "weights have 7 bits, so that processors without VNNI compute right: 7 bits were tried"),
        (8, 8, "weights have 8 bits, which need VNNI on x86: with 7 and a quarter in reserve, 7 bits were tried"),
    ],
)
def test_seven_bits_are_taken_where_they_hold(least: int, bits: int, told: str) -> None:
    outcome = quantize(MODEL, Told(MODEL.graph, {}), Bits(least), reduce_range="auto")
    assert outcome.model.graph.grids[Value("y_w")].bits == bits
    assert told in [finding.message for finding in outcome.findings]


@pytest.mark.parametrize(("asked", "bits"), [(True, 7), (False, 8)])
def test_what_is_asked_for_is_not_tried(asked: bool, bits: int) -> None:
    trials = Bits(bits)
    quantize(MODEL, Told(MODEL.graph, {}), trials, reduce_range=asked, give_back=False)
    assert trials.judged == []


def test_with_nothing_to_try_it_on_weights_have_8_bits() -> None:
    outcome = quantize(MODEL, Told(MODEL.graph, {}), reduce_range="auto")
    assert outcome.model.graph.grids[Value("y_w")].bits == 8
    assert "weights have 8 bits: nothing was at hand to try 7 on" in [one.message for one in outcome.findings]


def test_a_recipe_takes_all_three() -> None:
    assert steps()["quantize"].options["reduce_range"].type_name == "bool | auto"
    for text, value in (("true", True), ("false", False), ("auto", "auto")):
        (step,) = parse_recipe(f"name: x\nsteps:\n  - quantize: {{reduce_range: {text}}}\n", "here")
        assert step.options["reduce_range"] == value
