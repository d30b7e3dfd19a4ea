"""A protobuf message holds less than 2 GB, and a graph that is written or handed to TensorFlow is one."""

from __future__ import annotations

from typing import Final

from tfopt.errors import ConversionError
from tfopt.ir.bodies import all_nodes
from tfopt.ir.graph import Graph

#: Bytes of constants that a graph may hold: what a message may, less room for nodes.
LARGEST: Final = (1 << 31) - (1 << 27)


def constant_bytes(graph: Graph) -> int:
    return sum(node.tensor.nbytes for node in all_nodes(graph) if node.op == "Const")


def check_message_size(graph: Graph, largest: int = LARGEST) -> None:
    """Raises ConversionError naming the largest constant when there are too many bytes of them."""
    size = constant_bytes(graph)
    if size > largest:
        constants = (node for node in all_nodes(graph) if node.op == "Const")
        worst = max(constants, key=lambda node: node.tensor.nbytes)
        raise ConversionError(
            f"the graph holds {size:,} bytes of constants, and a protobuf message at most {largest:,}",
            where=f"{worst.name}: {worst.tensor.nbytes:,} bytes",
            hint="export the model with its large weights in variables, outside of what loops and branches call",
        )
