"""Mark: 10,000 malformed requests on REST and gRPC, and the server neither crashes nor leaks, and answers each with the
right code.

Kinds of faults are listed below, each with the codes that are right for it; what they are filled with is drawn from a
seed. Between them right requests must be answered rightly. In the end the process has the threads and open files that
it had after the first tenth, no more than 10 % more memory, and no traceback in its log.

    python -m benchmarks.serve_faults [requests] [seed]
"""

from __future__ import annotations

import gzip
import json
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import print_table
from tfopt.formats.serving.api import PredictRequest, PredictResponse
from tfopt.formats.serving.tensors import array_of, fill_tensor

MODEL = "small"
ROW = [1.0, 2.0, 5.0]
PREDICT = f"/v1/models/{MODEL}:predict"
#: Seconds after which a silent server has hung.
PATIENCE = 20.0
CLOSED = "closed"

Make = Callable[[random.Random], Any]


@dataclass(frozen=True)
class Fault:
    """`make` gives the bytes to send; `right` are the answers that are."""

    make: Make
    right: frozenset[str]


def _answers(*right: str) -> frozenset[str]:
    return frozenset(right)


# -- REST -------------------------------------------------------------------------------------------------------------


def _post(body: bytes, path: str = PREDICT, *headers: str, length: int | None = None) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body


def _body(value: object) -> bytes:
    return json.dumps(value).encode()


GOOD = _body({"instances": [ROW]})


def _mutated(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(changed) + 1)
        match rng.randrange(3):
            case 0:
                changed[place:place] = rng.randbytes(rng.randint(1, 8))
            case 1:
                del changed[place : place + rng.randint(1, 8)]
            case _ if place < len(changed):
                changed[place] = rng.randrange(256)
            case _:
                pass
    return bytes(changed)


def _wrong_value(rng: random.Random) -> object:
    return rng.choice(
        ["a", None, True, {}, {"b64": "AA=="}, {"b64": 5}, [[]], [1, [2]], {"x": 1}, 10**400, -(10**30), [[1, 2], [3]]]
    )


