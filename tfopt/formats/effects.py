"""Which ops do something besides computing their outputs, as far as a served model can tell.

TensorFlow marks every op that touches a resource as stateful. Most of those only read or hand out the resource, and
need not run when nobody asks for their outputs.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from tfopt.formats.node_def import op_def
from tfopt.formats.tensor_proto import dtype_to_enum
from tfopt.ir.bodies import CONTROL_FLOW, bodies
from tfopt.ir.graph import Node
from tfopt.ir.types import DType


def ops(names: str) -> frozenset[str]:
    return frozenset(names.split())


#: Stateful for TensorFlow, but nobody can tell whether it has run.
_UNNOTICED = ops(
    """
    VarHandleOp ReadVariableOp VarIsInitializedOp VariableShape ResourceGather ResourceGatherNd DisableCopyOnRead
    HashTableV2 MutableHashTableV2 MutableHashTableOfTensorsV2 MutableDenseHashTableV2 LookupTableFindV2
    LookupTableSizeV2 LookupTableExportV2 RandomUniform RandomUniformInt RandomStandardNormal TruncatedNormal
    ParameterizedTruncatedNormal RandomGamma RandomPoisson RandomPoissonV2 RandomShuffle Multinomial
    StatelessRandomGetAlg TensorArrayV3 TensorArrayReadV3 TensorArrayWriteV3 TensorArrayGatherV3 TensorArrayScatterV3
    TensorArrayConcatV3 TensorArraySplitV3 TensorArraySizeV3 TensorArrayCloseV3 GuaranteeConst Empty
    """
)

#: Fill or change a table. The initialiser may, a signature may not.
TABLE_WRITES = ops(
    """
    InitializeTableV2 InitializeTableFromTextFileV2 InitializeTableFromDataset LookupTableImportV2
    LookupTableInsertV2 LookupTableRemoveV2
    """
)


@cache
def has_effect(op: str) -> bool:
    """Must the op run even when nobody reads its outputs?"""
    definition = op_def(op)
    return definition is not None and definition.is_stateful and op not in _UNNOTICED


def acts(node: Node) -> bool:
    """`has_effect` of the node's op; control flow has one when its functions must run something."""
    if node.op in CONTROL_FLOW:
        return any(body.targets for _, body in bodies(node))
    return has_effect(node.op)


@cache
def is_stateful(op: str) -> bool:
    """Does TensorFlow keep the op where it stands? It neither drops, merges nor folds what is marked so."""
    definition = op_def(op)
    return definition is not None and bool(definition.is_stateful)


_STATELESS = {op: f"Stateless{op}" for op in ("While", "If", "Case")}


def without_state(node: Node) -> Node:
    """Control flow over nothing that is stateful as the op that says so. Innermost functions come first."""
    if node.op not in _STATELESS or any(is_stateful(inner.op) for _, body in bodies(node) for inner in body):
        return node
    return replace(node, op=_STATELESS[node.op])


@cache
def is_handle(op: str) -> bool:
    """Does the op do nothing but name a resource (a variable, a table) that others read and write?"""
    definition = op_def(op)
    return definition is not None and not definition.input_arg and is_resource(op)


@cache
def is_resource(op: str) -> bool:
    """Does the op name a resource, be it with a key that it is made with (MutableDenseHashTableV2)?"""
    definition = op_def(op)
    if definition is None or len(definition.output_arg) != 1:
        return False
    named = {attr.name for attr in definition.attr} >= {"container", "shared_name"}
    return named and definition.output_arg[0].type == dtype_to_enum(DType.RESOURCE)
