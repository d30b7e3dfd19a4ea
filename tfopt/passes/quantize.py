"""Decide which layers compute on 8-bit integers, and on which grids their values lie."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache, partial
from typing import Literal

from tfopt.errors import UsageError
from tfopt.ir.fused import Fused, fused_layers
from tfopt.ir.graph import Graph, Model, Value
from tfopt.ir.grid import Grid
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.needs.statistics import Observed, SecondMoments, Statistics
from tfopt.passes.needs.trials import Trials
from tfopt.passes.quantization.adaptive import rounded_adaptively
from tfopt.passes.quantization.decision import Decision
from tfopt.passes.quantization.eligible import (
    LARGEST,
    LEAST,
    check_patterns,
    layers_in_functions,
    layers_without_weight,
    left_out,
    quantized_already,
    reason_to_stay_float,
)
from tfopt.passes.quantization.regions import regions
from tfopt.passes.quantization.sensitivity import sensitive
from tfopt.passes.quantization.tables import table_told, tables
from tfopt.passes.quantization.trained import trained_ranges
from tfopt.passes.quantization.weights import RoundedWeights
from tfopt.passes.quantization.width import weight_bits


@graph_pass(exact=False)
def quantize(
    model: Model,
    statistics: Statistics,
    trials: Trials | None = None,
    moments: SecondMoments | None = None,
    *,
    ranges: Literal["auto", "min_max", "percentile", "mse", "entropy", "moving_average"] = "auto",
    reduce_range: bool | Literal["auto"] = False,
    rounding: Literal["nearest", "adaptive"] = "nearest",
    rounding_budget: float = 1000.0,
    correct_bias: bool = True,
    round_results: bool = False,
    only: tuple[str, ...] = (),
    skip: tuple[str, ...] = (),
    give_back: bool = True,
    sensitivity: bool = False,
) -> ModelOutcome:
    """Decide which layers compute on 8-bit integers, and on which grids their values lie.

        %y = MatMul(%x, %w)    ->    grid %x {bits: 8, scales: [0.02], signed: false, ...}
                                     grid %w {bits: 8, scales: [0.004, 0.007], axes: (1), narrow: true, ...}

    Convolutions, depthwise ones and matrix products of float32 with a constant weight, with their bias, residual sum,
    Relu and Relu6. Ops and dtypes stay what they are: the grids say what every target lowers to its own integer ops.
    `ranges` says how far a grid reaches: to the ends of what the samples made (`min_max`), without the outermost
    0.01 % (`percentile`), as far as makes the squared rounding error least (`mse`), or (`auto`) as far as makes its
    power of 2.5 least, so that what is cut off weighs more; or so that the elements are told apart best
    (`entropy`), or to the mean of the ends of each example (`moving_average`). `reduce_range` keeps weights within
    7 bits, for processors whose 8-bit products saturate (x86 without VNNI); `auto` does so where the limits of the
    run hold with it. `rounding: adaptive` rounds weights so that the layers' products on the samples change least,
    not the weights themselves; `rounding_budget` is how much that may take, in 10^9 multiply-adds. `correct_bias`
    makes up in the bias for what rounding the weights does to a channel's mean. `round_results` gives a grid to
    what convolutions make for float ops too, which some integer convolutions (stock TensorFlow's) cannot do
    without. `only` and `skip` are patterns (as in a shell) of layers. Those in loops and branches, those that no
    sample excites and those whose numbers are not finite stay float. A model that is quantized already is left as
    it is. Raises UsageError for a pattern that matches no layer.
    Where the limits of the run (`--max-drop`, `--min-cosine`) would not hold, `give_back` leaves the layers in float
    that do most damage, measured one by one without labels, until they hold on the calibration samples with a quarter
    to spare. `sensitivity` measures and tells the damage of every layer in any case.
    Tables that are looked up are rounded as weights are, with a scale for each column.
    Ranges that quantization-aware training has left, as FakeQuant ops of 8 bits, are kept in the place of `ranges`, and
    so are weights that it has put on their levels.
    Source: Jacob et al. 2018 (arXiv:1712.05877); Nagel et al. 2021 (arXiv:2106.08295), section 3; Frantar et al. 2022
    (arXiv:2210.17323) for adaptive rounding.
    """
    if rounding == "adaptive" and moments is None:
        raise UsageError("`rounding: adaptive` needs calibration samples, and none were given")
    trained = trained_ranges(model.graph)
    graph = trained.graph
    already = quantized_already(graph)
    if already is not None:
        return ModelOutcome(model, (already,))
    model = model if graph is model.graph else model.with_graph(graph)
    layers = {fused.layer.node.name: fused for fused in fused_layers(graph)}
    beyond = (*layers_without_weight(graph), *layers_in_functions(graph))
    names = [*layers, *(node.name for node in tables(graph)), *(finding.node for finding in beyond)]
    check_patterns(names, only, "only")
    check_patterns(names, skip, "skip")
    reasons = {name: left_out(name, only, skip) or reason_to_stay_float(graph, one) for name, one in layers.items()}
    candidates = {name: layers[name] for name, reason in reasons.items() if reason is None}
    asked = _values(graph, candidates.values(), round_results)
    observed = statistics.observe(model, asked) if candidates else {}
    reasons |= {name: _unfit(fused, observed, asked) for name, fused in candidates.items()}
    chosen = {name: fused for name, fused in candidates.items() if reasons[name] is None}
    kept = {node.name: node for node in tables(graph) if left_out(node.name, only, skip) is None}

    decision = Decision(model, chosen, kept, observed, ranges, round_results, correct_bias, trained.ranges)
    weights = cache(partial(_weights, decision, moments if rounding == "adaptive" else None, rounding_budget))

    def make(names: Collection[str], bits: int) -> Model:
        return decision.made(names, weights(bits))

    bits, why = weight_bits(reduce_range, partial(make, decision.names), trials)
    limited = partial(make, bits=bits)
    found = sensitive(decision.names, model, limited, trials, give_back=give_back, measure=sensitivity)
    reasons |= {name: found.reason(name) for name in found.given_back}
    made = limited([name for name in decision.names if reasons.get(name) is None])
    told = {name: _told(fused, made.graph.grids, observed) for name, fused in chosen.items() if reasons[name] is None}
    told |= {name: f"{told[name]}; {text}" for name, text in weights(bits).told.items() if name in told}
    told |= {name: table_told(node) for name, node in kept.items()}
    findings = [
        Finding(name, True, found.told(name, told[name]), found.damages.get(name))
        if reasons.get(name) is None
        else Finding(name, False, f"stays float: {reasons[name]}", found.damages.get(name))
        for name in (*layers, *kept)
    ]
    of_all = (Finding(model.graph.outputs[0].node, True, why),) if why and decision.names else ()
    return ModelOutcome(made, (*trained.findings, *findings, *beyond, *of_all, *found.remarks(model)))


def _weights(decision: Decision, moments: SecondMoments | None, budget: float, bits: int) -> RoundedWeights:
    return RoundedWeights(bits) if moments is None else rounded_adaptively(decision, bits, moments, budget)


def _values(graph: Graph, layers: Collection[Fused], round_results: bool) -> Collection[Value]:
    """All that may get a grid when some of the layers turn out unfit, which only makes it less."""
    outputs = {layer.output for layer in layers}
    return regions(graph, layers, round_results=round_results).values | outputs


def _unfit(layer: Fused, observed: Mapping[Value, Observed], asked: Collection[Value]) -> str | None:
    """What in the layer's numbers speaks against integers, if anything does."""
    parts = {"data": layer.layer.data_value, "product": layer.summed, "residual": layer.residual}
    for what, value in (*parts.items(), ("output", layer.output)):
        if value is None or value not in asked:
            continue
        seen = observed.get(value)
        if seen is None:
            return "no sample reaches it"
        if seen.not_finite:
            return f"its {what} is not finite {seen.not_finite:,} times in the samples"
        largest = max(seen.high, -seen.low)
        if largest > LARGEST or 0 < largest < LEAST:
            return f"its {what} reaches to {largest:.3g}, beyond what integer kernels can scale"
        if what == "data" and not largest:
            return "its data is 0 in every sample, which says nothing about its range"
    return None


def _told(layer: Fused, grids: Mapping[Value, Grid], observed: Mapping[Value, Observed]) -> str:
    data, output, seen = grids[layer.layer.data_value], grids.get(layer.output), observed[layer.output]
    if output is not None:
        made = f"output in {_interval(output.low, output.high)}"
    else:
        made = f"float output in {_interval(seen.low, seen.high)}"
    dead = ", 0 in every sample" if seen.low == seen.high == 0 else ""
    return f"int8, data in {_interval(data.low, data.high)}, {made}{dead}"


def _interval(low: float, high: float) -> str:
    return f"[{low:.4g}, {high:.4g}]"
