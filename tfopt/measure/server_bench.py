"""`bench --server`: what latency do servers have at which rate, and where do they stop keeping up?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np

from tfopt.data import check_sources
from tfopt.errors import ExecutionError, UsageError
from tfopt.measure.conditions import Reading, between, complaints
from tfopt.measure.endpoint import Endpoint, choose_server_signature, parse_endpoint
from tfopt.measure.inputs import MAX_BATCHES, Batch, gather_samples, make_batches, narrow
from tfopt.measure.machine import available_cores, describe_machine
from tfopt.measure.open_loop import Channel, Trace, play, poisson_arrivals, run_precisely, saturate
from tfopt.measure.series import as_speedup, percentiles, pooled
from tfopt.measure.server_values import Point, Served, ServerReport
from tfopt.measure.timing import without_garbage_collection
from tfopt.measure.values import Inputs
from tfopt.words import Tell, counted

#: Without rates of one's own: these shares of what the quickest server answers when it is asked without a pause.
SWEEP: Final = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2)
#: Each rate is played in so many stretches, in turns with the other servers.
STRETCHES: Final = 5
#: Seconds of asking without a pause, before: it warms up the server too.
SATURATION_SECONDS: Final = 1.0
#: The generator was in the way when it was later than this share of the median latency, and than this many seconds.
LATE_SHARE: Final = 0.1
LATE_SECONDS: Final = 0.0005
#: It was also when it used so much of the one core that it can use.
BUSY_GENERATOR: Final = 0.85
#: select(2) takes file descriptors below 1024, and there may be two servers.
_MOST_CONNECTIONS: Final = 400


def bench_servers(
    urls: Sequence[str],
    *,
    rates: Sequence[float] = (),
    data: str | Path | None = None,
    signature: str | None = None,
    batch_size: int = 1,
    shapes: Mapping[str, Sequence[int | None]] | None = None,
    seconds: float = 5.0,
    connections: int = 256,
    timeout: float = 10.0,
    seed: int = 0,
    tell: Tell = lambda text: None,
) -> ServerReport:
    """Load servers with requests that arrive at random (Poisson), in turns, and compare them to the first.

    urls:        http://host:port/v1/models/NAME or grpc://host:port/NAME, with /versions/N or /labels/L if wanted.
    rates:       requests per second, each played by itself; none sweeps up to and over what the servers can do.
    data:        samples by input name (.npz, .npy); else synthetic ones.
    batch_size:  examples in a request.
    shapes:      whole shapes for inputs with unknown dimensions beside the batch.
    seconds:     per server and rate.
    connections: at most so many requests under way at once per server.
    timeout:     seconds after which an answer is not waited for any more.
    seed:        of the arrivals and of the order of turns.

    Raises UsageError, NotFound, InvalidSamples, MissingExtra (gRPC), RequestError and ServerUnavailable.
    """
    _check(urls, rates, batch_size, seconds, connections)
    check_sources(() if data is None else [data])
    endpoints = [parse_endpoint(url) for url in urls]
    run = _ServerRun(endpoints, rates, seconds, connections, timeout, seed, tell)
    samples = None if data is None else Path(data)
    with without_garbage_collection():
        return run_precisely(lambda: run.measure(samples, signature, batch_size, shapes or {}))


class _ServerRun:
    """Servers under load: what each of them answered at each rate."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        rates: Sequence[float],
        seconds: float,
        connections: int,
        timeout: float,
        seed: int,
        tell: Tell,
    ) -> None:
        self._endpoints, self._rates = endpoints, tuple(rates)
        self._seconds, self._connections, self._timeout = seconds, connections, timeout
        self._seed, self._tell = seed, tell

    async def measure(
        self, data: Path | None, signature: str | None, batch_size: int, shapes: Mapping[str, Sequence[int | None]]
    ) -> ServerReport:
        machine = describe_machine()
        async with AsyncExitStack() as stack:
            channels = [_channel(each, self._connections, self._timeout) for each in self._endpoints]
            for channel in channels:
                stack.push_async_callback(channel.close)
            chosen, batches, inputs, notes = await self._plan(channels, data, signature, batch_size, shapes)
            requests = [[channel.prepare(chosen, batch) for batch in batches] for channel in channels]
            capacities = [await self._saturate(*each) for each in zip(self._endpoints, channels, requests, strict=True)]
            before = Reading.now()
            rates = self._rates or tuple(_round(share * max(capacities)) for share in SWEEP)
            points = [await self._play(number, rate, channels, requests) for number, rate in enumerate(rates)]
            conditions = between(before, Reading.now())
        servers = tuple(
            Served(endpoint.url, capacity, tuple(at[index] for at in points))
            for index, (endpoint, capacity) in enumerate(zip(self._endpoints, capacities, strict=True))
        )
        return ServerReport(
            servers=servers,
            rates=rates,
            signature=chosen,
            inputs=inputs,
            batch_size=batch_size,
            seconds=self._seconds,
            connections=self._connections,
            seed=self._seed,
            machine=machine,
            conditions=conditions,
            warnings=(*notes, *load_warnings(servers), *self._complaints(conditions)),
        )

    async def _plan(
        self,
        channels: Sequence[Channel],
        data: Path | None,
        wanted: str | None,
        batch_size: int,
        shapes: Mapping[str, Sequence[int | None]],
    ) -> tuple[str, tuple[Batch, ...], Inputs, list[str]]:
        """The signature, as many different requests as there are samples for, and what to know about them."""
        known = [await channel.signatures() for channel in channels]
        chosen = choose_server_signature(wanted, known[0], self._endpoints[0])
        for endpoint, signatures in zip(self._endpoints[1:], known[1:], strict=True):
            choose_server_signature(chosen, signatures, endpoint)
            if signatures[chosen].keys() != known[0][chosen].keys():
                where = f"{self._endpoints[0].url} and {endpoint.url}"
                raise UsageError(f"signature {chosen} has other inputs", where=where)
        types = narrow(known[0][chosen], shapes)
        samples, notes = gather_samples([], chosen, types, data, MAX_BATCHES * batch_size)
        batches = make_batches(samples, batch_size)
        shown = {name: array.shape for name, array in batches[0].items()}
        return chosen, batches, Inputs(samples.source, samples.description, shown), notes

    async def _saturate(self, endpoint: Endpoint, channel: Channel, requests: Sequence[bytes]) -> float:
        """Answers per second without a pause. Raises ExecutionError when there is none."""
        self._tell(f"{endpoint.url}: asking without a pause")
        await channel.connect(min(self._connections, 2 * available_cores()))
        if (code := await channel.send(requests[0])) != "OK":
            hint = "look into the server's log, or ask it with `tfopt predict`"
            raise ExecutionError(f"the server answers {code} to the request", where=endpoint.url, hint=hint)
        # A cold server says little, and how many at once it answers best depends on what it runs.
        counts = sorted({min(self._connections, times * available_cores()) for times in (4, 1, 2)}, reverse=True)
        await saturate(channel, requests, workers=counts[0], seconds=SATURATION_SECONDS)
        return max([await saturate(channel, requests, workers=n, seconds=SATURATION_SECONDS) for n in counts])

    async def _play(
        self, number: int, rate: float, channels: Sequence[Channel], requests: Sequence[Sequence[bytes]]
    ) -> list[Point]:
        """All servers at one rate, in turns, each stretch with the same arrivals."""
        self._tell(f"{rate:g}/s")
        order = list(range(len(channels)))
        random = Random(self._seed)
        traces: list[list[Trace]] = [[] for _ in channels]
        for stretch in range(STRETCHES):
            arrivals = poisson_arrivals(rate, self._seconds / STRETCHES, self._seed + 1000 * number + stretch)
            random.shuffle(order)
            for index in order:
                traces[index].append(await play(channels[index], arrivals, requests[index]))
        first = traces[0]
        return [_point(rate, self._seconds, mine, None if mine is first else first) for mine in traces]

    def _complaints(self, conditions: Any) -> list[str]:
        local = any(each.host in ("localhost", "127.0.0.1", "::1") for each in self._endpoints)
        if local:
            return ["server and generator share this machine: both would be faster alone"]
        return complaints(conditions, available_cores())


