"""What a call takes, told of the shares of the channels that are left: measured at a few widths, and between them as
much as lies between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Model
from tfopt.passes.needs.op_times import OpTime, OpTimes
from tfopt.passes.structure.allocation import nearest
from tfopt.passes.structure.costs import Part, Price
from tfopt.passes.structure.coupling import Coupling
from tfopt.passes.structure.removal import without_units
from tfopt.passes.structure.scores import Ranked
from tfopt.passes.structure.ties import Axis

#: Shares of all channels that stay in the models which are timed.
_WIDTHS = (1.0, 0.75, 0.5, 0.25)


def times_parts(
    model: Model,
    coupling: Coupling,
    order: Sequence[Ranked],
    counts: Sequence[Sequence[int]],
    times: OpTimes,
    batch_size: int,
) -> Sequence[Part]:
    """Seconds of each op by how much of its work is left: the model is timed whole, and with all groups narrowed to
    about the same share, by as many units as may go (`counts`)."""
    narrowed = [_narrowed(coupling, order, counts, width) for width in _WIDTHS]
    models = [model if not len(gone) else model.with_graph(without_units(coupling, gone)) for gone in narrowed]
    tables = [_by_node(ops) for ops in times.measure(models, batch_size)]
    axes = _axes(coupling)
    return list(_parts(coupling, axes, narrowed, tables))


def _narrowed(coupling: Coupling, order: Sequence[Ranked], counts: Sequence[Sequence[int]], width: float) -> Axis:
    gone = [each.order[: nearest(may, (1 - width) * len(each.order))] for each, may in zip(order, counts, strict=True)]
    return np.concatenate(gone) if gone else np.empty(0, np.int64)


def _by_node(ops: Sequence[OpTime]) -> Mapping[tuple[str, ...], float]:
    """What stands for no node of the model is one entry."""
    found: dict[tuple[str, ...], float] = {}
    for op in ops:
        found[op.covers] = found.get(op.covers, 0.0) + op.seconds
    return found


def _axes(coupling: Coupling) -> Mapping[str, Sequence[Axis]]:
    """What the work of a node goes with: of a product its factors, of any other the channels that it makes."""
    found: dict[str, Sequence[Axis]] = {}
    followed = coupling.followed[coupling.graph]
    for value, labels in followed.labels.items():
        found.setdefault(value.node, [axis for axis in labels or () if axis is not None])
    return found | {product.node.name: product.factors for product in followed.products}


def _parts(
    coupling: Coupling,
    axes: Mapping[str, Sequence[Axis]],
    narrowed: Sequence[Axis],
    tables: Sequence[Mapping[tuple[str, ...], float]],
) -> Iterator[Part]:
    for covers, whole in tables[0].items():
        nodes = [name for name in covers if name in axes]
        of = max((axes[name] for name in nodes), key=len, default=())
        measured = [
            (_left(coupling, of, gone), table.get(covers, whole)) for gone, table in zip(narrowed, tables, strict=True)
        ]
        yield Part(_between(measured), of)


def _left(coupling: Coupling, axes: Sequence[Axis], gone: Axis) -> float:
    """The share of the work."""
    return float(np.prod([1.0 - np.isin(coupling.classes[axis], gone).mean() for axis in axes]))


def _between(measured: Sequence[tuple[float, float]]) -> Price:
    """A narrower op takes no longer: where one seemed to, it was noise. Below what was measured it takes as long."""
    points = sorted(dict(reversed(measured)).items())
    shares: NDArray[np.float64] = np.array([share for share, _ in points])
    seconds = np.maximum.accumulate([second for _, second in points])
    return lambda left: float(np.interp(np.prod(left), shares, seconds))
