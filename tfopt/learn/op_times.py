"""Trace models on samples: how long each op takes under TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from numpy.typing import NDArray

from tfopt.data import Samples
from tfopt.ir.graph import Model
from tfopt.passes.needs.op_times import OpTime
from tfopt.runtimes.tensorflow_trace import TensorFlowTracer
from tfopt.targets.saved_model import write_saved_model

#: Calls of each model, of which the quickest quarter counts.
_CALLS = 24
#: Models take turns of so many calls: what else the machine does slows all of them.
_TURN = 8


class TracedOpTimes:
    """`passes.op_times.OpTimes` by TensorFlow's own tracer, one signature, as it is served: from a SavedModel."""

    def __init__(self, samples: Samples, signature: str) -> None:
        self._samples = samples
        self._signature = signature

    def measure(self, models: Sequence[Model], batch_size: int) -> Sequence[Sequence[OpTime]]:
        with TemporaryDirectory(prefix="tfopt-times-") as scratch, ExitStack() as open_ones:
            tracers = []
            for at, model in enumerate(models):
                directory = Path(scratch) / str(at)
                write_saved_model(model, directory)
                tracers.append(TensorFlowTracer(directory))
                open_ones.callback(tracers[-1].runtime.close)
            inputs = self._inputs(batch_size)
            rounds = [[_traced(tracer, self._signature, inputs) for tracer in tracers] for _ in range(_CALLS // _TURN)]
            return [min(turns, key=lambda ops: sum(op.seconds for op in ops)) for turns in zip(*rounds, strict=True)]

    def _inputs(self, batch_size: int) -> dict[str, NDArray[Any]]:
        """The first examples, over again where there are fewer."""
        return next(self._samples.take([at % self._samples.count for at in range(batch_size)]).batches(batch_size))


def _traced(tracer: TensorFlowTracer, signature: str, inputs: dict[str, NDArray[Any]]) -> list[OpTime]:
    return [OpTime(op.covers, op.seconds) for op in tracer.trace(signature, inputs, _TURN).ops]
