"""What `compress` hands to the steps that need samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests import models
from tfopt.compression import compress
from tfopt.evidence import gather_evidence
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.graph import Model, Value
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.needs.statistics import Statistics
from tfopt.recipe import Recipe, RecipeStep


@graph_pass
def tell_inputs(model: Model, statistics: Statistics) -> ModelOutcome:
    """Tell between which ends every input lies."""
    values = [Value(name) for name in model.graph.inputs]
    found = statistics.observe(model, values)
    ends = (Finding(value.node, False, f"{one.low} {one.high}") for value, one in found.items())
    return ModelOutcome(model, tuple(ends))


ENDS = Recipe("ends", (RecipeStep(tell_inputs, {}),))


def test_statistics_are_of_the_calibration_samples_alone(tmp_path: Path) -> None:
    source = models.two_signatures(tmp_path / "model")
    data = {}
    for key in ("serving_default", "score"):
        data[key] = str(tmp_path / f"{key}.npz")
        x = models.weights(12, 5, seed=len(key))
        arrays = {"x": x, "scale": models.weights(12)} if key == "serving_default" else {"x": x}
        np.savez(data[key], **arrays)
    result = compress(source, tmp_path / "out", recipe=ENDS, data=data)
    told = {finding.node: finding.message for finding in result.ledger[1].findings}
    model = read_saved_model(source)
    splits = gather_evidence(source, model, data=data).splits
    expected = {
        entry.node: splits[key].calibration.arrays[name][:]
        for key, signature in model.signatures.items()
        for name, entry in signature.inputs.items()
    }
    assert told == {node: f"{float(array.min())} {float(array.max())}" for node, array in expected.items()}


def test_ranges_of_synthetic_samples_are_said_to_be_guesses(tmp_path: Path) -> None:
    result = compress(models.linear(tmp_path / "model"), tmp_path / "out", recipe=ENDS)
    assert [finding.node for finding in result.ledger[1].findings] == ["x"]
    assert any("int8 ranges calibrated on them are guesses" in note for note in result.notes)
