"""Every form of integer layer with weights of 7 bits, on what oneDNN is told to take the processor for."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.targets.integer_layers import inputs_of, layer_model, meant
from tests.targets.test_native_layers import FORMS
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.native_lowering.lowering import with_native_int8


def main() -> None:
    """Say which forms are more than a step away, each called from four sides at once."""
    for form in dict.fromkeys(replace(form, bits=7) for form in FORMS):
        model = layer_model(form)
        inputs = inputs_of(model.graph, 3)
        (expected,) = meant(model, inputs)
        scale = model.graph.grids[model.graph.outputs[0]].scale
        with ModelRunner(with_native_int8(model).model, threads=4) as runner, ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(runner.run, "serving_default", inputs) for _ in range(8)]
            for found in (call.result()["y0"] for call in calls):
                off = np.abs(np.clip(found, expected.min(), expected.max()) - expected).max() / scale
                if off > 1.01:
                    print(f"{form}: {off:.2f} steps")


@pytest.mark.parametrize("isa", ["AVX2", "AVX512_CORE"])
def test_no_form_is_wrong_on_a_processor_without_vnni(isa: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": isa},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == ""


if __name__ == "__main__":
    main()
