"""Run a model under TensorFlow, as TensorFlow Serving does: a session of its own, fed and fetched by signature."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

from tfopt.formats.tensorflow import tf  # isort: split

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import Error as ProtobufError
from numpy.typing import NDArray
from tensorflow.core.protobuf import rewriter_config_pb2
from tensorflow.python.client import pywrap_tf_session
from tensorflow.python.util import deprecation

from tfopt.errors import Code, ExecutionError, InvalidModel, UnsupportedModel, UsageError
from tfopt.formats import protos
from tfopt.formats.composites import plain
from tfopt.formats.tensor_proto import dtype_from_enum, shape_from_proto, tensor_from_proto
from tfopt.formats.unsafe import refuse_unsafe
from tfopt.ir import DType, Model, TensorType, Value
from tfopt.ir.bodies import all_nodes
from tfopt.runtimes.base import (
    Closing,
    SignatureInfo,
    TensorInfo,
    arguments,
    check_shapes,
    failure,
    find_signature,
    signatures_of,
)
from tfopt.runtimes.tensorflow_integers import check_integer_kernels, integer_requirements
from tfopt.runtimes.tensorflow_pace import Pace, is_bounded
from tfopt.runtimes.weights_aside import import_graph

# oneDNN's kernels of these ops end the whole process ("Check failed: index >= 0") when their input has too few
# dimensions, where other ops answer with an error.
_ABORT_ON_RANK = frozenset({"Conv2D", "Conv3D", "DepthwiseConv2dNative"})


#: TensorFlow's numbers of the canonical codes (tsl/protobuf/error_codes.proto), which are everybody's.
_CODES = dict(enumerate(Code))

_QUANTIZED = {
    dtype: np.dtype(tf.as_dtype(dtype.value).as_numpy_dtype) for dtype in DType if dtype.value.startswith("q")
}


@dataclass(frozen=True)
class SessionThreads:
    """Threads within an op, and ops beside each other."""

    intra_op: int
    inter_op: int


#: None leaves both to TensorFlow, one number is for both.
Threads: TypeAlias = "SessionThreads | int | None"


@dataclass(frozen=True)
class _Plan:
    """One signature in the session's terms. `echoed` are outputs that are inputs, which a session does not fetch."""

    feeds: tuple[Any, ...]
    fetches: tuple[Any, ...]
    fetched: tuple[str, ...]
    echoed: Mapping[str, str]

    def only(self, outputs: Collection[str]) -> _Plan:
        kept = [index for index, name in enumerate(self.fetched) if name in outputs]
        return _Plan(
            self.feeds,
            tuple(self.fetches[index] for index in kept),
            tuple(self.fetched[index] for index in kept),
            {name: source for name, source in self.echoed.items() if name in outputs},
        )