def _npy(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + b"\0" * 12


REST = {
    "bytes that are no HTTP": Fault(lambda r: r.randbytes(r.randint(1, 400)), _answers("400", CLOSED)),
    "bytes that are no JSON": Fault(lambda r: _post(r.randbytes(r.randint(0, 400))), _answers("400")),
    "a body that is damaged": Fault(lambda r: _post(_mutated(r, GOOD)), _answers("200", "400")),
    "a request that is damaged": Fault(
        lambda r: _mutated(r, _post(GOOD)), _answers("200", "400", "404", "413", "415", "431", "501", CLOSED)
    ),
    "deep nesting": Fault(lambda r: _post(b'{"instances":' + b"[" * r.randint(1000, 200_000)), _answers("400")),
    "deep nesting that ends": Fault(
        lambda r: _post(b'{"instances":' + b"[" * (n := r.randint(100, 50_000)) + b"1" + b"]" * n + b"}"),
        _answers("400"),
    ),
    "wrong values": Fault(lambda r: _post(_body({"instances": [_wrong_value(r)]})), _answers("400")),
    "wrong columns": Fault(lambda r: _post(_body({"inputs": _wrong_value(r)})), _answers("200", "400")),
    "numbers without end": Fault(
        lambda r: _post(b'{"instances":[[' + b"9" * r.randint(400, 100_000) + b",1,1]]}"), _answers("200", "400")
    ),
    "a wrong shape": Fault(
        lambda r: _post(_body({"instances": [[1.0] * r.choice([0, 1, 2, 4, 50])] * r.randint(1, 9)})), _answers("400")
    ),
    "many keys": Fault(
        lambda r: _post(_body({f"k{n}": n for n in range(r.randint(1000, 20_000))})), _answers("400")
    ),
    "wrong paths": Fault(
        lambda r: _post(GOOD, f"/v1/models/{r.choice(['%00', '..%2F..', 'no', '%ff', 'x' * 3000, '%'])}:predict"),
        _answers("400", "404"),
    ),
    "wrong versions": Fault(
        lambda r: _post(GOOD, f"/v1/models/{MODEL}/versions/{r.choice(['9' * 30, '-1', '77', 'a'])}:predict"),
        _answers("400", "404"),
    ),
    "gzip that is none": Fault(lambda r: _post(r.randbytes(50), PREDICT, "Content-Encoding: gzip"), _answers("400")),
    "gzip bombs": Fault(
        lambda r: _post(_BOMB, PREDICT, "Content-Encoding: gzip"), _answers("400", "413")
    ),
    "arrays that claim to be giant": Fault(
        lambda r: _post(
            _npy(r.choice(["(1000000000000,)", "(-1,)", "(1000000,1000000)", "('a',)", "(1,", f"({'9' * 60},)"])),
            PREDICT, "Content-Type: application/x-npy",
        ),
        _answers("400", "413"),
    ),
    "V2 requests of wrong sizes": Fault(
        lambda r: _post(
            _body({"inputs": [{"name": "x", "shape": r.choice([[1, 3], [10**12], [-1], ["a"]]), "datatype": "FP32",
                               "parameters": {"binary_data_size": r.choice([12, 13, 10**12, -4, "a"])}}]}),
            f"/v2/models/{MODEL}/infer", f"Inference-Header-Content-Length: {r.choice([5, 50, 10**9, -1])}",
        ),
        _answers("400"),
    ),
    "a body that is shorter than it says": Fault(
        lambda r: _post(GOOD, length=len(GOOD) + r.randint(1, 1000)), _answers(CLOSED, "400", "408")
    ),
    "a body that says it is endless": Fault(lambda r: _post(b"", length=10**r.randint(10, 30)), _answers("400", "413")),
}  # fmt: skip
_BOMB = gzip.compress(b" " * 150_000_000)
#: These may be no whole request: the client says that no more will come.
IN_PIECES = {"bytes that are no HTTP", "a request that is damaged"}
#: Of these the client hangs up early and reads no answer.
HANGING_UP = {"a body that is shorter than it says"}


def _rest(address: tuple[str, int], content: bytes, *, hang_up: bool, half_close: bool) -> str:
    with socket.create_connection(address, timeout=PATIENCE) as connection, suppress(ConnectionError):
        connection.sendall(content)
        if hang_up:
            return CLOSED
        if half_close:  # what is no whole request is else waited for
            connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(4096)
        if answer.startswith(b"HTTP/1.1 "):
            return answer[9:12].decode()
    return CLOSED


# -- gRPC -------------------------------------------------------------------------------------------------------------

SERVICE = "/tensorflow.serving.PredictionService/"
METHODS = [
    *(f"{SERVICE}{name}" for name in ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata")),
    "/tensorflow.serving.ModelService/GetModelStatus",
    "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
]


def _request(rng: random.Random, change: Callable[[Any], None]) -> bytes:
    message = PredictRequest()
    message.model_spec.name = MODEL
    fill_tensor(message.inputs["x"], np.array([ROW], np.float32))
    change(message)
    content: bytes = message.SerializeToString()
    return content


def _shape(rng: random.Random) -> Callable[[Any], None]:
    dims = rng.choice([[10**12], [-1, 3], [2**62, 4], [2**31, 2**31], [0, 10**15], [1] * 300, [3, 1, 7]])

    def change(message: Any) -> None:
        tensor = message.inputs["x"]
        tensor.ClearField("tensor_content")
        del tensor.tensor_shape.dim[:]
        for size in dims:
            tensor.tensor_shape.dim.add(size=size)
        tensor.float_val.append(1.0)

    return change


def _dtype(rng: random.Random) -> Callable[[Any], None]:
    number = rng.choice([0, 2, 7, 9, 14, 19, 20, 21, 99, 101])
    return lambda message: setattr(message.inputs["x"], "dtype", number)


def _names(rng: random.Random) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        match rng.randrange(6):
            case 0:
                message.inputs["y"].CopyFrom(message.inputs["x"])
            case 1:
                message.inputs.clear()
            case 2:
                message.output_filter.extend(["y", "y"])
            case 3:
                message.output_filter.append("nothing")
            case 4:
                message.model_spec.signature_name = "nothing"
            case _:
                message.model_spec.version_label = "nothing"

    return change


def _content(rng: random.Random) -> Callable[[Any], None]:
    return lambda message: setattr(message.inputs["x"], "tensor_content", rng.randbytes(rng.choice([1, 4, 11, 13, 99])))


_REFUSED = _answers("INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "UNIMPLEMENTED")
GRPC = {
    "bytes that are no message": Fault(
        lambda r: (r.choice(METHODS), r.randbytes(r.randint(1, 300))), _REFUSED | {"INTERNAL"}
    ),
    "a message that is damaged": Fault(
        lambda r: (f"{SERVICE}Predict", _mutated(r, _request(r, lambda _: None))), _REFUSED | {"INTERNAL", "OK"}
    ),
    "an empty message": Fault(lambda r: (r.choice(METHODS), b""), _REFUSED),
    "deep nesting": Fault(lambda r: (r.choice(METHODS), _nested(r.randint(50, 5000))), _REFUSED | {"INTERNAL"}),
    "shapes that lie": Fault(lambda r: (f"{SERVICE}Predict", _request(r, _shape(r))), _REFUSED),
    "wrong types": Fault(lambda r: (f"{SERVICE}Predict", _request(r, _dtype(r))), _REFUSED),
    "wrong names": Fault(lambda r: (f"{SERVICE}Predict", _request(r, _names(r))), _REFUSED),
    "content of a wrong size": Fault(lambda r: (f"{SERVICE}Predict", _request(r, _content(r))), _REFUSED),
    "methods that are none": Fault(lambda r: (f"{SERVICE}{r.choice(['', 'No', 'x' * 500])}", b""), _REFUSED),
}


def _nested(depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = b"\x0a" + _varint(len(content)) + content
    return content


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


# -- the run ----------------------------------------------------------------------------------------------------------


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        with _server(_model(Path(directory)), log) as (process, told):
            rows = _run(process.pid, told, count, rng)
            if process.poll() is not None:
                raise SystemExit(f"the server ended with {process.returncode}")
        tracebacks = log.read_text(errors="replace").count("Traceback")
    print_table(
        f"{count} malformed requests, {sum(int(row[1]) for row in rows)} of them told below",
        ["face, fault", "requests", "wrong codes", "answers"],
        rows,
        notes=[f"tracebacks in the log: {tracebacks}"],
    )


def _run(pid: int, told: dict[str, str], count: int, rng: random.Random) -> list[list[str]]:
    import grpc

    host, port = told["url"].removeprefix("http://").rsplit(":", 1)
    found: dict[tuple[str, str], Counter[str]] = {}
    early: tuple[int, int, int] | None = None
    with grpc.insecure_channel(told["grpc"]) as channel:
        for number in range(count):
            face = "rest" if number % 2 else "grpc"
            name = rng.choice(sorted(REST if face == "rest" else GRPC))
            fault = (REST if face == "rest" else GRPC)[name]
            made = fault.make(rng)
            if face == "rest":
                answer = _rest((host, int(port)), made, hang_up=name in HANGING_UP, half_close=name in IN_PIECES)
            else:
                answer = _grpc(channel, *made)
            found.setdefault((face, name), Counter())[answer] += 1
            if answer not in fault.right:
                print(f"{face}, {name}: {answer} to {str(made)[:200]}", file=sys.stderr)
            if number % 100 == 0:
                _still_right((host, int(port)), channel)
            if number == count // 10:
                early = _holdings(pid)
        time.sleep(5)
        _still_right((host, int(port)), channel)
        late = _holdings(pid)
    for what, before, after in zip(("threads", "open files", "resident bytes"), early or late, late, strict=True):
        print(f"{what}: {before} after the first tenth, {after} in the end", file=sys.stderr)
    return [_row(face, name, answers) for (face, name), answers in sorted(found.items())]


def _row(face: str, name: str, answers: Counter[str]) -> list[str]:
    right = (REST if face == "rest" else GRPC)[name].right
    wrong = sum(number for answer, number in answers.items() if answer not in right)
    told = ", ".join(f"{answer} {number}" for answer, number in answers.most_common())
    return [f"{face}, {name}", str(answers.total()), str(wrong), told]


def _grpc(channel: Any, method: str, content: bytes) -> str:
    import grpc

    try:
        channel.unary_unary(method)(content, timeout=PATIENCE)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def _still_right(address: tuple[str, int], channel: Any) -> None:
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(_post(GOOD))
        answer = b""
        while part := connection.recv(4096):
            answer += part
    if json.loads(answer.partition(b"\r\n\r\n")[2]) != {"predictions": [sum(ROW)]}:
        raise SystemExit(f"a right request on REST was answered with {answer!r}")
    content = channel.unary_unary(f"{SERVICE}Predict")(_request(random.Random(), lambda _: None), timeout=PATIENCE)
    if array_of(PredictResponse.FromString(content).outputs["y"], "the answer").tolist() != [sum(ROW)]:
        raise SystemExit("a right request on gRPC was answered wrongly")


def _holdings(pid: int) -> tuple[int, int, int]:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = {line.split(":")[0]: line.split()[1] for line in status if ":" in line and len(line.split()) > 1}
    return int(values["Threads"]), len(list(Path(f"/proc/{pid}/fd").iterdir())), int(values["VmRSS"]) * 1024


def _model(directory: Path) -> Path:
    import tensorflow as tf

    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
    def serve(x: Any) -> dict[str, Any]:
        return {"y": tf.linalg.matvec(x, tf.ones([3]))}

    tf.saved_model.save(module, str(directory / MODEL / "1"), signatures=serve)
    return directory / MODEL


@contextmanager
def _server(path: Path, log: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    command = [sys.executable, "-m", "tfopt", "serve", str(path), "--port", "0", "--grpc-port", "0", "--json"]
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
