"""Open-loop arrivals, against real sockets that answer when they are told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from tfopt.errors import ServerUnavailable
from tfopt.measure.endpoint import Endpoint
from tfopt.measure.open_loop import Trace, play, poisson_arrivals, run_precisely, saturate
from tfopt.measure.rest_channel import RestChannel

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Answer = Callable[[int], Awaitable[bytes | None]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[Endpoint]:
    """A server that answers request n with `answer(n)`, and hangs up for None."""
    count = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                count += 1
                if (reply := await answer(count - 1)) is None:
                    break
                writer.write(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield Endpoint("http", "127.0.0.1", server.sockets[0].getsockname()[1], "m")
    finally:
        server.close()


def played(answer: Answer, arrivals: list[float], *, limit: int = 64, timeout: float = 5.0) -> Trace:
    async def run() -> Trace:
        async with serving(answer) as endpoint:
            channel = RestChannel(endpoint, limit=limit, timeout=timeout)
            await channel.connect(1)
            trace = await play(channel, np.array(arrivals), [channel.prepare("s", {"x": np.zeros(2)})])
            await channel.close()
            return trace

    return run_precisely(run)


async def at_once(number: int) -> bytes:
    return REPLY


def test_arrivals_are_a_poisson_process() -> None:
    """Gaps are exponential: mean and standard deviation are 1 / rate, and neighbours know nothing of each other."""
    arrivals = poisson_arrivals(50.0, 400.0, seed=1)
    gaps = np.diff(arrivals)
    assert len(arrivals) == pytest.approx(20_000, rel=0.03)
    assert gaps.mean() == pytest.approx(0.02, rel=0.03)
    assert gaps.std() == pytest.approx(0.02, rel=0.03)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.03
    assert (np.exp(-50 * gaps) < 0.1).mean() == pytest.approx(0.1, abs=0.01)


def test_arrivals_come_again_with_their_seed() -> None:
    one, same, other = (poisson_arrivals(10.0, 5.0, seed) for seed in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert (one < 5.0).all()


def test_there_is_always_one_arrival() -> None:
    assert all(len(poisson_arrivals(0.01, 0.5, seed)) == 1 for seed in range(20))


def test_every_request_is_answered_and_counted() -> None:
    trace = played(at_once, [0.0, 0.01, 0.02, 0.02, 0.03])
    assert (trace.requests, trace.codes, trace.errors) == (5, {"OK": 5}, {})
    assert len(trace.latencies) == 5
    assert (trace.latencies > 0).all()
    assert trace.achieved == pytest.approx(5 / trace.seconds)


def test_requests_do_not_wait_for_answers() -> None:
    """All answers take 0.3 s; one after the other they would take 3 s."""

    async def slowly(number: int) -> bytes:
        await asyncio.sleep(0.3)
        return REPLY

    trace = played(slowly, [0.01 * index for index in range(10)])
    assert trace.seconds < 2.5
    assert (trace.latencies >= 0.29).all()


def test_a_stall_is_felt_by_all_that_arrive_during_it() -> None:
    """The server stands still for 0.5 s: a client that waits would have seen one slow answer."""
    begin = None

    async def stalled(number: int) -> bytes:
        nonlocal begin
        begin = begin or asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, begin + 0.5 - asyncio.get_running_loop().time()))
        return REPLY

    trace = played(stalled, [0.02 * index for index in range(20)])
    assert (trace.latencies > 0.05).sum() >= 18
    assert np.median(trace.latencies) > 0.2


def test_what_waits_for_a_connection_counts_from_its_arrival() -> None:
    async def slowly(number: int) -> bytes:
        await asyncio.sleep(0.1)
        return REPLY

    trace = played(slowly, [0.0, 0.0, 0.0], limit=1)
    assert trace.waited == 2
    assert sorted(trace.latencies)[2] >= 0.29


def test_errors_are_counted_by_code() -> None:
    async def moody(number: int) -> bytes | None:
        if number == 1:
            return b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\nConnection: close\r\n\r\nbusy"
        if number == 2:
            return None
        if number == 3:
            return b"nothing of the kind\r\n\r\n"
        if number == 4:
            await asyncio.sleep(30)
        return REPLY

    trace = played(moody, [0.05 * index for index in range(7)], timeout=0.4)
    assert trace.errors == {"503": 1, "DEADLINE_EXCEEDED": 1, "UNAVAILABLE": 2}
    assert trace.codes["OK"] == len(trace.latencies) == 3


def test_answers_in_chunks_and_without_a_length() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n"

    async def either(number: int) -> bytes | None:
        return chunked if number % 2 else REPLY

    assert played(either, [0.05 * index for index in range(6)], limit=1).codes == {"OK": 6}


def test_no_server() -> None:
    async def run() -> None:
        await RestChannel(Endpoint("http", "127.0.0.1", 1, "m"), limit=1, timeout=1.0).connect(1)

    with pytest.raises(ServerUnavailable, match=r"127\.0\.0\.1:1: no server answers"):
        run_precisely(run)


def test_capacity_is_what_is_answered_without_a_pause() -> None:
    """Four at once, each of which takes 20 ms: at most 200 per second."""

    async def steadily(number: int) -> bytes:
        await asyncio.sleep(0.02)
        return REPLY

    async def run() -> float:
        async with serving(steadily) as endpoint:
            channel = RestChannel(endpoint, limit=8, timeout=5.0)
            found = await saturate(channel, [channel.prepare("s", {})], workers=4, seconds=0.5)
            await channel.close()
            return found

    assert 20 < run_precisely(run) <= 210