class SessionRuntime(Closing):
    """A graph in a session of its own and what may be asked of it."""

    kind = "saved_model"

    def __init__(
        self, threads: Threads, *, optimize: bool = True, one_op_at_a_time: bool = False, config: Any = None
    ) -> None:
        self._graph = tf.Graph()
        config = session_config(threads, optimize=optimize, base=config)
        if one_op_at_a_time:
            config.inter_op_parallelism_threads = 1
        self._session: Any = tf.compat.v1.Session(graph=self._graph, config=config)
        self._plans: dict[str, _Plan] = {}
        self._planning = threading.Lock()
        self._needs_rank = False
        self._is_bounded = False
        self._pace: Pace | None = None
        self.signatures: Mapping[str, SignatureInfo] = {}

    def keep_short_runs(self) -> None:
        """Let runs that are known to be short stay in the thread that asks for them; for who runs one at a time."""
        if self._is_bounded and self._pace is None:
            self._pace = Pace()

    def prepare(self, signature: str) -> None:
        """Have the session optimise the graph for a signature and set up what runs it, which else takes a hundred times
        as long as a run, in the first one. It does so before it looks at what it is fed, so a value of a type that it
        must refuse is enough, and no op runs. What goes wrong is told by the first run. Raises NotFound."""
        info = find_signature(self.signatures, signature)
        plan = self._plan(signature, info)
        if not plan.feeds or not plan.fetches:
            return
        wrong = [_of_another_type(entry.type.dtype) for entry in info.inputs.values()]
        session = self._open_session()._session
        with suppress(tf.errors.OpError, UnicodeDecodeError):
            feeds = dict(zip(plan.feeds, wrong, strict=True))
            pywrap_tf_session.TF_SessionRun_wrapper(session, None, feeds, plan.fetches, [], None)

    def run(
        self,
        signature: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Collection[str] | None = None,
        timeout: float | None = None,
        options: Any = None,
        metadata: Any = None,
    ) -> dict[str, NDArray[Any]]:
        """Outputs by name, without computing what only others than `outputs` need. Shapes are not held against the
        signature: TensorFlow's kernels decide, as they do in TensorFlow Serving; when they refuse, inputs that do not
        fit the signature are told instead of a kernel's words. Only a wrong rank is refused before, where a kernel
        would end the process. `options` and `metadata` are the session's buffers, for a run that is traced; then
        there is no `timeout`.

        Raises NotFound, ExecutionError.
        """
        info, values = self._arguments(signature, inputs)
        plan = self._plan(signature, info)
        if outputs is not None:
            plan = plan.only(outputs)
        if self._pace is None or options is not None:
            with _run_options(options, timeout) as buffer:
                results = self._call(signature, info, values, plan.fetches, buffer, metadata)
        else:
            results = self._paced(self._pace, signature, info, values, plan, timeout)
        made = dict(zip(plan.fetched, results, strict=True))
        made |= {output: values[source].copy() for output, source in plan.echoed.items()}
        return {name: made[name] for name in (info.outputs if outputs is None else outputs)}

    def _paced(
        self,
        pace: Pace,
        signature: str,
        info: SignatureInfo,
        values: Mapping[str, NDArray[Any]],
        plan: _Plan,
        timeout: float | None,
    ) -> list[NDArray[Any]]:
        key, size = (signature, plan.fetched), sum(value.nbytes for value in values.values())
        start = perf_counter()
        with _run_options(_here() if pace.is_short(key, size) else None, timeout) as buffer:
            results = self._call(signature, info, values, plan.fetches, buffer)
        pace.took(key, size, perf_counter() - start)
        return results

    def _arguments(
        self, signature: str, inputs: Mapping[str, NDArray[Any]]
    ) -> tuple[SignatureInfo, dict[str, NDArray[Any]]]:
        info = find_signature(self.signatures, signature)
        values = {name: np.asarray(value) for name, value in arguments(info, inputs).items()}
        if self._needs_rank:
            check_shapes(info, {name: value for name, value in values.items() if _other_rank(info, name, value)})
        return info, values

    def _call(
        self,
        signature: str,
        info: SignatureInfo,
        values: Mapping[str, NDArray[Any]],
        fetches: Sequence[Any],
        options: Any = None,
        metadata: Any = None,
    ) -> list[NDArray[Any]]:
        session = self._open_session()
        if not fetches:  # which a session refuses
            return []
        fed = (_session_array(value, info.inputs[name].type.dtype) for name, value in values.items())
        feeds = dict(zip(self._plan(signature, info).feeds, fed, strict=True))
        try:
            # What TF Serving calls too. `Session.run` is eight times slower for a small model, and refuses shapes;
            # the callables of a session hand out the model's own memory.
            results = pywrap_tf_session.TF_SessionRun_wrapper(session._session, options, feeds, fetches, [], metadata)
        except tf.errors.OpError as error:
            raise failure(signature, info, values, error.message, _CODES.get(error.error_code, Code.UNKNOWN)) from error
        except UnicodeDecodeError as error:
            # A kernel's words that hold bytes of the input, as those about an Example that is none, can be no message
            # of TensorFlow's own errors.
            said = bytes(error.object).decode("utf-8", "replace")
            raise failure(signature, info, values, said, Code.INVALID_ARGUMENT) from error
        return [_plain_array(result) for result in results]

    def _know_ops(self, graph_def: protos.GraphDef) -> None:
        ops = frozenset(_ops(graph_def))
        self._needs_rank = not ops.isdisjoint(_ABORT_ON_RANK)
        self._is_bounded = is_bounded(ops)

    def _open_session(self) -> Any:
        session = self._session
        if session is None:
            raise ExecutionError("the model has been closed")
        return session

    def close(self) -> None:
        """Free the model; a run that is under way ends with an ExecutionError."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _plan(self, signature: str, info: SignatureInfo) -> _Plan:
        plan = self._plans.get(signature)
        if plan is None:
            with self._planning:
                plan = self._plans[signature] = _make_plan(self._graph, info)
        return plan


class TensorFlowRuntime(SessionRuntime):
    """A SavedModel, loaded as TensorFlow Serving loads it (the v1 loader), variables restored and initialised.

    `threads` limits the threads of kernels and between kernels; None leaves both to TensorFlow. `one_op_at_a_time`
    leaves no op beside another, so that the times of ops add up. `config` is a ConfigProto to begin with.
    """

    def __init__(
        self,
        directory: Path,
        *,
        threads: Threads = None,
        tags: tuple[str, ...] = ("serve",),
        one_op_at_a_time: bool = False,
        config: Any = None,
    ) -> None:
        """Raises InvalidModel for what cannot be loaded, UnsupportedModel for ops and values unknown here, UnsafeModel
        for what would touch files or run foreign code; nothing of that has run then. Raises UnmetRequirement for a
        model on integers where this machine has no kernels for them, or wrong ones."""
        refuse_unsafe(directory, tags=tags)
        super().__init__(threads, one_op_at_a_time=one_op_at_a_time, config=config)
        with closing_on_failure(self), load_errors(directory), self._graph.as_default(), deprecation.silence():
            meta_graph = tf.compat.v1.saved_model.load(self._session, list(tags), str(directory))
            self.signatures = signatures_in(meta_graph)
            #: What the model requires of the machine that runs it.
            self.requires = integer_requirements(meta_graph.graph_def.node)
            check_integer_kernels(self.requires, str(directory))
        self._session._extend_graph()
        self._know_ops(meta_graph.graph_def)


class ModelRunner(SessionRuntime):
    """A `Model` in memory, initialised and ready to run a few times.

    TensorFlow's graph optimizer is off, unless who wants to know how long runs take asks for it: it takes several times
    longer than the few runs that it would speed up.
    """

    def __init__(self, model: Model, *, threads: int | None = None, optimize: bool = False) -> None:
        """Raises InvalidModel when TensorFlow does not accept the graph or its initialiser fails, ConversionError for
        one whose functions hold too many constants."""
        super().__init__(threads, optimize=optimize)
        self.signatures = signatures_of(model)
        self._needs_rank = any(node.op in _ABORT_ON_RANK for node in all_nodes(model.graph))
        with closing_on_failure(self), load_errors(None), self._graph.as_default():
            import_graph(model.graph, self._session)
            self._initialise(model)
        self._session._extend_graph()

    def fetch(self, signature: str, inputs: Mapping[str, NDArray[Any]], values: Sequence[Value]) -> list[NDArray[Any]]:
        """Values of the graph, not to be written to, that these inputs of a signature are enough for; none of a Const
        and none within TensorFlow 1's loops and branches.

        Raises NotFound, ExecutionError.
        """
        info, arrays = self._arguments(signature, inputs)
        sources = {entry.name: name for name, entry in info.inputs.items()}
        wanted = {name: None for value in values if (name := f"{value.node}:{value.port}") not in sources}
        results = self._call(signature, info, arrays, [_handle(self._graph, name) for name in wanted])
        made = {name: arrays[source] for name, source in sources.items()} | dict(zip(wanted, results, strict=True))
        return [made[f"{value.node}:{value.port}"] for value in values]

    def nbytes(self, signature: str, inputs: Mapping[str, NDArray[Any]], values: Sequence[Value]) -> list[int]:
        """How many bytes `fetch` would hand out for each of these values, of which none is kept. Not for two threads.

        Raises NotFound, ExecutionError.
        """
        info, arrays = self._arguments(signature, inputs)
        session = self._open_session()
        tensors = [self._graph.get_tensor_by_name(f"{value.node}:{value.port}") for value in values]
        with self._graph.as_default():
            counts = [tf.raw_ops.Size(input=tensor, out_type=tf.int64)._as_tf_output() for tensor in tensors]
        session._extend_graph()
        elements = self._call(signature, info, arrays, counts)
        return [int(count) * int(tensor.dtype.size) for count, tensor in zip(elements, tensors, strict=True)]

    def _initialise(self, model: Model) -> None:
        if model.init is None:
            return
        with tempfile.TemporaryDirectory(prefix="tfopt-") as directory:
            paths = {}
            for number, asset in enumerate(model.assets):
                path = Path(directory, f"{number}-{Path(asset.filename).name}")
                path.write_bytes(asset.content)
                paths[f"{asset.node}:0"] = str(path)
            self._session.run(self._graph.get_operation_by_name(model.init), paths)


def session_config(threads: Threads, *, optimize: bool = True, base: Any = None) -> Any:
    """What every session here is made with, on top of a ConfigProto; None leaves the numbers of threads to that."""
    config = tf.compat.v1.ConfigProto()
    if base is not None:
        config.CopyFrom(base)
    config.graph_options.rewrite_options.disable_meta_optimizer = not optimize
    if threads is not None:
        both = SessionThreads(threads, threads) if isinstance(threads, int) else threads
        config.intra_op_parallelism_threads, config.inter_op_parallelism_threads = both.intra_op, both.inter_op
        # The pool that sessions share has the size that the first of them asked for.
        config.use_per_session_threads = True
    return config


def read_session_config(path: Path) -> Any:
    """A ConfigProto written as text. Raises UsageError for a file that holds none."""
    try:
        return text_format.Parse(path.read_text("utf-8"), tf.compat.v1.ConfigProto())
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise UsageError(f"is no ConfigProto as text: {error}", where=str(path)) from error


def with_bfloat16(base: Any) -> Any:
    """A ConfigProto, of `base` or of none, whose sessions compute in bfloat16 where oneDNN and the processor can."""
    config = tf.compat.v1.ConfigProto()
    if base is not None:
        config.CopyFrom(base)
    on = rewriter_config_pb2.RewriterConfig.ON
    config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 = on
    return config


def _make_plan(graph: Any, info: SignatureInfo) -> _Plan:
    sources = {entry.name: name for name, entry in info.inputs.items()}
    fetched = tuple(name for name, entry in info.outputs.items() if entry.name not in sources)
    return _Plan(
        tuple(_handle(graph, entry.name) for entry in info.inputs.values()),
        tuple(_handle(graph, info.outputs[name].name) for name in fetched),
        fetched,
        {name: sources[entry.name] for name, entry in info.outputs.items() if entry.name in sources},
    )


def _of_another_type(dtype: DType) -> NDArray[Any]:
    return np.zeros((), np.float32) if dtype is DType.STRING else np.array(b"", object)


def _session_array(array: NDArray[Any], dtype: DType) -> NDArray[Any]:
    """For quantized types a session wants to see theirs, a numpy type of one field."""
    own: Any = _QUANTIZED.get(dtype)
    return array.view(own) if own is not None and array.dtype.itemsize == own.itemsize else array


def _plain_array(array: Any) -> Any:
    """What a session hands out, a quantized tensor in the integers that carry it, a lone string in an array."""
    if isinstance(array, bytes):
        return np.array(array, object)
    names = array.dtype.names if isinstance(array, np.ndarray) else None
    return array[names[0]] if names else array


@cache
def _here() -> Any:
    """What tells a run to stay in the thread that asks for it; a buffer that is never freed."""
    return pywrap_tf_session.TF_NewBufferFromString(
        tf.compat.v1.RunOptions(inter_op_thread_pool=-1).SerializeToString()
    )


@contextmanager
def _run_options(given: Any, timeout: float | None) -> Iterator[Any]:
    """What a run is told besides its feeds, in a buffer of the session's; None tells it nothing."""
    if given is not None or timeout is None:
        yield given
        return
    # 0 would be no limit.
    told = tf.compat.v1.RunOptions(timeout_in_ms=max(1, round(timeout * 1000)))
    buffer = pywrap_tf_session.TF_NewBufferFromString(told.SerializeToString())
    try:
        yield buffer
    finally:
        pywrap_tf_session.TF_DeleteBuffer(buffer)


