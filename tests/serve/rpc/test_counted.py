"""What gRPC's calls leave behind: counts, and a log that can be replayed."""

from __future__ import annotations

from pathlib import Path

import grpc
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

import tfopt
from tests.serve.rpc.requests import classify, multi_inference, regress
from tests.serve.test_metrics import find, read
from tfopt.formats.serving.replay import ExamplesRequest, read_replay
from tfopt.serve.request_log.targets import LogSettings

SERVING = ":tensorflow:serving:"


def test_examples(base: Path, tmp_path: Path) -> None:
    settings = LogSettings(tmp_path / "logs", rate=1.0)
    with (
        tfopt.Server(base / "examples", port=None, grpc_port=0, log_requests=settings) as server,
        grpc.insecure_channel(server.grpc_address) as channel,
    ):
        ask = PredictionServiceStub(channel)
        ask.Regress(regress("examples", 2.0, 4.0), timeout=20)
        ask.Classify(classify("examples", 2.0, 4.0, 6.0, signature="scores"), timeout=20)
        tasks = [("examples", "", "regress"), ("examples", "scores", "classify")]
        ask.MultiInference(multi_inference(*tasks, values=(2.0,)), timeout=20)
    seen = read(server.plane.metrics.page())
    assert find(seen, f"{SERVING}request_example_count_total", model="examples") == 2 + 3 + 1
    assert find(seen, f"{SERVING}request_example_counts_count", model="examples") == 3, "once a request"
    for api, runs in (("Regress", 1), ("Classify", 1), ("MultiInference", 2)):
        runtime = {"model_name": "examples", "API": api, "runtime": "TF1"}
        assert find(seen, f"{SERVING}runtime_latency_count", **runtime) == runs
    assert find(seen, f"{SERVING}request_log_count", model_name="examples", status_code="OK") == 4
    (file,) = (tmp_path / "logs").iterdir()
    requests = list(read_replay(file))
    assert all(isinstance(request, ExamplesRequest) for request in requests)
    told = [(request.api, len(request.examples)) for request in requests if isinstance(request, ExamplesRequest)]
    assert told == [("Regress", 2), ("Classify", 3), ("Regress", 1), ("Classify", 1)], "a MultiInference is its parts"
