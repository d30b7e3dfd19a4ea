"""One client under load: asks a server in an open loop and tells of each request when it left, how long it took and
which version answered. Run by `serve_swaps` in a process of its own, which prints one JSON list a second.

    python -m benchmarks.serve_load rest|grpc HOST:PORT RATE SECONDS
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from tfopt.formats.serving.api import PredictRequest, PredictResponse
from tfopt.formats.serving.tensors import array_of, fill_tensor
from tfopt.measure.open_loop import poisson_arrivals

MODEL = "swapped"
WIDTH = 16
ROW = [float(number) for number in range(WIDTH)]

#: Gives the number of the version that answered and what it answered.
Ask = Callable[[], Awaitable[float]]


async def rest(address: str) -> tuple[Ask, Callable[[], Awaitable[None]]]:
    """Keep-alive connections, as many as are needed at one time."""
    host, port = address.rsplit(":", 1)
    body = json.dumps({"instances": [ROW]}).encode()
    head = f"POST /v1/models/{MODEL}:predict HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask() -> float:
        reader, writer = idle.pop() if idle else await asyncio.open_connection(host, int(port))
        writer.write(request)
        told = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        content = await reader.readexactly(int(told.split("content-length:")[1].split("\r\n")[0]))
        if " 200 " not in told.split("\r\n")[0]:
            raise RuntimeError(content.decode())
        idle.append((reader, writer))
        return float(json.loads(content)["predictions"][0])

    async def close() -> None:
        for _, writer in idle:
            writer.close()

    return ask, close


async def grpc(address: str) -> tuple[Ask, Callable[[], Awaitable[None]]]:
    from grpc import aio

    channel = aio.insecure_channel(address)
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    message = PredictRequest()
    message.model_spec.name = MODEL
    fill_tensor(message.inputs["x"], np.array([ROW], np.float32))
    request = message.SerializeToString()

    async def ask() -> float:
        answer = PredictResponse.FromString(await call(request, timeout=30))
        (value,) = array_of(answer.outputs["y"], "the answer")
        return float(value)

    return ask, channel.close


async def load(face: str, address: str, rate: float, seconds: float) -> list[list[Any]]:
    """[seconds since the epoch, latency in seconds, factor of the version that answered, error] of each request."""
    ask, close = await {"rest": rest, "grpc": grpc}[face](address)
    total = sum(ROW)
    rows: list[list[Any]] = []

    async def one(left: float, begun: float) -> None:
        try:
            answer = await ask()
            rows.append([left, time.perf_counter() - begun, answer / total, None])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a request that failed
            rows.append([left, time.perf_counter() - begun, None, repr(error)])

    await asyncio.gather(*(one(time.time(), time.perf_counter()) for _ in range(4)))  # connections stand
    rows.clear()
    start, epoch = time.perf_counter(), time.time()
    under_way: set[asyncio.Task[None]] = set()
    for arrival in poisson_arrivals(rate, seconds, seed=len(face)):
        await asyncio.sleep(max(0.0, start + arrival - time.perf_counter()))
        task = asyncio.create_task(one(epoch + arrival, start + arrival))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    await close()
    return rows


if __name__ == "__main__":
    json.dump(asyncio.run(load(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))), sys.stdout)