def _check(urls: Sequence[str], rates: Sequence[float], batch_size: int, seconds: float, connections: int) -> None:
    if isinstance(urls, str) or not urls:
        raise UsageError("bench_servers takes a list of at least one URL")
    if any(not (math.isfinite(rate) and rate > 0) for rate in rates):
        raise UsageError(f"a rate of {min(rates):g} requests per second", hint="give positive numbers")
    if batch_size < 1:
        raise UsageError(f"batch size {batch_size}", hint="a batch holds at least one example")
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"{seconds:g} seconds of measuring", hint="give a positive number")
    if not 1 <= connections <= _MOST_CONNECTIONS:
        raise UsageError(f"{connections} connections", hint=f"give 1 to {_MOST_CONNECTIONS}")


def _channel(endpoint: Endpoint, limit: int, timeout: float) -> Channel:
    if endpoint.protocol == "grpc":
        from tfopt.measure.grpc_channel import GrpcChannel

        return GrpcChannel(endpoint, limit=limit, timeout=timeout)
    from tfopt.measure.rest_channel import RestChannel

    return RestChannel(endpoint, limit=limit, timeout=timeout)


def _point(rate: float, seconds: float, traces: Sequence[Trace], first: Sequence[Trace] | None) -> Point:
    latencies = [trace.latencies for trace in traces if len(trace.latencies)]
    requests = sum(trace.requests for trace in traces)
    errors: dict[str, int] = {}
    for trace in traces:
        for code, count in trace.errors.items():
            errors[code] = errors.get(code, 0) + count
    pairs = [] if first is None else [(a, b) for a, b in zip(first, traces, strict=True) if _answered(a, b)]
    ratios = np.log([np.median(a.latencies) / np.median(b.latencies) for a, b in pairs])
    return Point(
        rate=rate,
        offered=requests / seconds,
        achieved=sum(trace.achieved * trace.seconds for trace in traces) / sum(trace.seconds for trace in traces),
        requests=requests,
        latency=percentiles(latencies) if latencies else None,
        errors=errors,
        medians=tuple(float(np.median(trace.latencies)) for trace in traces if len(trace.latencies)),
        late=float(np.quantile(np.concatenate([trace.late for trace in traces]), 0.99)),
        cores=float(np.mean([trace.cpu for trace in traces])),
        waited=sum(trace.waited for trace in traces),
        speedup=as_speedup(pooled(ratios, 0.0), requests, len(ratios)) if len(ratios) else None,
    )


