"""Requests that arrive when they arrive, whether or not the ones before were answered: an open loop.

A client that waits for an answer before it asks again is slowed down by the very server that it times, and misses the
requests that would have had to wait (coordinated omission). Users do not wait for each other. So arrivals are drawn
before, from a Poisson process, and a request's latency counts from when it should have left.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.types import TensorType
from tfopt.measure.inputs import Batch

OK: Final = "OK"
#: While arrivals are overdue, answers are read after this many requests.
_BREATH: Final = 8

T = TypeVar("T")


class Channel(Protocol):
    """Connections to one model of one server.

    `send` gives the code of the answer: OK, an HTTP status or a canonical code. `waited` counts the requests for which
    no connection was free.
    """

    waited: int

    async def signatures(self) -> dict[str, dict[str, TensorType]]: ...
    def prepare(self, signature: str, inputs: Batch) -> bytes: ...
    async def connect(self, count: int) -> None: ...
    async def send(self, request: bytes) -> str: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, eq=False)
class Trace:
    """What became of the requests of one stretch.

    latencies: seconds from the intended arrival to the answer, of those that were answered with OK.
    codes:     how many were answered with what.
    late:      by how many seconds the generator itself was late with each request.
    seconds:   from the first arrival to the last answer.
    cpu:       cores that the generator used.
    waited:    how many requests had to wait for a connection.
    """

    latencies: NDArray[np.float64]
    codes: Mapping[str, int]
    late: NDArray[np.float64]
    seconds: float
    cpu: float
    waited: int

    @property
    def requests(self) -> int:
        return sum(self.codes.values())

    @property
    def errors(self) -> dict[str, int]:
        return {code: count for code, count in sorted(self.codes.items()) if code != OK}

    @property
    def achieved(self) -> float:
        """Answers with OK per second."""
        return self.codes.get(OK, 0) / self.seconds


def poisson_arrivals(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Arrival times within `seconds`, `rate` per second on average, at least one; the same for the same seed."""
    rng = np.random.default_rng(seed)
    expected = rate * seconds
    gaps = rng.exponential(1 / rate, int(expected + 6 * expected**0.5) + 8)
    times = np.cumsum(gaps)
    inside: NDArray[np.float64] = times[times < seconds]
    return inside if len(inside) else times[:1] % seconds


async def play(channel: Channel, arrivals: NDArray[np.float64], requests: Sequence[bytes]) -> Trace:
    """Send a request at each arrival, in turn from `requests`, and wait for all answers."""
    done: list[tuple[float, float, str]] = []
    late = np.zeros(len(arrivals))
    tasks: set[asyncio.Task[None]] = set()
    waited, cpu, start = channel.waited, process_time(), perf_counter()

    async def ask(intended: float, request: bytes) -> None:
        code = await channel.send(request)
        done.append((intended, perf_counter(), code))

    for index, arrival in enumerate(arrivals):
        intended = start + float(arrival)
        if (wait := intended - perf_counter()) > 0:
            await asyncio.sleep(wait)
        elif index % _BREATH == 0:
            await asyncio.sleep(0)
        late[index] = perf_counter() - intended
        task = asyncio.ensure_future(ask(intended, requests[index % len(requests)]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    while tasks:
        await asyncio.wait(tasks)
    seconds = max(max(answered for _, answered, _ in done) - start - float(arrivals[0]), 1e-6)
    return Trace(
        latencies=np.array([answered - intended for intended, answered, code in done if code == OK]),
        codes=Counter(code for _, _, code in done),
        late=late,
        seconds=seconds,
        cpu=(process_time() - cpu) / seconds,
        waited=channel.waited - waited,
    )


async def saturate(channel: Channel, requests: Sequence[bytes], *, workers: int, seconds: float) -> float:
    """Answers with OK per second when `workers` ask without a pause: about what the server can do."""
    end = perf_counter() + seconds
    start, answered = perf_counter(), 0

    async def work(number: int) -> None:
        nonlocal answered
        while perf_counter() < end:
            answered += await channel.send(requests[number % len(requests)]) == OK
            number += workers

    await asyncio.gather(*(work(number) for number in range(workers)))
    return answered / (perf_counter() - start)


def run_precisely(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in an event loop whose timers are exact to some microseconds: epoll rounds up to milliseconds."""
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    try:
        return loop.run_until_complete(make())
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
