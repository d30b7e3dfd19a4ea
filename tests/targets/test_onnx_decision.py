"""What is decided about the bundled network, written as ONNX and run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import tfopt
from tfopt.data import load_samples, split
from tfopt.formats.saved_model import read_saved_model
from tfopt.learn.observe import SampleStatistics
from tfopt.passes.needs.statistics import Statistics
from tfopt.passes.registry import steps
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe
from tfopt.runtimes.onnxruntime import ONNXRuntime
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.fake_quant import with_fake_quant
from tfopt.targets.onnx import write_onnx

DEMO = Path(tfopt.__file__).parent / "demo"
SIGNATURE = "serving_default"


def test_the_bundled_network_is_integers_and_answers_as_decided(tmp_path: Path) -> None:
    network = run_pipeline(read_saved_model(DEMO / "fashion_cnn"), load_recipe("exact")).model
    network = replace(network, signatures={SIGNATURE: network.signatures[SIGNATURE]})
    inputs = {name: entry.type for name, entry in network.signatures[SIGNATURE].inputs.items()}
    samples = split(load_samples(DEMO / "fashion_mnist.npz", inputs, signature=SIGNATURE))
    given = {Statistics: SampleStatistics({SIGNATURE: samples.calibration})}
    decided = steps()["quantize"].run_model(network, {}, given).model
    artifact = write_onnx(decided, tmp_path / "m.onnx")
    assert artifact.notes == ()
    plain = write_onnx(network, tmp_path / "plain.onnx").path
    assert artifact.path.stat().st_size < 0.3 * plain.stat().st_size
    with ONNXRuntime(artifact.path) as runtime, ModelRunner(with_fake_quant(decided)) as reference:
        found, expected = (
            samples.held_out.map(lambda batch, of=of: of.run(SIGNATURE, batch), 50)["probabilities"]
            for of in (runtime, reference)
        )
    assert np.mean(found.argmax(-1) == expected.argmax(-1)) >= 0.99
    assert np.abs(found - expected).mean() < 0.002
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(str(artifact.path), options, providers=["CPUExecutionProvider"])
    ops = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert not ops & {"Conv", "FusedConv", "Gemm", "MatMul", "Relu", "MaxPool", "Add"}
