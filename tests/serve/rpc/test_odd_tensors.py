"""Tensors that no client means to send, to real engines: each is answered or refused, and none ends the process."""

from __future__ import annotations

import random
from collections import Counter

import grpc
import pytest
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

import tfopt
from tests.serve.rpc.requests import predict

TARGETS = (
    *(("echo", dtype, "x") for dtype in ("half", "bfloat16", "int8", "int64", "bool", "complex64", "string")),
    *(("echo", "text", "s"), ("words", "", "words"), ("examples", "", "inputs")),
    *[("linear", "", "x"), ("lite", "", "x")] * 3,
)
SIZES = (0, 1, 1, 2, 3, 3, 8, 2000, -1, 2**31, 2**62)
#: Those of the values' fields, and what a list of them is made of.
LISTS = {"float_val": float("nan"), "int_val": -1, "int64_val": 2**40, "string_val": b"\xff\x00", "bool_val": True,
         "half_val": 2**17, "double_val": 1e300, "scomplex_val": 1.0, "uint32_val": 7}  # fmt: skip


def odd_tensor(dice: random.Random) -> TensorProto:
    proto = TensorProto(dtype=dice.choice((1, 1, 1, 7, 7, *range(0, 31), 101)))
    for _ in range(dice.choice((0, 1, 1, 2, 2, 3, 40))):
        proto.tensor_shape.dim.add(size=dice.choice(SIZES))
    proto.tensor_shape.unknown_rank = dice.random() < 0.05
    if dice.random() < 0.4:
        proto.tensor_content = dice.randbytes(dice.choice((1, 4, 8, 12, 24)))
    for field in dice.sample(sorted(LISTS), dice.choice((0, 1, 1, 2))):
        getattr(proto, field).extend([LISTS[field]] * dice.choice((1, 2, 3, 6)))
    return proto


@pytest.mark.parametrize("seed", range(3))
def test_each_is_answered_or_refused(server: tfopt.Server, caplog: pytest.LogCaptureFixture, seed: int) -> None:
    dice, answers = random.Random(seed), Counter[str]()
    with grpc.insecure_channel(server.grpc_address, [("grpc.max_receive_message_length", -1)]) as channel:
        stub = PredictionServiceStub(channel)
        for _ in range(150):
            model, signature, name = dice.choice(TARGETS)
            try:
                stub.Predict(predict(model, {name: odd_tensor(dice)}, signature=signature), timeout=20)
                answers["OK"] += 1
            except grpc.RpcError as error:
                answers[error.code().name] += 1
                assert error.details()
    assert answers.keys() == {"OK", "INVALID_ARGUMENT"}
    assert not [record for record in caplog.records if record.name.startswith("tfopt")]
