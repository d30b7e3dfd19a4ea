"""Layers that integers harm are found and given back to float, and no others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import combinations
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.sensitive import DEMO, HARMED, sabotaged
from tests.targets import ir_models
from tfopt.calibration_trials import FEW, CalibrationTrials, damage
from tfopt.data import Samples, Split, batching, load_samples, split
from tfopt.evidence import input_types
from tfopt.fidelity import Gate, judge
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.graph import Graph, Model, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.text import parse
from tfopt.ir.types import Tensor
from tfopt.learn.observe import SampleStatistics
from tfopt.passes.base import ModelOutcome
from tfopt.passes.needs.statistics import Statistics
from tfopt.passes.needs.trials import Trials, Verdict
from tfopt.passes.quantization.sensitivity import Sensitivity, sensitive
from tfopt.passes.registry import steps
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe, parse_recipe
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.fake_quant import with_fake_quant

KEY = "serving_default"
DEFAULT = Gate()


# The search, on layers whose damages add up.


@dataclass
class Additive(Trials):
    """A candidate is a graph of one node for each quantized layer; it holds when their damages are at most `limit`."""

    damage: Mapping[str, float]
    limit: float
    judged: list[frozenset[str]] = field(default_factory=list)
    measured: int = 0

    def judge(self, model: Model) -> Verdict:
        self.judged.append(quantized(model))
        total = sum(self.damage[name] for name in self.judged[-1])
        return Verdict(total <= self.limit, f"{total} of {self.limit}")

    def damages(self, model: Model, candidates: Iterable[Model]) -> Iterator[float]:
        for candidate in candidates:
            self.measured += 1
            yield sum(self.damage[name] for name in quantized(candidate))


def quantized(model: Model) -> frozenset[str]:
    return frozenset(node.name for node in model.graph)


def with_layers(names: Collection[str]) -> Model:
    return Model(Graph(tuple(Node(name, "Const") for name in sorted(names)), outputs=(Value("made"),)), {})


def searched(trials: Additive, *, give_back: bool = True, measure: bool = False) -> Sensitivity:
    names = list(trials.damage)
    return sensitive(names, with_layers(()), with_layers, trials, give_back=give_back, measure=measure)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40), st.integers(0, 3000))
def test_what_is_left_holds_and_not_one_layer_of_the_worst_could_stay(damages: list[int], limit: int) -> None:
    trials = Additive({f"layer{n}": amount for n, amount in enumerate(damages)}, limit)
    found = searched(trials)
    kept = sum(trials.damage.values()) - sum(trials.damage[name] for name in found.given_back)
    assert kept <= limit
    # The least of those given back is what would break the limit; so none of them could have stayed.
    assert all(kept + trials.damage[name] > limit for name in found.given_back)
    assert len(trials.judged) <= 2 + 2 * len(damages).bit_length() + 6


def test_where_the_limit_holds_nothing_more_is_run_than_the_whole() -> None:
    trials = Additive({"a": 1, "b": 2}, limit=3)
    assert searched(trials) == Sensitivity()
    assert trials.judged == [{"a", "b"}] and not trials.measured


def test_one_that_is_bearable_beside_the_others_is_taken_again() -> None:
    """What is measured of a layer alone is not what it does beside others."""

    class Masked(Additive):
        def judge(self, model: Model) -> Verdict:
            super().judge(model)
            return Verdict("culprit" not in quantized(model), "")

    trials = Masked({"loud": 5, "louder": 6, "culprit": 4, "quiet": 1}, limit=0)
    assert searched(trials).given_back == ("culprit",)


def test_damages_are_measured_when_asked_for_in_any_case() -> None:
    trials = Additive({"a": 1, "b": 2}, limit=3)
    assert searched(trials, measure=True) == Sensitivity({"b": 2, "a": 1})
    refused = Additive({"a": 1, "b": 2}, limit=0)
    assert searched(refused, give_back=False, measure=True).given_back == () and not refused.judged


def test_nothing_is_given_back_where_float_would_not_hold_either() -> None:
    trials = Additive({"a": 1, "b": 2}, limit=-1)
    found = searched(trials)
    assert found.given_back == () and not trials.measured
    (remark,) = found.remarks(with_layers("ab"))
    assert remark.node == "made" and not remark.done and "without any integers too: 0 of -1" in remark.message


# The bundled network.


@cache
def network() -> Model:
    return run_pipeline(read_saved_model(DEMO / "fashion_cnn"), load_recipe("exact")).model


@cache
def harmed() -> Model:
    return sabotaged()


@cache
def images() -> Split:
    return split(load_samples(DEMO / "fashion_mnist.npz", input_types(network().signatures[KEY]), signature=KEY))


def supply(model: Model, gate: Gate) -> dict[type, Any]:
    calibration = {KEY: images().calibration}
    return {
        Statistics: SampleStatistics(calibration),
        Trials: CalibrationTrials(model, calibration, gate, main=KEY),
    }


def decided(model: Model, gate: Gate = DEFAULT, **options: Any) -> ModelOutcome:
    return steps()["quantize"].run_model(model, options, supply(model, gate))


def outputs(model: Model, samples: str = "held_out") -> dict[str, NDArray[Any]]:
    given = images().held_out if samples == "held_out" else images().calibration
    with ModelRunner(with_fake_quant(model)) as runner:
        return given.map(lambda batch: runner.run(KEY, batch), 50)


def test_the_one_layer_that_is_harmed_is_given_back_and_the_gate_holds() -> None:
    expected = outputs(harmed())
    assert len(np.unique(expected["probabilities"].argmax(-1))) > 5
    gate = Gate.of(max_drop=1.5)
    refused = decided(harmed(), give_back=False)
    assert not judge(expected, outputs(refused.model), gate, exact=False).passed
    outcome = decided(harmed(), gate)
    assert judge(expected, outputs(outcome.model), gate, exact=False).passed
    (given_back,) = (finding for finding in outcome.findings if not finding.done)
    assert given_back.node == HARMED and given_back.damage is not None and given_back.damage > 0.3
    assert given_back.message.startswith("stays float: given back, since alone it moves the outputs by")
    assert "number 1 of 7 by damage" in given_back.message and "1.125 allowed" in given_back.message
    graph = outcome.model.graph
    assert graph[HARMED].inputs[1] not in graph.grids


def test_a_layer_that_was_given_back_leaves_what_skipping_it_leaves() -> None:
    given_back = decided(harmed(), round_results=True).model.graph
    skipped = decided(harmed(), give_back=False, skip=(HARMED,), round_results=True).model.graph
    assert given_back.grids == skipped.grids
    for value in given_back.grids:
        mine, other = given_back.constant(value), skipped.constant(value)
        assert (mine is None) == (other is None)
        assert mine is None or other is None or np.array_equal(mine.array, other.array)


def test_the_ledger_lists_every_damage_worst_first() -> None:
    recipe = parse_recipe("name: told\nsteps:\n  - quantize: {sensitivity: true}\n", "here")
    row = run_pipeline(network(), recipe, supply=supply(network(), Gate(max_drop=100.0))).ledger[-1].to_dict()
    listed = row["sensitivity"]
    assert len(listed) == 7 and all(entry["quantized"] for entry in listed)
    damages = [entry["damage"] for entry in listed]
    assert damages == sorted(damages, reverse=True) and damages[-1] > 0 and damages[0] < 0.05


@pytest.mark.parametrize("model", [network, harmed])
def test_damages_on_a_few_samples_are_those_on_others(model: Any) -> None:
    """Measured anew: each layer alone by `only`, on all held-out samples."""
    findings = decided(model(), Gate(max_drop=100.0), sensitivity=True).findings
    found = {finding.node: finding.damage for finding in findings if finding.damage is not None}
    expected = outputs(model())
    real = {name: damage(expected, outputs(decided(model(), give_back=False, only=(name,)).model)) for name in found}
    agreeing = [(found[a] > found[b]) == (real[a] > real[b]) for a, b in combinations(found, 2)]
    assert len(found) == 7 and images().held_out.count > FEW
    assert np.mean(agreeing) >= 0.85
    worst = max(found, key=lambda name: found[name])
    assert worst == max(real, key=lambda name: real[name])
    assert (worst == HARMED) == (model is harmed)


def test_labels_count_where_there_are_some() -> None:
    """Answers that change from one wrong class to another, or to the right one, are no loss of accuracy."""
    model = harmed()
    rounded = decided(model, give_back=False).model
    calibration = {KEY: images().calibration}
    classes = outputs(rounded, "calibration")["probabilities"].argmax(-1)
    unlabelled, labelled = (
        CalibrationTrials(model, calibration, Gate(max_drop=0.0), main=KEY, labels=labels) for labels in (None, classes)
    )
    assert not unlabelled.judge(rounded).holds
    assert labelled.judge(rounded).holds and "accuracy" in labelled.judge(rounded).text


def test_of_many_samples_a_thousand_are_run_with_their_labels() -> None:
    model, calibration = network(), images().calibration
    many = calibration.take(np.tile(np.arange(calibration.count), 13))
    classes = outputs(model, "calibration")["probabilities"].argmax(-1)
    trials = CalibrationTrials(model, {KEY: many}, DEFAULT, main=KEY, labels=np.tile(classes, 13))
    assert many.count == 2600
    assert "accuracy 100.00% → 100.00% on 1000 samples" in trials.judge(model).text


def test_a_table_with_one_row_out_of_all_proportion_is_given_back() -> None:
    text = """
        graph {
          %ids = Placeholder() {dtype: int32, shape: [?]} -> int32[?]
          %table = Const() {dtype: float32, value: float32[2048,8] random(1)} -> float32[2048,8]
          %axis = Const() {dtype: int32, value: int32[] 0} -> int32[]
          %rows = GatherV2(%table, %ids, %axis) {Tparams: float32, Tindices: int32, Taxis: int32} -> float32[?,8]
          inputs %ids
          outputs %rows
        }
    """
    graph = parse(text)
    array = np.array(graph["table"].tensor.array)
    array[7] = 1000.0
    editor = Editor(graph)
    editor.update(graph["table"].with_attrs(value=Tensor(array)))
    model = ir_models.model_of(editor.finish(), {KEY: ({"ids": "ids"}, {"rows": 0})})
    ids = np.arange(100, 140, dtype=np.int32)
    given = {KEY: Samples({"ids": ids}, "file", "", batching(input_types(model.signatures[KEY])))}
    supply = {Statistics: SampleStatistics(given), Trials: CalibrationTrials(model, given, DEFAULT, main=KEY)}
    kept = steps()["quantize"].run_model(model, {"give_back": False}, supply)
    assert kept.model.graph.grids and kept.findings[0].done
    outcome = steps()["quantize"].run_model(model, {}, supply)
    assert outcome.model is model
    assert (
        not outcome.findings[0].done and "given back, since alone it moves the outputs" in outcome.findings[0].message
    )


def places_above(threshold: float) -> Model:
    text = f"""
        graph {{
          %x = Placeholder() {{dtype: float32, shape: [?,4]}} -> float32[?,4]
          %c = Const() {{dtype: float32, value: float32[] {threshold}}} -> float32[]
          %above = Greater(%x, %c) {{T: float32}} -> bool[?,4]
          %at = Where(%above) {{T: bool}} -> int64[?,2]
          inputs %x
          outputs %at
        }}
    """
    return ir_models.model_of(parse(text), {KEY: ({"x": "x"}, {"at": 0})})


def test_outputs_of_another_shape_do_not_hold() -> None:
    model, other = places_above(0.0), places_above(1.0)
    given = Samples({"x": ir_models.normal(8, 4)}, "file", "", batching(input_types(model.signatures[KEY])))
    trials = CalibrationTrials(model, {KEY: given}, DEFAULT, main=KEY)
    assert trials.judge(model).holds
    verdict = trials.judge(other)
    assert not verdict.holds and "output 'at' is int64" in verdict.text
    assert list(trials.damages(model, [model, other])) == [0.0, inf]


def test_twin_signatures_are_run_once_and_judged_alike() -> None:
    model = network()
    twins = replace(model, signatures={KEY: model.signatures[KEY], "twin": model.signatures[KEY]})
    samples = images().calibration
    trials = CalibrationTrials(model, {KEY: samples}, Gate(), main=KEY)
    both = CalibrationTrials(twins, {KEY: samples, "twin": samples}, Gate(), main=KEY)
    rounded = decided(model, give_back=False).model
    assert both.judge(replace(rounded, signatures=twins.signatures)) == trials.judge(rounded)