def _answered(one: Trace, other: Trace) -> bool:
    return bool(len(one.latencies) and len(other.latencies))


def load_warnings(servers: Sequence[Served]) -> list[str]:
    """What makes the figures doubtful: errors, a generator in the way, too few connections."""
    found = []
    for server in servers:
        for point in server.points:
            if point.errors:
                told = ", ".join(f"{count} x {code}" for code, count in point.errors.items())
                of = f"of {counted(point.requests, 'request')}; latencies are of the others"
                found.append(f"{server.url} at {point.rate:g}/s: {told} {of}")
        if late := [point for point in server.points if _in_the_way(point)]:
            worst, cores = max(point.late for point in late) * 1000, max(point.cores for point in late)
            figures = f"up to {worst:.2g} ms late at p99, {cores:.0%} of a core"
            found.append(f"{server.url}: at {_rates(late)} the generator was in the way ({figures})")
        if waiting := [point for point in server.points if point.waited]:
            found.append(f"{server.url}: at {_rates(waiting)} requests waited for one of the connections")
    return found


def _rates(points: Sequence[Point]) -> str:
    return ", ".join(f"{point.rate:g}/s" for point in points)


def _in_the_way(point: Point) -> bool:
    median = point.latency.median if point.latency else math.inf
    return point.late > max(LATE_SECONDS, LATE_SHARE * median) or point.cores > BUSY_GENERATOR


def _round(rate: float) -> float:
    """To two digits, as people name rates; at least one per second."""
    return max(1.0, float(f"{rate:.2g}"))
