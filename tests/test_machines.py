"""What is made of a version on integers by machines that can run it and by those that cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tfopt
from tests import int8_versions
from tests.conftest import Builder
from tests.int8_versions import NO_VNNI, images
from tests.serve.conftest import ask_at
from tfopt.errors import UnmetRequirement
from tfopt.runtimes.load import open_artifact
from tfopt.store import read_manifest

Built = Callable[[Builder], Path]
Machine = Mapping[str, str]
ISA = "ONEDNN_MAX_CPU_ISA"
OPTS = "TF_ENABLE_ONEDNN_OPTS"


@contextmanager
def served(machine: Machine, *arguments: str | Path) -> Iterator[tuple[tfopt.Client, dict[str, Any], list[str]]]:
    """A client of a server on such a machine, what the server says of version 1, and, at the end, its log."""
    command = [sys.executable, "-m", "tfopt", "serve", *map(str, arguments), "--port", "0", "--json"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **machine})
    log: list[str] = []
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline() or json.dumps({"url": process.communicate()[1]}))["url"]
        (version,) = ask_at(url, "GET", "/tfopt/v1/models").json["models"][0]["versions"]
        with tfopt.Client(url) as client:
            yield client, version, log
    finally:
        process.terminate()
        log += process.communicate(timeout=30)[1].splitlines()


def answers(path: Path) -> dict[str, NDArray[Any]]:
    with open_artifact(path) as runtime:
        return runtime.run("serving_default", {"image": images(16, seed=5)})


def asked(client: tfopt.Client) -> dict[str, NDArray[Any]]:
    return client.outputs("m", {"image": images(16, seed=5)})


def noise(found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> float:
    """The largest share of an output that the difference is."""
    return max(float(np.linalg.norm(found[k] - expected[k]) / np.linalg.norm(expected[k])) for k in expected)


def proven(version: Path, kind: str) -> float:
    """The same, as the manifest says that the gate has measured it."""
    manifest = read_manifest(version)
    assert manifest is not None
    outputs = manifest.artifacts[kind]["fidelity"]["serving_default"]["outputs"].values()
    return float(max(10 ** (-output["snr_db"] / 20) for output in outputs))


@pytest.mark.parametrize("machine", NO_VNNI, ids=lambda machine: machine[ISA])
def test_the_tflite_serves_where_the_savedmodel_would_be_wrong(built: Built, machine: Machine) -> None:
    version = built(int8_versions.eight_bits)
    with served(machine, f"m={version}", "--prefer", "tensorflow") as (client, told, log):
        assert told["artifact"] == "tflite"
        reason = f"it requires VNNI, and {ISA}={machine[ISA]} keeps oneDNN from using that"
        assert told["unmet"] == {"saved_model": reason}
        found = asked(client)
    lite, original = answers(version / "model.tflite"), answers(version.with_name("branched"))
    for name, expected in lite.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-6)
    assert noise(found, original) < 1.5 * proven(version, "tflite")
    assert sum(reason in line for line in log) == 1
    assert any("its saved_model cannot be run on this machine, its tflite serves" in line for line in log)


@pytest.mark.parametrize("machine", NO_VNNI, ids=lambda machine: machine[ISA])
def test_weights_of_7_bits_are_served_by_tensorflow(built: Built, machine: Machine) -> None:
    version = built(int8_versions.seven_bits)
    with served({**machine, OPTS: "1"}, f"m={version}", "--prefer", "tensorflow") as (client, told, _):
        assert (told["artifact"], told.get("unmet")) == ("saved_model", None)
        found = asked(client)
    assert noise(found, answers(version.with_name("branched"))) < 1.5 * proven(version, "saved_model")


def test_without_onednn_the_kernel_that_joins_integers_is_missing(built: Built) -> None:
    """Which is how TensorFlow comes on processors without VNNI."""
    version = built(int8_versions.seven_bits)
    with served({**NO_VNNI[0], OPTS: "0"}, f"m={version}", "--prefer", "tensorflow") as (client, told, _):
        assert told["artifact"] == "tflite"
        assert "no kernel while oneDNN is turned off" in told["unmet"]["saved_model"]
        found = asked(client)
    assert noise(found, answers(version.with_name("branched"))) < 1.5 * proven(version, "tflite")


def test_a_savedmodel_that_is_asked_for_is_refused(built: Built) -> None:
    command = [sys.executable, "-m", "tfopt", "serve", str(built(int8_versions.eight_bits)), "--runtime", "tensorflow"]
    done = subprocess.run(
        [*command, "--port", "0"],
        capture_output=True,
        text=True,
        env={**os.environ, **NO_VNNI[0]},
        timeout=60,
        check=False,
    )
    assert done.returncode == UnmetRequirement.exit_code
    said = done.stderr.splitlines()[-1]
    assert f"cannot be served on this machine: the SavedModel: it requires VNNI, and {ISA}=AVX2" in said
    assert "--runtime auto" in said
