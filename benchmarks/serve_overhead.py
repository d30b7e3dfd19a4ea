"""Mark: a tiny predict over gRPC takes less than 0.4 ms longer, at the median, than the bare call of the C session.

One client, one request at a time, on the loopback; the client is Python too, and what it takes is counted in. The bare
call runs in this process, the server in its own, in turns of a second. What gRPC itself takes is measured beside it: a
server of grpcio's in a process of its own, whose handler hands the same bytes back.

    python -m benchmarks.serve_overhead [turns]
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import print_table
from tfopt.formats.serving.api import PredictRequest
from tfopt.formats.serving.tensors import fill_tensor
from tfopt.runtimes.tensorflow import TensorFlowRuntime

MODEL = "tiny"
SERVICE = "tensorflow.serving.PredictionService"
ROW = [1.0, 2.0, 5.0]
TURN = 1.0

Call = Callable[[], object]


def main() -> None:
    import grpc

    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as directory:
        version = _model(Path(directory))
        with (
            TensorFlowRuntime(version) as runtime,
            _server(version.parent) as told,
            grpc.insecure_channel(told["grpc"]) as channel,
            _echo_server() as address,
            grpc.insecure_channel(address) as empty,
        ):
            asked = {
                "bare session": _bare(runtime),
                "gRPC": _grpc(channel),
                "gRPC, a handler that does nothing": _grpc(empty),
                "REST": _rest(told["url"]),
            }
            taken = _in_turns(asked, turns)
    bare = statistics.median(taken["bare session"])
    rows = [_row(name, seconds, bare) for name, seconds in taken.items()]
    print_table(
        "A tiny predict, y = x / 2 + 2 of three numbers, one client",
        ["asked by", "calls", "p50", "p90", "p99", "p50 beyond the bare call"],
        rows,
    )


def _row(name: str, seconds: list[float], bare: float) -> list[str]:
    p50, p90, p99 = (f"{np.percentile(seconds, q) * 1e3:.3f} ms" for q in (50, 90, 99))
    return [name, str(len(seconds)), p50, p90, p99, f"{(statistics.median(seconds) - bare) * 1e3:.3f} ms"]


def _in_turns(asked: dict[str, Call], turns: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for turn in range(turns + 1):
        for name, call in asked.items():
            end = time.perf_counter() + TURN
            while (begun := time.perf_counter()) < end:
                call()
                if turn:  # the first is for warming up
                    taken[name].append(time.perf_counter() - begun)
    return taken


def _bare(runtime: TensorFlowRuntime) -> Call:
    from tensorflow.python.client import pywrap_tf_session

    info = runtime.signatures["serving_default"]
    plan = runtime._plan("serving_default", info)
    feeds = dict(zip(plan.feeds, [np.array(ROW, np.float32)], strict=True))
    session = runtime._session._session
    return lambda: pywrap_tf_session.TF_SessionRun_wrapper(session, None, feeds, plan.fetches, [], None)


def _grpc(channel: Any) -> Call:
    message = PredictRequest()
    message.model_spec.name = MODEL
    fill_tensor(message.inputs["x"], np.array(ROW, np.float32))
    request = message.SerializeToString()
    call = channel.unary_unary(f"/{SERVICE}/Predict")
    return lambda: call(request)


def _rest(url: str) -> Call:
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    body = json.dumps({"instances": ROW})

    def call() -> None:
        connection.request("POST", f"/v1/models/{MODEL}:predict", body)
        connection.getresponse().read()

    return call


def _model(directory: Path) -> Path:
    import tensorflow as tf

    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def serve(x: Any) -> dict[str, Any]:
        return {"y": x / 2 + 2}

    version = directory / MODEL / "1"
    tf.saved_model.save(module, str(version), signatures=serve)
    return version


@contextmanager
def _server(path: Path) -> Iterator[dict[str, str]]:
    command = [sys.executable, "-m", "tfopt", "serve", str(path), "--port", "0", "--grpc-port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


_ECHO = f"""
import grpc
from concurrent.futures import ThreadPoolExecutor
handler = grpc.unary_unary_rpc_method_handler(lambda body, context: body)
server = grpc.server(ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("{SERVICE}", {{"Predict": handler}}),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
"""


@contextmanager
def _echo_server() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", _ECHO], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
