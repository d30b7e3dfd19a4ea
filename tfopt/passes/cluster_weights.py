"""Let each layer's weights be few different numbers."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidRecipe
from tfopt.ir.graph import Model
from tfopt.ir.types import Tensor
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.needs.statistics import SecondMoments
from tfopt.passes.weights.codebooks import codebook, nearest
from tfopt.passes.weights.held import HeldWeight, held_weights, with_tensors

#: Layers whose rows `SecondMoments` has.
_WEIGHED = frozenset({"MatMul", "Conv2D", "DepthwiseConv2dNative"})


def _check(clusters: int) -> None:
    if clusters < 2:
        raise InvalidRecipe(f"clusters is {clusters}", hint="give 2 or more; 16 or 32 are usual")


@graph_pass(exact=False, checks=_check)
def cluster_weights(
    model: Model,
    moments: SecondMoments | None = None,
    *,
    clusters: int = 32,
    weighted: bool = True,
    exclude: tuple[str, ...] = (),
    depthwise: bool = False,
) -> ModelOutcome:
    """Let the weights of each convolution and matrix product be a few different numbers.

        %w = Const() {[0, 1.1, 0.9, -4]}    ->    %w = Const() {[0, 1, 1, -4]}

    At most `clusters` numbers a weight, 2 or more, chosen by k-means. What this gains is bytes once compressed (gzip,
    a model store, a download): weights are still float in every artifact, so that it gains neither memory nor
    speed. A weight that has zeros keeps each of them, and zero is one of its numbers. With samples an error counts
    the more, the larger what it is multiplied with (`weighted`). `exclude` holds patterns (as in a shell) of layers or
    weights to leave as they are; depthwise filters are left unless `depthwise` is set. A weight that several layers
    share is clustered once and stays one; one that another op reads too is left. Layers in loops and branches count as
    all others. Raises InvalidRecipe for fewer than 2 clusters.
    Source: Han et al., Deep Compression, 2016 (arXiv:1510.00149), section 3, without its training; weighed by second
    moments as Choi et al., Towards the limit of network quantization, 2017 (arXiv:1612.01543) do by the Hessian.
    """
    findings, chosen = [], []
    for weight in held_weights(model.graph):
        reason = weight.reason_to_leave(exclude, depthwise) or _reason_to_leave(weight, model)
        if reason is None:
            chosen.append(weight)
        else:
            findings.append(Finding(weight.name, False, reason))
    powers = _powers(model, moments, chosen) if moments is not None and not moments.synthetic and weighted else {}
    clustered: dict[int, Tensor] = {}
    for weight in chosen:
        made = _clustered(weight.tensor.array, powers.get(id(weight.tensor)), clusters)
        findings.append(_finding(weight, made))
        if not np.array_equal(made, weight.tensor.array):
            clustered[id(weight.tensor)] = Tensor(made, weight.tensor.dtype)
    return ModelOutcome(model.with_graph(with_tensors(model.graph, clustered)), tuple(findings))


def _reason_to_leave(weight: HeldWeight, model: Model) -> str | None:
    if any(place.graph.grids.get(place.node.value()) is not None for place in weight.holders):
        return "is quantized already"
    if any(place.node.name in model.graph.targets for place in weight.holders):
        return "is somebody's from outside"
    return None if np.isfinite(weight.tensor.array.astype(np.float64)).all() else "holds numbers that are not finite"


def _powers(model: Model, moments: SecondMoments, weights: Sequence[HeldWeight]) -> Mapping[int, NDArray[np.float64]]:
    """By weight, the mean square of what each of its numbers is multiplied with, over all layers that read it."""
    layers = [weight.layer for weight in weights if _is_seen(model, weight)]
    found: dict[int, NDArray[np.float64]] = {}
    for layer, seen in moments.moments(model, layers):
        squares = np.diagonal(seen.second, axis1=1, axis2=2).astype(np.float64)
        whole = np.broadcast_to(squares[:, :, None], layer.matrices.shape)
        found[id(layer.weight)] = layer.from_matrices(whole)
    return found


def _is_seen(model: Model, weight: HeldWeight) -> bool:
    """Is it read by one layer of the graph, such as samples show the rows of?"""
    one, layer = weight.layers[0], weight.layer
    alone = len(weight.layers) == 1 and one.graph is model.graph
    return alone and one.node.op in _WEIGHED and layer.axis == -1


def _clustered(array: NDArray[np.floating], power: NDArray[np.float64] | None, count: int) -> NDArray[np.floating]:
    numbers = array.astype(np.float64)
    there = numbers != 0
    kept = numbers[there]
    weights = np.ones_like(kept) if power is None else power[there]
    # What is never multiplied with anything still has to have some number.
    weights = weights + (1e-3 * weights.mean() if weights.size and weights.mean() > 0 else 1.0)
    centres = codebook(kept, weights, count if there.all() else count - 1)
    made = np.zeros_like(numbers)
    if kept.size:
        made[there] = nearest(kept, centres)
    return made.astype(array.dtype)


def _finding(weight: HeldWeight, made: NDArray[np.floating]) -> Finding:
    array = weight.tensor.array
    before, after = len(np.unique(array)), len(np.unique(made))
    shared = f", shared by {len(weight.layers)} layers" if len(weight.layers) > 1 else ""
    if np.array_equal(made, array):
        return Finding(weight.name, False, f"is {before} different number(s) already{shared}")
    sizes = [len(zlib.compress(each.tobytes())) for each in (array, made)]
    gained = f"{sizes[1] / sizes[0]:.2f}x the bytes when compressed, no more speed"
    return Finding(
        weight.name, True, f"{array.size:,} weights are {after} numbers instead of {before:,}{shared}: {gained}"
    )
