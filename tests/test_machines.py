"""What is made of a version on integers by machines that can run it and by those that cannot."""

from __future__ import annotations

import json
import os
import shutil
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
from tfopt.formats.serving.warmup import WARMUP_PATH
from tfopt.inspection import inspect_model
from tfopt.runtimes.load import open_artifact
from tfopt.store import MANIFEST_PATH, read_manifest, write_manifest

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


def test_integers_are_joined_where_onednn_is_turned_off(built: Built) -> None:
    """Which is how TensorFlow comes on processors without VNNI."""
    version = built(int8_versions.seven_bits)
    with served({**NO_VNNI[0], OPTS: "0"}, f"m={version}", "--prefer", "tensorflow") as (client, told, _):
        assert (told["artifact"], told.get("unmet")) == ("saved_model", None)
        found = asked(client)
    assert noise(found, answers(version.with_name("branched"))) < 1.5 * proven(version, "saved_model")


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


def tfopt_on(machine: Machine, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tfopt", *map(str, arguments)]
    environment = {**os.environ, **machine}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


def test_publishing_asks_for_a_proof_and_not_for_a_processor(built: Built, tmp_path: Path) -> None:
    version = tmp_path / "version"
    shutil.copytree(built(int8_versions.eight_bits), version)
    done = tfopt_on(NO_VNNI[0], "publish", version, tmp_path / "m", "--json")
    assert done.returncode == 0, done.stderr
    published = json.loads(done.stdout)
    assert list(published["ran"]) == ["tflite"]
    assert any("the SavedModel was not run on this machine, as it requires VNNI" in note for note in published["notes"])
    before, after = read_manifest(version), read_manifest(tmp_path / "m" / "1")
    assert before is not None and after is not None
    assert (after.signatures, after.artifacts) == (before.signatures, before.artifacts)
    assert (tmp_path / "m" / "1" / WARMUP_PATH).is_file()

    (version / "model.tflite").unlink()
    artifacts = {"saved_model": before.artifacts["saved_model"]}
    write_manifest(version, before.with_entries(artifacts=artifacts))
    done = tfopt_on(NO_VNNI[0], "publish", version, tmp_path / "alone")
    assert done.returncode == 0 and "requests answered before: none" in done.stdout
    assert not (tmp_path / "alone" / "1" / WARMUP_PATH).exists(), "nothing has answered any"

    (version / MANIFEST_PATH).unlink()
    done = tfopt_on(NO_VNNI[0], "publish", version, tmp_path / "unproven")
    assert done.returncode == UnmetRequirement.exit_code
    assert "8-bit products saturate" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "unproven").exists()


def test_versions_name_what_they_require(built: Built, tmp_path: Path) -> None:
    version = built(int8_versions.eight_bits)
    (tmp_path / "1").symlink_to(version, target_is_directory=True)
    done = tfopt_on(NO_VNNI[0], "versions", "list", tmp_path)
    assert "saved_model (oneDNN, VNNI), tflite" in done.stdout
    assert "note: the saved_model of version 1 cannot be run on this machine: it requires VNNI" in done.stderr
    (entry,) = json.loads(tfopt_on(NO_VNNI[0], "versions", "list", tmp_path, "--json").stdout)["versions"]
    assert entry["requires"] == {"saved_model": ["oneDNN", "VNNI"], "tflite": []}
    assert list(entry["unmet"]) == ["saved_model"]


def test_inspect_tells_what_runs_here(built: Built, tmp_path: Path) -> None:
    version = built(int8_versions.eight_bits)
    found = json.loads(tfopt_on(NO_VNNI[0], "inspect", version, "--json").stdout)
    original = inspect_model(version.with_name("branched"))
    assert found["integer_layers"] > 3 and original.integer_layers == 0
    assert original.figures is not None and original.artifacts == ()
    assert found["figures"]["macs"] == original.figures.macs
    stand = {one["kind"]: (one["requires"], one["runs_here"], one["passed_gate"]) for one in found["artifacts"]}
    assert stand == {"saved_model": (["oneDNN", "VNNI"], False, True), "tflite": ([], True, True)}
    assert found["artifacts"][0]["why_not"].startswith("it requires VNNI")

    shutil.copy(version / "saved_model.pb", tmp_path)
    text = tfopt_on(NO_VNNI[0], "inspect", tmp_path).stdout
    assert "int8: " in text
    (row,) = (line for line in text.splitlines() if line.startswith("saved_model "))
    assert "not compared" in row and "oneDNN, VNNI" in row and "no: it requires VNNI" in row


@pytest.mark.parametrize(
    ("builder", "requires"), [(int8_versions.eight_bits, ("oneDNN", "VNNI")), (int8_versions.seven_bits, ("oneDNN",))]
)
def test_publishing_what_has_no_manifest_finds_out_what_its_ops_require(
    built: Built, tmp_path: Path, builder: Builder, requires: tuple[str, ...]
) -> None:
    """So that a server without that knows why before it loads it."""
    for name in ("saved_model.pb", "variables"):
        part = built(builder) / name
        if part.is_dir():
            shutil.copytree(part, tmp_path / "plain" / name)
        elif part.exists():
            (tmp_path / "plain").mkdir(exist_ok=True)
            shutil.copy(part, tmp_path / "plain")
    done = tfopt.publish(tmp_path / "plain", tmp_path / "m")
    manifest = read_manifest(done.path)
    assert manifest is not None and manifest.requires("saved_model") == requires
    if "VNNI" in requires:
        refused = tfopt_on(NO_VNNI[0], "serve", tmp_path / "m" / "1", "--port", "0")
        assert refused.returncode == UnmetRequirement.exit_code
        assert f"the SavedModel: it requires VNNI, and {ISA}=AVX2 keeps oneDNN from using that" in refused.stderr


def test_bench_refuses_what_would_be_wrong(built: Built) -> None:
    done = tfopt_on(NO_VNNI[0], "bench", built(int8_versions.eight_bits), "--seconds", "0.1")
    assert done.returncode == UnmetRequirement.exit_code
    assert "8-bit products saturate: answers would be wrong" in done.stderr.splitlines()[-1]


def test_compress_says_before_the_work_what_it_cannot_prove(built: Built, tmp_path: Path) -> None:
    original = built(int8_versions.seven_bits).with_name("branched")
    samples = original.with_name("images.npz")
    wide = ["compress", original, tmp_path / "wide", "--quantize", "int8", "--data", samples]
    done = tfopt_on(NO_VNNI[0], *wide)
    assert done.returncode == UnmetRequirement.exit_code
    said = done.stderr.splitlines()[-1]
    assert "a model with 8-bit weights cannot be proven on this machine" in said and "--reduce-range" in said
    assert not (tmp_path / "wide").exists()
    manifest = read_manifest(built(int8_versions.seven_bits))
    assert manifest is not None and manifest.requires("saved_model") == ("oneDNN",), "which this machine has made"
