"""Requests that are logged, read back as what they are good for: warmup, and samples."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfopt
from tests.serve.asking import BODY, PREDICT, ROW
from tests.serve.conftest import Publish, ask_at
from tests.serve.test_metrics import find, read
from tfopt.data import load_samples
from tfopt.errors import RequestError
from tfopt.formats.serving.api import PredictionLog
from tfopt.formats.serving.warmup import WARMUP_PATH, read_warmup
from tfopt.formats.tfrecord import decode_records
from tfopt.ir import DType, Shape, TensorType
from tfopt.serve.metrics import Metrics
from tfopt.serve.request_log import log as request_log
from tfopt.serve.request_log.log import RequestLog, Target
from tfopt.serve.request_log.records import Inputs, prediction_log
from tfopt.serve.request_log.targets import LogSettings
from tfopt.serve.versions.config import ModelConfig, RequestLogging, check_configs
from tfopt.serve.versions.servable import Run

X = np.array([[1.0, 2.0, 5.0]], np.float32)
Y = np.array([8.0], np.float32)


def run(api: str = "Predict", **inputs: np.ndarray[Any, Any]) -> Run:
    return Run(api, 3, "tflite", "serving_default", inputs or {"x": X}, {"y": Y}, 0.001)


def parsed(record: bytes) -> Any:
    log = PredictionLog()
    log.ParseFromString(record)
    return log


def made(one: Run, inputs: Inputs = "keep") -> Any:
    return parsed(prediction_log("m", one, inputs=inputs, rate=0.5, seconds=1234))


def logged(directory: Path) -> list[Any]:
    return [
        parsed(record) for path in sorted(directory.iterdir()) for record in decode_records(path.read_bytes(), "log")
    ]


# -- records -----------------------------------------------------------------------------------------------------------


def test_a_predict_request() -> None:
    log = made(run())
    metadata, predict = log.log_metadata, log.predict_log
    assert (metadata.model_spec.name, metadata.model_spec.version.value) == ("m", 3)
    assert (metadata.sampling_config.sampling_rate, metadata.timestamp_secs) == (0.5, 1234)
    assert predict.request.model_spec.signature_name == "serving_default"
    assert not predict.request.model_spec.HasField("version"), "it can be replayed on any version"
    assert predict.response.model_spec.version.value == 3
    assert np.frombuffer(predict.request.inputs["x"].tensor_content, np.float32).tolist() == [1, 2, 5]
    assert np.frombuffer(predict.response.outputs["y"].tensor_content, np.float32).tolist() == [8]


def test_inputs_that_nobody_may_read() -> None:
    assert not made(run(), "omit").predict_log.request.inputs
    (digest,) = made(run(), "hash").predict_log.request.inputs["x"].string_val
    assert len(digest) == 64 and b"5" not in X.tobytes()
    assert [digest] == list(made(run(x=X.copy()), "hash").predict_log.request.inputs["x"].string_val)
    for other in (X + 1, X.reshape(3), X.astype(np.float64), np.array([b"a", b"bc"], object)):
        assert [digest] != list(made(run(x=other), "hash").predict_log.request.inputs["x"].string_val)
    words, glued = np.array([b"a", b"bc"], object), np.array([b"ab", b"c"], object)
    digests = [made(run(x=each), "hash").predict_log.request.inputs["x"].string_val[0] for each in (words, glued)]
    assert digests[0] != digests[1]


def example(value: float) -> bytes:
    made_ = PredictionLog().classify_log.request.input.example_list.examples.add()
    made_.features.feature["x"].float_list.value.append(value)
    serialized: bytes = made_.SerializeToString()
    return serialized


@pytest.mark.parametrize("inputs", ["keep", "hash", "omit"])
def test_classify_and_regress(inputs: Inputs) -> None:
    examples = np.array([example(1.0), example(2.0)], object)
    scores = {"classes": np.array([[b"a", b"b"]] * 2, object), "scores": np.array([[0.75, 0.25]] * 2, np.float32)}
    classify = made(run("Classify", inputs=examples)._replace(outputs=scores), inputs).classify_log
    regress = made(run("Regress", inputs=examples)._replace(outputs={"outputs": np.ones((2, 1))}), inputs).regress_log
    first = classify.response.result.classifications[0].classes
    assert [(one.label, one.score) for one in first] == [("a", 0.75), ("b", 0.25)]
    assert [one.value for one in regress.response.result.regressions] == [1, 1]
    for request in (classify.request, regress.request):
        found = request.input.example_list.examples
        assert len(found) == (0 if inputs == "omit" else 2)
        assert request.model_spec.name == "m"
        if inputs == "keep":
            assert found[1].features.feature["x"].float_list.value[0] == 2
        if inputs == "hash":
            assert len(found[1].features.feature["sha256"].bytes_list.value[0]) == 64


def test_classes_alone() -> None:
    outputs = {"classes": np.array([[b"a"], [b"\xff"]], object)}
    log = made(run("Classify", inputs=np.array([b"", b""], object))._replace(outputs=outputs))
    assert [row.classes[0].label for row in log.classify_log.response.result.classifications] == [
        "a",
        "\N{REPLACEMENT CHARACTER}",
    ]


# -- the log -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def log(tmp_path: Path, metrics: Metrics) -> Iterator[RequestLog]:
    made_ = RequestLog(metrics)
    made_.targets = {"m": Target(tmp_path / "m", 1.0), "some": Target(tmp_path / "some", 0.3)}
    yield made_
    made_.stop()


def dropped(metrics: Metrics, reason: str) -> float | None:
    return find(read(metrics.page()), "tfopt_request_log_dropped_total", model_name="m", reason=reason)


def test_what_is_offered_is_written(log: RequestLog, tmp_path: Path, metrics: Metrics) -> None:
    for _ in range(20):
        log.offer("m", run())
        log.offer("nobody", run())
    log.stop()
    assert len(logged(tmp_path)) == 20
    count = ":tensorflow:serving:request_log_count"
    assert find(read(metrics.page()), count, model_name="m", status_code="OK") == 20


def test_a_share_of_them(log: RequestLog, tmp_path: Path) -> None:
    for _ in range(900):
        log.offer("some", run())
    log.stop()
    assert 180 < len(logged(tmp_path)) < 360


def test_a_full_queue_drops_and_counts(
    log: RequestLog, tmp_path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_log, "_LARGEST_WAITING", 5 * (X.nbytes + Y.nbytes))
    monkeypatch.setattr(RequestLog, "_write", lambda self: None)
    for _ in range(9):
        log.offer("m", run())
    assert dropped(metrics, "queue full") == 4
    count = ":tensorflow:serving:request_log_count"
    assert find(read(metrics.page()), count, model_name="m", status_code="RESOURCE_EXHAUSTED") == 4


def test_what_cannot_be_written_is_told_once_and_tried_again(
    log: RequestLog, tmp_path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(request_log, "_PAUSE", 0.05)
    target = tmp_path / "file" / "m"
    (tmp_path / "file").write_text("where a directory should be")
    log.targets = {"m": Target(target, 1.0)}
    with caplog.at_level("INFO", "tfopt"):
        for _ in range(3):
            log.offer("m", run())
            time.sleep(0.1)
        (tmp_path / "file").unlink()
        log.offer("m", run())
        log.stop()
    assert dropped(metrics, "not writable") == 3
    assert len(logged(target.parent)) == 1
    told = [record.message for record in caplog.records]
    assert len(told) == 2
    assert told[0].startswith("the request log cannot be written") and told[1] == "the request log is written again"


def test_what_cannot_be_expressed_is_counted_and_the_rest_is_logged(
    log: RequestLog, tmp_path: Path, metrics: Metrics
) -> None:
    log.offer("m", run("Classify", inputs=np.array([b"\xff\xff"], object)))
    odd = {"outputs": np.array([["a", "b"]], object)}
    log.offer("m", run("Regress", inputs=np.array([b""], object))._replace(outputs=odd))
    log.offer("m", run())
    log.stop()
    assert dropped(metrics, "not expressible") == 2
    assert len(logged(tmp_path)) == 1


def test_too_large_for_the_log(tmp_path: Path, metrics: Metrics) -> None:
    log = RequestLog(metrics, total=100)
    log.targets = {"m": Target(tmp_path / "m", 1.0)}
    log.offer("m", run())
    log.stop()
    assert dropped(metrics, "too large") == 1


# -- configs -----------------------------------------------------------------------------------------------------------


def test_which_models_are_logged_where() -> None:
    own = ModelConfig("own", "/own", logging=RequestLogging("", "/logs/own", 0.5))
    other = ModelConfig("a/b", "/other")
    assert LogSettings().targets([own, other]) == {"own": Target(Path("/logs/own"), 0.5)}
    found = LogSettings(Path("/all"), 0.1).targets([own, other])
    assert found == {"own": Target(Path("/logs/own"), 0.5), "a/b": Target(Path("/all/a%2Fb"), 0.1)}


@pytest.mark.parametrize(
    ("logging", "said"),
    [
        (RequestLogging("kafka", "/logs/m", 0.5), "Cannot find LogCollector::Factory for type: kafka"),
        (RequestLogging("", "logs/m", 0.5), "the filename_prefix of the log of model m is no absolute path: 'logs/m'"),
        (RequestLogging("", "", 0.5), "is no absolute path: ''"),
        (RequestLogging("", "/logs/m", 1.5), "the sampling_rate of the log of model m is not between 0 and 1: 1.5"),
        (RequestLogging("", "/logs/m", float("nan")), "is not between 0 and 1: nan"),
    ],
)
def test_logging_configs_that_are_refused(logging: RequestLogging, said: str) -> None:
    with pytest.raises(RequestError) as raised:
        check_configs([ModelConfig("m", "/m", logging=logging)])
    assert said in str(raised.value)


# -- the server --------------------------------------------------------------------------------------------------------


def test_a_log_is_warmup_and_samples(own_base: Path, publish: Publish, tmp_path: Path) -> None:
    publish(2)
    logs = tmp_path / "logs"
    with tfopt.Server(own_base, port=0, log_requests=LogSettings(logs, 1.0)) as server:
        for row in range(3):
            body = {"instances": [[row, 0, 0], [row, 1, 0]]}
            assert ask_at(server.url, "POST", PREDICT, body).status == 200
        assert ask_at(server.url, "POST", PREDICT, b"{").status == 400
    (file,) = logs.iterdir()
    assert [request.inputs["x"].tolist() for request in read_warmup(file)][1] == [[1, 0, 0], [1, 1, 0]]
    x = TensorType(DType.FLOAT32, Shape.of(None, 3))
    for source in (file, logs):
        samples = load_samples(str(source), {"x": x})
        assert samples.arrays["x"].tolist() == [[row, second, 0] for row in range(3) for second in range(2)]
    warmup = own_base / "9" / WARMUP_PATH
    warmup.parent.mkdir(parents=True)
    warmup.write_bytes(file.read_bytes())
    (warmup.parents[1] / "model.tflite").write_bytes((own_base / "1" / "model.tflite").read_bytes())
    with tfopt.Server(own_base, port=0) as server:
        statuses = ask_at(server.url, "GET", "/v1/models/m").json["model_version_status"]
        assert [(one["version"], one["state"]) for one in statuses] == [("9", "AVAILABLE")]


def test_a_reload_changes_what_is_logged(own_base: Path, publish: Publish, tmp_path: Path) -> None:
    publish(1)
    before = ModelConfig("m", own_base)
    after = ModelConfig("m", own_base, logging=RequestLogging("file", str(tmp_path / "logs" / "m"), 1.0))
    with tfopt.Server(configs=[before], port=0) as server:
        ask_at(server.url, "POST", PREDICT, BODY)
        server.models.reconfigure([after])
        ask_at(server.url, "POST", PREDICT, BODY)
    (one,) = logged(tmp_path / "logs")
    assert np.frombuffer(one.predict_log.request.inputs["x"].tensor_content, np.float32).tolist() == ROW[0]


def test_a_config_file_with_a_log_starts_the_server(own_base: Path, publish: Publish, tmp_path: Path) -> None:
    """TensorFlow Serving refuses to: `No request-logger-creator provided.`"""
    publish(1)
    config = tmp_path / "models.config"
    config.write_text(
        f"""model_config_list {{ config {{
          name: "m" base_path: "{own_base}" model_platform: "tensorflow"
          logging_config {{
            log_collector_config {{ type: "file" filename_prefix: "{tmp_path}/logs/of-m" }}
            sampling_config {{ sampling_rate: 1.0 }}
          }}
        }} }}"""
    )
    with tfopt.Server(config_file=config, port=0) as server:
        assert ask_at(server.url, "POST", PREDICT, BODY).status == 200
    assert len(logged(tmp_path / "logs")) == 1
