"""Metrics by name and labels, and Prometheus' text of them, as TensorFlow Serving prints it.

prometheus_client appends `_total` to each counter, so it cannot print names that dashboards of TensorFlow Serving know.
Source: tensorflow_serving/util/prometheus_exporter.cc, tensorflow/core/lib/monitoring.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from threading import Lock
from typing import Protocol

Labels = tuple[str, ...]

#: Sets of labels that one metric may have. What comes after them is counted under OTHER, so that no stream of invented
#: names fills the memory.
MOST_CELLS = 2000
OTHER = "(other)"


class Family(Protocol):
    """All that is counted under one name."""

    @property
    def name(self) -> str: ...

    def lines(self) -> Iterator[str]:
        """Its part of the page."""


class Counter:
    """Numbers that only grow, by the values of `labels`."""

    def __init__(self, name: str, *labels: str) -> None:
        self.name = name
        self._labels = labels
        self._cells: dict[Labels, int] = {}
        self._lock = Lock()

    def add(self, values: Labels, count: int = 1) -> None:
        with self._lock:
            cells = self._cells
            if values not in cells and len(cells) >= MOST_CELLS:
                values = (OTHER,) * len(values)
            cells[values] = cells.get(values, 0) + count

    def total(self) -> int:
        """The sum over all labels."""
        with self._lock:
            return sum(self._cells.values())

    def lines(self) -> Iterator[str]:
        with self._lock:
            cells = sorted(self._cells.items())
        yield f"# TYPE {self.name} counter"
        for values, count in cells:
            yield f"{self.name}{{{_labels(self._labels, values)}}} {count}"


class Gauge:
    """Numbers as they are when somebody looks: `read` gives them by the values of `labels`."""

    def __init__(self, name: str, labels: Labels, read: Callable[[], Mapping[Labels, float]]) -> None:
        self.name = name
        self._labels = labels
        self._read = read

    def lines(self) -> Iterator[str]:
        yield f"# TYPE {self.name} gauge"
        for values, number in sorted(self._read().items()):
            yield f"{self.name}{{{_labels(self._labels, values)}}} {_number(number)}"


class Histogram:
    """How many values lie below each of `limits`, by the values of `labels`.

    A value that equals a limit counts above it, as TensorFlow counts, though `le` says otherwise.
    """

    def __init__(self, name: str, labels: Labels, limits: tuple[float, ...]) -> None:
        self.name = name
        self._labels = labels
        self._limits = limits
        self._cells: dict[Labels, _Cell] = {}
        self._lock = Lock()
        # Six digits, as TensorFlow Serving prints them: dashboards compare these texts.
        self._names = [f"{limit:g}" for limit in limits] + ["+Inf"]

    def add(self, values: Labels, value: float) -> None:
        bucket = bisect_right(self._limits, value)
        with self._lock:
            cell = self._cells.get(values)
            if cell is None:
                cell = self._new_cell(values)
            cell.counts[bucket] += 1
            cell.sum += value

    def _new_cell(self, values: Labels) -> _Cell:
        if len(self._cells) >= MOST_CELLS:
            values = (OTHER,) * len(values)
        return self._cells.setdefault(values, _Cell(len(self._names)))

    def lines(self) -> Iterator[str]:
        with self._lock:
            cells = [(values, list(cell.counts), cell.sum) for values, cell in sorted(self._cells.items())]
        yield f"# TYPE {self.name} histogram"
        for values, counts, total in cells:
            labels = _labels(self._labels, values)
            comma = "," if labels else ""
            below = 0
            for limit, count in zip(self._names, counts, strict=True):
                below += count
                yield f'{self.name}_bucket{{{labels}{comma}le="{limit}"}} {below}'
            yield f"{self.name}_sum{{{labels}}} {_number(total)}"
            yield f"{self.name}_count{{{labels}}} {below}"


class _Cell:
    __slots__ = ("counts", "sum")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.sum = 0.0

    def __lt__(self, other: object) -> bool:
        return False  # labels are never equal, so that sorting does not come to ask


def exponential(first: float, factor: float, count: int) -> tuple[float, ...]:
    """`count` limits, each `factor` times the one before."""
    limits = [first]
    for _ in range(count - 1):
        limits.append(limits[-1] * factor)
    return tuple(limits)


def page(families: Iterator[Family]) -> str:
    """All of them in the order of their names, which is TensorFlow Serving's."""
    lines = [line for family in sorted(families, key=lambda family: family.name) for line in family.lines()]
    return "\n".join(lines) + "\n"


def _labels(names: Labels, values: Labels) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


def _escaped(value: str) -> str:
    # TensorFlow Serving leaves line breaks as they are, which no reader of the page survives.
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