def _handle(graph: Any, tensor_name: str) -> Any:
    return graph.get_tensor_by_name(tensor_name)._as_tf_output()


def _other_rank(info: SignatureInfo, name: str, value: NDArray[Any]) -> bool:
    return info.inputs[name].type.shape.rank not in (None, value.ndim)


def signatures_in(meta_graph: protos.MetaGraphDef) -> dict[str, SignatureInfo]:
    return {
        key: _signature(key, definition)
        for key, definition in sorted(meta_graph.signature_def.items())
        # TensorFlow keeps its initialisation and training ops among the signatures; they are none.
        if not key.startswith("__saved_model_")
    }


def _signature(key: str, definition: protos.SignatureDef) -> SignatureInfo:
    return SignatureInfo(
        {name: _tensor_info(name, info) for name, info in plain(definition.inputs).items()},
        {name: _tensor_info(name, info) for name, info in plain(definition.outputs).items()},
        definition.method_name,
        {name: tensor_from_proto(definition.defaults[name], key) for name in sorted(definition.defaults)},
    )


def _tensor_info(name: str, info: protos.TensorInfo) -> TensorInfo:
    return TensorInfo(info.name, TensorType(dtype_from_enum(info.dtype, name), shape_from_proto(info.tensor_shape)))


def _ops(graph_def: protos.GraphDef) -> Iterator[str]:
    functions: Iterable[Any] = (function.node_def for function in graph_def.library.function)
    for nodes in (graph_def.node, *functions):
        yield from (node.op for node in nodes)


@contextmanager
def closing_on_failure(runtime: SessionRuntime) -> Iterator[None]:
    try:
        yield
    except BaseException:
        runtime.close()
        raise


@contextmanager
def load_errors(directory: Path | None) -> Iterator[None]:
    """TensorFlow's ways of saying that a model cannot be loaded."""
    where = None if directory is None else str(directory)
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError, ProtobufError, tf.errors.OpError) as error:
        said = _one_line(error.message if isinstance(error, tf.errors.OpError) else str(error))
        if "Op type not registered" in said:
            raise UnsupportedModel(said, where=where) from error
        raise InvalidModel(f"TensorFlow cannot load the model: {said}", where=where) from error


def _one_line(text: str) -> str:
    return " ".join(text.split())
