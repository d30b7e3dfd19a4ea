"""What one process measures: artifacts and the yardstick in turns. `python -m tfopt.measure.worker` is such a process.

A model's speed differs from process to process, by where its memory lies and which core its threads start on, and no
number of rounds within one process can show that. So a bench spreads its rounds over several.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfopt.formats.serving.warmup import WarmupRequest, read_warmup, write_warmup
from tfopt.measure.conditions import Conditions, Reading, between
from tfopt.measure.inputs import Batch, Opened
from tfopt.measure.process import answer, run_process
from tfopt.measure.timing import TURN_SECONDS, Call, interleave, warm_up, without_garbage_collection
from tfopt.measure.yardstick import Yardstick
from tfopt.words import Tell

#: Warming up one artifact takes at most this many times the time that it is measured for, and at least a second.
WARM_UP_SHARE: Final = 1.0
#: So many rounds are enough for some of them to be calm on a machine that several others use ...
ENOUGH_ROUNDS: Final = 40
#: ... and are made whatever the time, if they take no more seconds than this on a quiet one.
ENOUGH_SECONDS: Final = 1.0
_REQUEST: Final = "request.json"


@dataclass(frozen=True)
class Job:
    """What to measure in one process.

    seconds: for each artifact at each batch size; least: rounds at each batch size at the fewest.
    units:   of the yardstick by batch size; those that are missing are chosen to fit.
    seed:    of the order in which artifacts are loaded and take turns.
    """

    signature: str
    threads: int
    batches: Mapping[int, Sequence[Batch]]
    seconds: float
    least: int
    units: Mapping[int, int]
    seed: int


@dataclass(frozen=True, eq=False)
class Measured:
    """One batch size in one process.

    turns:     seconds by artifact, as [round, call in the turn].
    yardstick: seconds of one unit, in the same form.
    steady:    by artifact: it had stopped getting faster when measuring began.
    """

    turns: tuple[NDArray[np.float64], ...]
    yardstick: NDArray[np.float64]
    units: int
    steady: tuple[bool, ...]
    conditions: Conditions


def measure_here(opened: Sequence[Opened], job: Job, tell: Tell) -> dict[int, Measured]:
    """Measure loaded artifacts at each batch size of the job. Raises what the runtimes raise."""
    with Yardstick(job.threads) as yardstick, without_garbage_collection():
        return {size: _measure(opened, job, size, yardstick, tell) for size in job.batches}


def measure_in_process(paths: Sequence[Path], names: Sequence[str], job: Job) -> dict[int, Measured]:
    """As `measure_here` in a fresh process that loads the artifacts itself.

    Raises what the runtimes raise there, and ExecutionError when the process dies.
    """
    with tempfile.TemporaryDirectory(prefix="tfopt-bench-") as scratch:
        folder = Path(scratch)
        for size, batches in job.batches.items():
            write_warmup(folder / f"{size}.inputs", [WarmupRequest("", job.signature, batch) for batch in batches])
        request = {
            "paths": [str(path.absolute()) for path in paths],
            "names": list(names),
            "signature": job.signature,
            "threads": job.threads,
            "sizes": list(job.batches),
            "seconds": job.seconds,
            "least": job.least,
            "units": {str(size): units for size, units in job.units.items()},
            "seed": job.seed,
        }
        (folder / _REQUEST).write_text(json.dumps(request))
        facts = run_process("tfopt.measure.worker", folder, where=", ".join(names))
        return {int(size): _read(folder, size, fact) for size, fact in facts.items()}


@contextmanager
def opened_artifacts(
    paths: Sequence[Path], names: Sequence[str], *, threads: int, seed: int, tell: Tell
) -> Iterator[list[Opened]]:
    """The artifacts, loaded in an order that depends on the seed: the first one loaded lies in other memory."""
    from tfopt.runtimes.load import open_artifact

    order = list(range(len(paths)))
    Random(seed).shuffle(order)
    with ExitStack() as stack:
        found: dict[int, Opened] = {}
        for index in order:
            tell(f"loading {names[index]}")
            runtime = open_artifact(paths[index], threads=threads)
            stack.callback(runtime.close)
            found[index] = Opened(names[index], paths[index], runtime)
        yield [found[index] for index in range(len(paths))]


def _measure(opened: Sequence[Opened], job: Job, size: int, yardstick: Yardstick, tell: Tell) -> Measured:
    calls = [_call(each, job.signature, job.batches[size]) for each in opened]
    limit = max(1.0, WARM_UP_SHARE * job.seconds)
    tell(f"batch {size}: warming up")
    warm = [warm_up(call, limit=limit) for call in calls]
    if size in job.units:
        yardstick.units = job.units[size]
    else:
        yardstick.fit(min(each.seconds for each in warm))
    per_call = [*(each.seconds for each in warm), warm_up(yardstick, limit=limit).seconds]
    before = Reading.now()
    *turns, reference_turns = interleave(
        [*calls, yardstick],
        per_call,
        seconds=job.seconds * len(calls),
        least=max(job.least, enough_rounds(per_call)),
        seed=job.seed,
        tell=_by_quarters(f"batch {size}: measuring", tell),
    )
    return Measured(
        turns=tuple(np.array(each) for each in turns),
        yardstick=np.array(reference_turns) / yardstick.units,
        units=yardstick.units,
        steady=tuple(each.steady for each in warm),
        conditions=between(before, Reading.now()),
    )


def enough_rounds(seconds_per_call: Sequence[float]) -> int:
    """How many rounds of such calls to make even when the time is up, so that calm ones are among them."""
    one = sum(max(TURN_SECONDS, seconds) for seconds in seconds_per_call)
    return min(ENOUGH_ROUNDS, int(ENOUGH_SECONDS / one))


def _call(opened: Opened, signature: str, batches: Sequence[Batch]) -> Call:
    run = opened.runtime.run
    ready = [opened.ready(signature, batch) for batch in batches]

    def call(round_number: int) -> dict[str, Any]:
        return run(signature, ready[round_number % len(ready)])

    return call


def _by_quarters(what: str, tell: Tell) -> Callable[[float], None]:
    """Say how far it is, but seldom: talking takes time from the next call."""
    told = -1

    def hear(share: float) -> None:
        nonlocal told
        if (quarter := int(share * 4)) > told:
            told = quarter
            tell(f"{what}, {quarter * 25} %")

    return hear


def _write(folder: Path, size: int, measured: Measured) -> dict[str, Any]:
    """Leave the arrays in the folder, and give what JSON can carry."""
    arrays = {str(index): turns for index, turns in enumerate(measured.turns)}
    np.savez(folder / f"{size}.npz", yardstick=measured.yardstick, **arrays)  # type: ignore[arg-type]  # names, not allow_pickle
    return {"units": measured.units, "steady": measured.steady, "conditions": asdict(measured.conditions)}


def _read(folder: Path, size: str, facts: Mapping[str, Any]) -> Measured:
    with np.load(folder / f"{size}.npz") as arrays:
        turns = tuple(arrays[str(index)] for index in range(len(facts["steady"])))
        yardstick = arrays["yardstick"]
    conditions = Conditions.from_dict(facts["conditions"])
    return Measured(turns, yardstick, facts["units"], tuple(facts["steady"]), conditions)


def _work(folder: Path) -> dict[str, Any]:
    request = json.loads((folder / _REQUEST).read_text())
    batches = {size: [each.inputs for each in read_warmup(folder / f"{size}.inputs")] for size in request["sizes"]}
    job = Job(
        signature=request["signature"],
        threads=request["threads"],
        batches=batches,
        seconds=request["seconds"],
        least=request["least"],
        units={int(size): units for size, units in request["units"].items()},
        seed=request["seed"],
    )
    paths = [Path(path) for path in request["paths"]]
    with opened_artifacts(paths, request["names"], threads=job.threads, seed=job.seed, tell=_silent) as opened:
        measured = measure_here(opened, job, _silent)
    return {str(size): _write(folder, size, each) for size, each in measured.items()}


def _silent(text: str) -> None:
    """Nobody listens to this process."""


if __name__ == "__main__":
    answer(_work)
