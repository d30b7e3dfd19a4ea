"""What is counted, seen as Prometheus sees it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import tfopt
from tests.serve.asking import BODY, PREDICT, eventually
from tests.serve.conftest import Publish, ask_at
from tfopt.errors import Code
from tfopt.serve.families import OTHER
from tfopt.serve.metrics import DEFAULT_PATH, Metrics
from tfopt.serve.settings.options import MetricsOptions

REQUESTS = ":tensorflow:serving:request_count"
LATENCY = ":tensorflow:serving:request_latency"

INFER = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 5]}]}

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(server: tfopt.Server, path: str = DEFAULT_PATH) -> Samples:
    reply = ask_at(server.url, "GET", path)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/plain")
    return read(reply.body.decode())


def read(text: str) -> Samples:
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(_own_name(sample.name, text), frozenset(sample.labels.items())): sample.value for sample in samples}


def _own_name(name: str, text: str) -> str:
    """The parser appends `_total` to counters that go without."""
    return name if f"\n{name}{{" in text else name.removesuffix("_total")


def find(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def test_requests_over_rest(own_server: tfopt.Server, publish: Publish) -> None:
    for _ in range(3):
        assert ask_at(own_server.url, "POST", PREDICT, BODY).status == 200
    assert ask_at(own_server.url, "POST", PREDICT, b"{").status == 400
    assert ask_at(own_server.url, "POST", "/v1/models/nobody:predict", BODY).status == 404
    assert ask_at(own_server.url, "GET", "/v1/models/m").status == 200
    assert ask_at(own_server.url, "DELETE", "/v1/models/m").status == 400
    assert ask_at(own_server.url, "GET", "/healthz").status == 200
    assert ask_at(own_server.url, "GET", "/nowhere").status == 404
    seen = scrape(own_server)
    assert find(seen, REQUESTS, model_name="m", status="OK") == 4
    assert find(seen, REQUESTS, model_name="m", status="INVALID_ARGUMENT") == 1
    assert find(seen, REQUESTS, model_name="nobody", status="NOT_FOUND") == 1
    assert find(seen, REQUESTS, model_name="", status="INVALID_ARGUMENT") == 1
    assert sum(value for (name, _), value in seen.items() if name == REQUESTS) == 7, "no more than that"
    timed = {"model_name": "m", "API": "predict", "entrypoint": "REST"}
    assert find(seen, f"{LATENCY}_count", **timed) == 3, "only what succeeds is timed"
    assert find(seen, f"{LATENCY}_bucket", **timed, le="+Inf") == 3
    assert find(seen, f"{LATENCY}_bucket", **timed, le="10") == 0
    assert (find(seen, f"{LATENCY}_sum", **timed) or 0) > 3 * 10
    assert find(seen, f"{LATENCY}_count", **{**timed, "API": ""}) == 1


def test_what_tensorflow_serving_has_is_named_even_if_nothing_happened() -> None:
    page = Metrics().page()
    for kind, name in [
        ("counter", "serving:request_count"), ("histogram", "serving:request_latency"),
        ("histogram", "serving:runtime_latency"), ("counter", "serving:request_example_count_total"),
        ("histogram", "serving:request_example_counts"), ("counter", "serving:request_log_count"),
        ("histogram", "serving:model_warmup_latency"), ("counter", "serving:model_warmup_records_read"),
        ("counter", "cc:saved_model:load_attempt_count"), ("counter", "cc:saved_model:load_latency"),
    ]:  # fmt: skip
        assert f"# TYPE :tensorflow:{name} {kind}\n" in page
    names = [line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")]
    assert names == sorted(names)
    assert "# HELP" not in page


def test_versions_and_loads(own_server: tfopt.Server, own_base: Path, publish: Publish) -> None:
    seen = scrape(own_server)
    assert find(seen, "tfopt_versions", model_name="m", state="AVAILABLE") == 1
    assert find(seen, "tfopt_requests_in_flight", model_name="m") == 0
    assert (find(seen, "tfopt_process_resident_memory_bytes") or 1e9) > 1e7
    loads = ":tensorflow:cc:saved_model:load_attempt_count"
    assert find(seen, loads, model_path=f"{own_base}/1", status="success") == 1
    assert (find(seen, ":tensorflow:cc:saved_model:load_latency", model_path=f"{own_base}/1") or 0) > 100
    (own_base / "7").mkdir()
    (own_base / "7" / "model.tflite").write_bytes(b"broken")
    eventually(lambda: find(scrape(own_server), loads, model_path=f"{own_base}/7", status="fail") == 1)
    assert find(scrape(own_server), "tfopt_versions", model_name="m", state="END") == 1


def test_another_path_and_none(own_base: Path, publish: Publish) -> None:
    publish(1)
    with tfopt.Server(own_base, port=0, metrics=MetricsOptions("/elsewhere")) as server:
        assert find(scrape(server, "/elsewhere?name[]=up"), "tfopt_versions", model_name="m", state="AVAILABLE") == 1
        assert ask_at(server.url, "GET", DEFAULT_PATH).status == 404
    with tfopt.Server(own_base, port=0, metrics=MetricsOptions(None)) as server:
        assert ask_at(server.url, "GET", DEFAULT_PATH).status == 404


@pytest.mark.parametrize("details", [False, True])
def test_version_and_signature_are_labels_when_asked_for(details: bool) -> None:
    metrics = Metrics(details=details)
    metrics.request(
        model="m", api="Predict", entrypoint="GRPC", code=Code.OK, seconds=0.002, version=3, signature="serve"
    )
    metrics.runtime(model="m", api="Predict", kind="saved_model", seconds=0.001, version=3, signature="serve")
    metrics.request(model="m", api="Predict", entrypoint="GRPC", code=Code.NOT_FOUND, seconds=0.002)
    more = {"version": "3", "signature": "serve"} if details else {}
    none = {"version": "", "signature": ""} if details else {}
    seen = read(metrics.page())
    assert find(seen, REQUESTS, model_name="m", status="OK", **more) == 1
    assert find(seen, REQUESTS, model_name="m", status="NOT_FOUND", **none) == 1
    assert find(seen, f"{LATENCY}_sum", model_name="m", API="Predict", entrypoint="GRPC", **more) == 2000
    runtime = {"model_name": "m", "API": "Predict", "runtime": "TF1"}
    assert find(seen, ":tensorflow:serving:runtime_latency_sum", **runtime, **more) == 1000


def test_labels_of_requests_over_rest(own_base: Path, publish: Publish) -> None:
    publish(1)
    with tfopt.Server(own_base, port=0, metrics=MetricsOptions(by_version=True)) as server:
        ask_at(server.url, "POST", PREDICT, BODY)
        ask_at(server.url, "POST", "/v2/models/m/infer", INFER)
        ask_at(server.url, "POST", PREDICT, {"signature_name": "x", "instances": [[1, 2, 5]]})
        ask_at(server.url, "POST", "/v1/models/m/versions/9:predict", BODY)
        seen = scrape(server)
    for status, version, signature, count in (
        ("OK", "1", "serving_default", 2),
        ("INVALID_ARGUMENT", "1", "", 1),
        ("NOT_FOUND", "", "", 1),
    ):
        labels = {"model_name": "m", "status": status, "version": version, "signature": signature}
        assert find(seen, REQUESTS, **labels) == count, status
    runtime = {"model_name": "m", "API": "Predict", "runtime": "TFLite", "version": "1", "signature": "serving_default"}
    assert find(seen, ":tensorflow:serving:runtime_latency_count", **runtime) == 2


def test_examples_log_and_warmup() -> None:
    metrics = Metrics()
    metrics.examples("m", 3)
    metrics.examples("m", 40)
    metrics.logged("m", Code.OK)
    metrics.warmup("/base/m/1", status="OK", seconds=0.5, records=2)
    seen = read(metrics.page())
    serving = ":tensorflow:serving:"
    assert find(seen, f"{serving}request_example_count_total", model="m") == 43
    assert find(seen, f"{serving}request_example_counts_bucket", model="m", le="4") == 1
    assert find(seen, f"{serving}request_log_count", model_name="m", status_code="OK") == 1
    assert find(seen, f"{serving}model_warmup_latency_sum", model_path="/base/m/1", status="OK") == 500000
    assert find(seen, f"{serving}model_warmup_records_read", model_path="/base/m/1", status="OK") == 2
    assert metrics.total("/tensorflow/serving/request_example_count_total") == 43
    assert metrics.total("/no/such/metric") is None


def test_invented_names_of_models_are_counted_together_in_the_end() -> None:
    metrics = Metrics()
    for number in range(300):
        metrics.request(model=f"m{number}", api="Predict", entrypoint="GRPC", code=Code.NOT_FOUND, seconds=0)
    metrics.request(model="x" * 10_000, api="Predict", entrypoint="GRPC", code=Code.NOT_FOUND, seconds=0)
    seen = read(metrics.page())
    assert find(seen, REQUESTS, model_name="m0", status="NOT_FOUND") == 1
    assert find(seen, REQUESTS, model_name=OTHER, status="NOT_FOUND") == 201
