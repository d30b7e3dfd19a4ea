"""Constants that are too many: some of them, or all, become variables, whatever reads them.

Every signature that runs keeps constants of its own, several times over: 206 MB of filters under two signatures took
2.0 GB in the session of the v1 loader and 4.6 GB in `tf.saved_model.load`, against 0.3 GB as variables
(`benchmarks/load_memory.py`). A convolution is faster for it, since the kernel packs a constant filter once: so a model
of up to a certain size pays that, a larger one does not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from tfopt.formats.message_size import constant_bytes
from tfopt.ir import Graph, Node, Signature
from tfopt.ir.rewrite import reachable

#: Bytes from which a constant may move: shapes, axes and sizes, which TensorFlow looks into, are smaller.
_SMALLEST = 1 << 16

#: Bytes of movable constants, once for each signature that reads them, that a model may hold for the sake of speed.
#: A ResNet50 under one signature is within.
MOST = 1 << 27


def crowding(graph: Graph, signatures: Iterable[Signature], keep: Iterable[str], most: int = MOST) -> tuple[Node, ...]:
    """All constants that can move, when signatures would keep more than `most` bytes of them; else none.

    Signatures of equal inputs and outputs are one for a session. Integers of 8 bits stay: they are weights that
    kernels pack once. So does what is cast: it would be so in every call.
    """
    movable = tuple(
        node for node in _movable(graph, keep) if node.tensor.dtype.itemsize > 1 and not _is_cast(graph, node)
    )
    programs = {
        tuple(sorted(graph.outputs[entry.position] for entry in signature.outputs.values())) for signature in signatures
    }
    reads = [reachable(graph, (value.node for value in outputs)) for outputs in programs]
    held = sum(node.tensor.nbytes * sum(node.name in read for read in reads) for node in movable)
    return movable if held > most else ()


def overflowing(graph: Graph, keep: Iterable[str], largest: int) -> tuple[Node, ...]:
    """The constants that have to leave the graph for it to hold at most `largest` bytes of them, largest first.

    Those in `keep`, in functions and within a loop or branch of TensorFlow 1 stay where they are.
    """
    too_many = constant_bytes(graph) - largest
    chosen = []
    for node in sorted(_movable(graph, keep), key=lambda node: (-node.tensor.nbytes, node.name)):
        if too_many <= 0:
            break
        chosen.append(node)
        too_many -= node.tensor.nbytes
    return tuple(chosen)


def _movable(graph: Graph, keep: Iterable[str]) -> Iterator[Node]:
    kept: Collection[str] = {*keep, *graph.targets}
    for node in graph.by_op.get("Const", ()):
        if node.tensor.nbytes >= _SMALLEST and not node.controls and node.name not in kept:
            yield node


def _is_cast(graph: Graph, node: Node) -> bool:
    return all(reader.op == "Cast" for reader in graph.readers.get(node.value(), ()))
