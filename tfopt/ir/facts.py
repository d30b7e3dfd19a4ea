"""What is known of ops. An op that is not listed here is opaque: carried, never merged, folded or moved.

Source: TensorFlow's op registry (tensorflow/core/ops/*.cc); a test holds the purity facts against it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TypeAlias, cast

from tfopt.ir.bodies import BRANCHES, CONTROL_FLOW, bodies
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.types import DType, Shape


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: One input, one output, the same value at every place (for inference).
IDENTITIES = _names(
    """
    Identity StopGradient PreventGradient Snapshot
    """
)

#: Elementwise functions of one tensor: shape and layout of the output are those of the input.
UNARY = _names(
    """
    Abs Acos Acosh Asin Asinh Atan Atanh Ceil Conj Cos Cosh Elu Erf Erfc Exp Expm1 Floor Inv IsFinite IsInf
    IsNan LeakyRelu Lgamma Log Log1p LogicalNot Neg Reciprocal Relu Relu6 Rint Round Rsqrt Selu Sigmoid Sign Sin
    Sinh Softplus Softsign Sqrt Square Tan Tanh
    """
)

#: Elementwise functions of two tensors that broadcast.
BINARY = _names(
    """
    Add AddV2 Atan2 BitwiseAnd BitwiseOr BitwiseXor Div DivNoNan Equal FloorDiv FloorMod Greater GreaterEqual
    Less LessEqual LogicalAnd LogicalOr Maximum Minimum Mod Mul MulNoNan NotEqual Pow RealDiv SquaredDifference
    Sub TruncateDiv TruncateMod Xdivy Xlogy
    """
)

#: Whatever order their inputs have, but for strings (`commutes`).
COMMUTATIVE = _names(
    """
    Add AddV2 BitwiseAnd BitwiseOr BitwiseXor Equal LogicalAnd LogicalOr Maximum Minimum Mul NotEqual
    SquaredDifference
    """
)

_REDUCTIONS = _names(
    """
    All Any ArgMax ArgMin Cumprod Cumsum EuclideanNorm Max Mean Min Prod Sum
    """
)

_LINEAR = _names(
    """
    BatchMatMul BatchMatMulV2 BatchNormWithGlobalNormalization BiasAdd BiasAddV1 Conv2D Conv2DBackpropInput Conv3D
    Conv3DBackpropInputV2 DepthwiseConv2dNative Einsum FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 MatMul
    """
)

_STRUCTURAL = _names(
    """
    AddN BatchToSpaceND BroadcastArgs BroadcastTo Cast ClipByValue Concat ConcatV2 Const DepthToSpace Diag
    DynamicPartition DynamicStitch EnsureShape ExpandDims Fill Gather GatherNd GatherV2 IdentityN InTopK
    InTopKV2 InvertPermutation L2Loss LinSpace MatrixBandPart MatrixDiag MirrorPad OneHot OnesLike Pack Pad
    PadV2 ParallelDynamicStitch Range Rank Reshape ResizeBicubic ResizeBilinear ResizeNearestNeighbor Reverse
    ReverseSequence ReverseV2 ScatterNd Select SelectV2 Shape ShapeN Size Slice SpaceToBatchND SpaceToDepth
    Split SplitV Squeeze StridedSlice TensorScatterAdd TensorScatterUpdate Tile TopK TopKV2 Transpose Unique
    Unpack UnravelIndex Where ZerosLike Bitcast Complex Real Imag
    """
)

_NEURAL = _names(
    """
    AvgPool AvgPool3D FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel LRN
    LogSoftmax MaxPool MaxPool3D MaxPoolV2 Softmax SparseSoftmaxCrossEntropyWithLogits
    """
)

_STRINGS = _names(
    """
    AsString DecodeBase64 DecodeRaw EncodeBase64 ReduceJoin RegexFullMatch RegexReplace StaticRegexFullMatch
    StaticRegexReplace StringJoin StringLength StringLower StringSplit StringSplitV2 StringStrip
    StringToHashBucketFast StringToHashBucketStrong StringToNumber StringUpper Substr UnicodeDecode
    """
)

#: Lists of tensors, which are values: what changes one makes a new one.
_LISTS = _names(
    """
    EmptyTensorList TensorListConcat TensorListConcatLists TensorListConcatV2 TensorListElementShape
    TensorListFromTensor TensorListGather TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack
    TensorListPushBackBatch TensorListReserve TensorListResize TensorListScatter
    TensorListScatterIntoExistingList TensorListScatterV2 TensorListSetItem TensorListSplit TensorListStack
    """
)

#: Look at nothing of their inputs but the shape.
SHAPE_READERS = frozenset({"Rank", "Shape", "ShapeN", "Size"})

#: Same inputs, same outputs, no other effect: may be merged with an equal node, dropped when unread, moved.
PURE = IDENTITIES | UNARY | BINARY | _REDUCTIONS | _LINEAR | _STRUCTURAL | _NEURAL | _STRINGS | _LISTS

#: Would touch files, sockets or foreign code when served. The reader refuses a model in which a signature or the
#: initialiser reaches one of these. (Table initialisers that read an asset are checked separately.)
UNSAFE = _names(
    """
    ReadFile WriteFile MatchingFiles Save SaveV2 SaveSlices Restore RestoreV2 RestoreSlice MergeV2Checkpoints
    ShardedFilename PyFunc PyFuncStateless EagerPyFunc TextLineReader TextLineReaderV2 TFRecordReader
    TFRecordReaderV2 FixedLengthRecordReader FixedLengthRecordReaderV2 WholeFileReader WholeFileReaderV2
    LMDBReader IdentityReader IdentityReaderV2 TextLineDataset TFRecordDataset TFRecordDatasetV2
    FixedLengthRecordDataset FixedLengthRecordDatasetV2 SqlDataset LMDBDataset CacheDataset CacheDatasetV2
    SaveDataset SaveDatasetV2 LoadDataset SnapshotDataset SnapshotDatasetV2 PrintV2 CreateSummaryFileWriter
    CreateSummaryDbWriter WriteSummary WriteGraphSummary SummaryWriter DebugIdentity DebugIdentityV2
    DebugIdentityV3 DebugNumericSummary RemoteCall RpcCall RpcClient RpcServer DataServiceDataset
    DataServiceDatasetV2 GenerateVocabRemapping LoadAndRemapMatrix ImmutableConst
    CSVDataset CSVDatasetV2 CalibrationStatisticsSaver DTensorRestoreV2 DataServiceDatasetV3 DataServiceDatasetV4
    DatasetToTFRecord DebugNanCount DebugNumericSummaryV2 DecodeProtoV2 DistributedSave DumpTensor EncodeProto
    ExperimentalCSVDataset ExperimentalDatasetToTFRecord ExperimentalLMDBDataset ExperimentalMatchingFilesDataset
    ExperimentalSqlDataset FileSystemSetConfiguration FixedUnigramCandidateSampler ListSnapshotChunksDataset
    MatchingFilesDataset RecordInput RegisterDataset RegisterDatasetV2 RpcServerRegister RpcServerStart Skipgram
    SnapshotChunkDataset SnapshotDatasetReader SnapshotNestedDatasetReader
    """
)

#: Draw random numbers, from a seed in the attributes `seed` and `seed2` when one of them is not 0.
RANDOM = _names(
    """
    Multinomial ParameterizedTruncatedNormal RandomGamma RandomPoisson RandomPoissonV2 RandomShuffle
    RandomStandardNormal RandomUniform RandomUniformInt TruncatedNormal
    """
)

#: Change a variable: a signature that reaches one of these is stateful.
VARIABLE_WRITES = _names(
    """
    Assign AssignAdd AssignSub AssignVariableOp AssignAddVariableOp AssignSubVariableOp AssignVariableXlaConcatND
    CountUpTo ResourceCountUpTo ResourceStridedSliceAssign StridedSliceAssign
    ScatterAdd ScatterDiv ScatterMax ScatterMin ScatterMul ScatterNdAdd ScatterNdMax ScatterNdMin ScatterNdSub
    ScatterNdUpdate ScatterSub ScatterUpdate ResourceScatterAdd ResourceScatterDiv ResourceScatterMax
    ResourceScatterMin ResourceScatterMul ResourceScatterNdAdd ResourceScatterNdMax ResourceScatterNdMin
    ResourceScatterNdSub ResourceScatterNdUpdate ResourceScatterSub ResourceScatterUpdate
    ApplyAdaMax ApplyAdadelta ApplyAdagrad ApplyAdagradDA ApplyAdagradV2 ApplyAdam ApplyAddSign
    ApplyCenteredRMSProp ApplyFtrl ApplyFtrlV2 ApplyGradientDescent ApplyMomentum ApplyPowerSign
    ApplyProximalAdagrad ApplyProximalGradientDescent ApplyRMSProp
    ResourceApplyAdaMax ResourceApplyAdadelta ResourceApplyAdagrad ResourceApplyAdagradDA ResourceApplyAdagradV2
    ResourceApplyAdam ResourceApplyAdamWithAmsgrad ResourceApplyAddSign ResourceApplyCenteredRMSProp
    ResourceApplyFtrl ResourceApplyFtrlV2 ResourceApplyGradientDescent ResourceApplyKerasMomentum
    ResourceApplyMomentum ResourceApplyPowerSign ResourceApplyProximalAdagrad ResourceApplyProximalGradientDescent
    ResourceApplyRMSProp
    SparseApplyAdadelta SparseApplyAdagrad SparseApplyAdagradDA SparseApplyAdagradV2 SparseApplyCenteredRMSProp
    SparseApplyFtrl SparseApplyFtrlV2 SparseApplyMomentum SparseApplyProximalAdagrad
    SparseApplyProximalGradientDescent SparseApplyRMSProp
    ResourceSparseApplyAdadelta ResourceSparseApplyAdagrad ResourceSparseApplyAdagradDA
    ResourceSparseApplyAdagradV2 ResourceSparseApplyCenteredRMSProp ResourceSparseApplyFtrl
    ResourceSparseApplyFtrlV2 ResourceSparseApplyKerasMomentum ResourceSparseApplyMomentum
    ResourceSparseApplyProximalAdagrad ResourceSparseApplyProximalGradientDescent ResourceSparseApplyRMSProp
    """
)


_EFFECTLESS = _names("NoOp Placeholder PlaceholderWithDefault")


def is_pure(node: Node) -> bool:
    """Is the op in PURE, or control flow over nothing else?"""
    if node.op in CONTROL_FLOW:
        return all(is_pure(inner) or inner.op in _EFFECTLESS for _, body in bodies(node) for inner in body)
    return node.op in PURE


def commutes(node: Node) -> bool:
    """May its inputs change places? Add joins strings, in their order."""
    return node.op in COMMUTATIVE and node.outputs[0].dtype is not DType.STRING


def _always_holds(graph: Graph, node: Node) -> bool:
    condition = graph.constant(node.inputs[0]) if node.op == "Assert" else None
    return condition is not None and bool(condition.array.all())


def idle_nodes(graph: Graph) -> frozenset[str]:
    """The nodes that do nothing but make their values: to wait for one of these is to wait for nothing.

    Neither the node nor anything it needs has an effect. An assertion of a constant truth is one of them.
    """
    idle: set[str] = set()
    for node in graph.nodes:
        if not is_pure(node) and node.op not in _EFFECTLESS and not _always_holds(graph, node):
            continue
        if all(value.node in idle for value in node.inputs) and idle.issuperset(node.controls):
            idle.add(node.name)
    return frozenset(idle)


#: The dims of a value with unknown ones as some number; None when the rank is unknown.
DimsOf: TypeAlias = "Callable[[Value], tuple[int, ...] | None]"


def macs(graph: Graph, node: Node, dims_of: DimsOf | None = None) -> int:
    """Multiply-accumulates of one inference, unknown dimensions counted as 1 (so: of one example).

    Linear layers only, the convention of the pruning literature; everything else counts 0. A loop's body counts
    once, whatever number of times it runs, and of the branches that an op chooses from the one that needs most.
    `dims_of` may know more of the dims than their types do (`known_sizes.counted_dims`).
    """
    dims_of = dims_of or (lambda value: _counted(graph.type_of(value).shape))
    if node.op == "Einsum":
        return _einsum_macs(node, dims_of)
    op = INTEGER_LAYERS.get(node.op, node.op)
    if op in _COUNTED:
        read, made = [dims_of(value) for value in node.inputs[:3]], dims_of(node.value())
        # An unknown rank leaves nothing to count by.
        return 0 if made is None or None in read else _layer_macs(op, node, [dims or () for dims in read], prod(made))
    called = [sum(macs(body, inner) for inner in body) for _, body in bodies(node)]
    return max(called, default=0) if node.op in BRANCHES else sum(called)


#: TensorFlow's ops on 8-bit integers, with bias and activation in one, by what they are a form of.
INTEGER_LAYERS = {
    "_FusedQuantizedConv2D": "Conv2D",
    "_FusedQuantizedDepthwiseConv2D": "DepthwiseConv2dNative",
    "_QuantizedMatMul": "MatMul",
}

_COUNTED = _names(
    """
    BatchMatMul BatchMatMulV2 Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInputV2 DepthwiseConv2dNative MatMul
    """
)


def _layer_macs(op: str, node: Node, read: list[tuple[int, ...]], made: int) -> int:
    if op in ("Conv2D", "Conv3D"):
        return made * prod(read[1][:-1])
    if op in ("Conv2DBackpropInput", "Conv3DBackpropInputV2"):
        return prod(read[2]) * prod(read[1][:-1])
    if op == "DepthwiseConv2dNative":
        return made * prod(read[1][:2])
    return made * read[0][-2 if node.attrs.get("transpose_a" if op == "MatMul" else "adj_x") else -1]


def _einsum_macs(node: Node, dims_of: DimsOf) -> int:
    """Every combination of the labels of two operands is one product."""
    terms = cast(bytes, node.attrs["equation"]).decode().replace(" ", "").partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, value in zip(terms, node.inputs, strict=True):
        dims = dims_of(value)
        if dims is None or len(terms) != 2:
            return 0
        front, _, back = term.partition("...")
        hidden = "".join(chr(at) for at in range(len(dims) - len(front) - len(back)))
        sizes.update(zip(front + hidden + back, dims, strict=True))
    return prod(sizes.values())


def _counted(shape: Shape) -> tuple[int, ...] | None:
    return None if shape.dims is None else tuple(1 if d is None else d for d in shape.dims)


def picks_places(node: Node) -> bool:
    """Is it a mean over one place each, which is that place?"""
    sizes = node.attrs.get("ksize")
    return node.op == "AvgPool" and isinstance(sizes, tuple) and all(size == 1 for size in sizes)
