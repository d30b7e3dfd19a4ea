"""The TensorFlow graph of a training: weights as variables, the loss of each part, the step that makes it less.

A graph and a session of its own: nothing global is set, and threads, precision and devices are this session's alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tfopt.formats.tensorflow import tf  # isort: split

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.protobuf import rewriter_config_pb2
from tensorflow.python.util import deprecation

from tfopt.errors import UsageError
from tfopt.ir.graph import Model
from tfopt.learn import losses
from tfopt.learn.lesson import Lesson, Part
from tfopt.learn.lifting import Weight
from tfopt.learn.network import Network
from tfopt.learn.objective import Target
from tfopt.learn.opening import opened
from tfopt.passes.needs.teaching import Plan

#: Adam's means of gradients and of their squares, and what keeps the divisor from being 0.
_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-8
_WEIGHT: Final = "tfopt_weight"

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class _Bench:
    """One part in TensorFlow. `expected` are the teacher's values, which may be fed; `labels` is None where there are
    none."""

    inputs: Mapping[str, Any]
    expected: Sequence[Any]
    labels: Any
    loss: Any
    update: Any
    kept_loss: Any
    agreement: Any


@dataclass(eq=False)
class _Variables:
    """What is trained, by the weight's name, and what is kept beside it. Masks are there for some."""

    trained: dict[str, Any] = field(default_factory=dict)
    first: dict[str, Any] = field(default_factory=dict)
    second: dict[str, Any] = field(default_factory=dict)
    masks: dict[str, Any] = field(default_factory=dict)

    def groups(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        yield from (("trained", self.trained), ("first", self.first), ("second", self.second), ("masks", self.masks))


class _Slot(NamedTuple):
    """Where a variable's new value is fed, what puts it there, and the value."""

    fed: Any
    assign: Any
    read: Any


class Workbench:
    """A lesson in a session; a context manager. `masked` names weights that get a mask although they have none."""

    def __init__(self, lesson: Lesson, plan: Plan, masked: Sequence[str] = ()) -> None:
        self._lesson = lesson
        self._weights = {weight.name: weight for weight in lesson.weights}
        self._places = {weight.name: f"{_WEIGHT}_{number}" for number, weight in enumerate(lesson.weights)}
        outside = {self._places[name]: weight.tensor for name, weight in self._weights.items()}
        self._student = Network(lesson.student.with_graph(opened(lesson.student.graph, outside)), "student")
        self._teacher = Network(lesson.teacher, "teacher")
        self._strategy = _strategy(plan.replicas)
        self._graph = tf.Graph()
        self._session: Any = tf.compat.v1.Session(graph=self._graph, config=_config(plan))
        with ExitStack() as closing, self._graph.as_default(), deprecation.silence():
            closing.callback(self._session.close)
            tf.compat.v1.set_random_seed(plan.seed)
            self._rate = tf.compat.v1.placeholder(tf.float32, (), "rate")
            self._variables = self._made_variables(masked)
            self._benches = {part.key: self._bench(part) for part in lesson.parts}
            self._slots = self._made_slots()
            self._start()
            closing.pop_all()

    def __enter__(self) -> Workbench:
        return self

    def __exit__(self, *exception: object) -> None:
        self._session.close()

    def step(self, key: str, inputs: Arrays, expected: Sequence[Any], labels: Any, rate: float, number: int) -> float:
        """Train on one batch; gives its loss before that. `number` counts from 1. `expected` is empty when the teacher
        shall be run."""
        bench = self._benches[key]
        corrected = rate * float(np.sqrt(1 - _SECOND**number)) / (1 - _FIRST**number)
        feeds = {**self._fed(bench, inputs, expected, labels), self._rate: corrected}
        loss, _ = self._session.run([bench.loss, bench.update], feeds)
        return float(loss)

    def judge(self, key: str, inputs: Arrays, expected: Sequence[Any], labels: Any) -> tuple[float, float]:
        """Loss and agreement of one batch."""
        bench = self._benches[key]
        made = self._session.run([bench.kept_loss, bench.agreement], self._fed(bench, inputs, expected, labels))
        return float(made[0]), float(made[1])

    def expected(self, key: str, inputs: Arrays) -> list[NDArray[Any]]:
        """What the teacher says to these."""
        bench = self._benches[key]
        return list(self._session.run(list(bench.expected), self._fed(bench, inputs, (), None)))

    def read(self, group: str) -> dict[str, NDArray[Any]]:
        """The arrays of `trained`, `first`, `second` or `masks`, by the weight's name."""
        slots = self._slots[group]
        arrays = self._session.run([slot.read for slot in slots.values()])
        return dict(zip(slots, arrays, strict=True))

    def write(self, group: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        slots = self._slots[group]
        self._session.run(
            [slots[name].assign for name in arrays], {slots[name].fed: array for name, array in arrays.items()}
        )

    def _fed(self, bench: _Bench, inputs: Arrays, expected: Sequence[Any], labels: Any) -> dict[Any, Any]:
        feeds = {bench.inputs[name]: array for name, array in inputs.items()}
        feeds |= dict(zip(bench.expected, expected, strict=False))
        if bench.labels is not None and labels is not None:
            feeds[bench.labels] = labels
        return feeds

    def _made_variables(self, masked: Sequence[str]) -> _Variables:
        made = _Variables()
        with self._strategy.scope():
            for name, weight in self._weights.items():
                shape = weight.tensor.array.shape
                for group in (made.trained, made.first, made.second):
                    group[name] = _variable(shape)
                if weight.mask is not None or name in masked:
                    made.masks[name] = _variable(shape)
        return made

    def _bench(self, part: Part) -> _Bench:
        teacher, student = self._lesson.teacher, self._lesson.student
        fed = {
            name: _input(entry.type.dtype.value, entry.type.shape.dims)
            for name, entry in teacher.signatures[part.key].inputs.items()
        }
        known = self._teacher.tensors(_by_node(teacher, part.key, fed), [target.teacher for target in part.targets])
        expected = [tf.compat.v1.placeholder_with_default(tf.stop_gradient(one), one.shape) for one in known]
        labels = None if part.labels is None else tf.compat.v1.placeholder(tf.int64, (None,))
        whole = _Batch(_by_node(student, part.key, fed), expected, labels)
        made = self._replicated(part, whole) if self._replicas > 1 else None
        found, reads = self._found(part, whole)
        kept = self._kept(part, whole, found)
        if made is None:
            loss = self._loss(part, whole, found)
            made = loss, self._updated(loss, reads)
        return _Bench(fed, expected, labels, *made, *kept)

    @property
    def _replicas(self) -> int:
        return int(self._strategy.num_replicas_in_sync)

    def _replicated(self, part: Part, whole: _Batch) -> tuple[Any, Any]:
        """Loss and update, each replica with its share of the batch."""

        def replica() -> tuple[Any, Any]:
            context = tf.distribute.get_replica_context()
            own = whole.share(context.replica_id_in_sync_group, self._replicas)
            found, reads = self._found(part, own)
            loss = self._loss(part, own, found)
            update = self._updated(loss, reads, context)
            return loss, update

        with self._strategy.scope():
            losses_made, updates = self._strategy.run(replica)
            results = self._strategy.experimental_local_results
            return tf.reduce_mean(tf.stack(results(losses_made))), tf.group(*results(updates))

    def _found(self, part: Part, batch: _Batch) -> tuple[list[Any], dict[str, Any]]:
        """What the student says, and the trained values that it was computed with: one read of each for all readers, so
        that no update comes between."""
        reads = {name: _value(variable) for name, variable in self._variables.trained.items()}
        weights = {self._places[name]: self._effective(self._weights[name], read) for name, read in reads.items()}
        values = [target.student for target in part.targets]
        return self._student.tensors({**batch.inputs, **weights}, values), reads

    def _effective(self, weight: Weight, value: Any) -> Any:
        """The weight under its mask and on its grid, which gradients pass as if it were not there."""
        if weight.name in self._variables.masks:
            value = value * _value(self._variables.masks[weight.name])
        grid = weight.grid
        if grid is None or grid.dynamic:
            return value
        shape = [dim if axis in grid.axes else 1 for axis, dim in enumerate(weight.tensor.array.shape)]
        scales = tf.constant(np.reshape(np.array(grid.scales, np.float32), shape if grid.axes else ()))
        levels = tf.clip_by_value(tf.round(value / scales) + float(grid.zero_point), grid.lowest, grid.highest)
        return value + tf.stop_gradient((levels - float(grid.zero_point)) * scales - value)

    def _loss(self, part: Part, batch: _Batch, found: Sequence[Any]) -> Any:
        aim = self._lesson.aim
        total = tf.constant(0.0)
        for target, teacher, student in zip(part.targets, batch.expected, found, strict=True):
            distance = losses.distance(target.kind, _floats(teacher), _floats(student), aim.temperature)
            share = aim.labels_weight if _has_labels(target, batch) else 0.0
            total += distance * ((1 - share) if target.answers else aim.hints_weight)
            if share:
                total += share * losses.labelled(batch.labels, _floats(student))
        return total

    def _kept(self, part: Part, batch: _Batch, found: Sequence[Any]) -> tuple[Any, Any]:
        """Loss and agreement, of the answers alone."""
        answers = [one for one in zip(part.targets, batch.expected, found, strict=True) if one[0].answers]
        distances = [
            losses.distance(target.kind, _floats(teacher), _floats(student), 1.0)
            for target, teacher, student in answers
        ]
        alike = [
            losses.agreement(target.kind, _floats(teacher), _floats(student)) for target, teacher, student in answers
        ]
        return tf.add_n(distances), tf.reduce_min(tf.stack(alike))

    def _updated(self, loss: Any, reads: Mapping[str, Any], context: Any = None) -> Any:
        """One step of Adam (Kingma and Ba 2015, arXiv:1412.6980), its correction of the first means within the rate."""
        found = tf.gradients(loss, list(reads.values()))
        gradients = {name: one for name, one in zip(reads, found, strict=True) if one is not None}
        dense = {name: tf.convert_to_tensor(one) for name, one in gradients.items()}
        if context is not None:
            summed = context.all_reduce(tf.distribute.ReduceOp.MEAN, list(dense.values()))
            dense = dict(zip(dense, summed, strict=True))
        variables = self._variables
        return tf.group(
            *(
                tf.raw_ops.ResourceApplyAdam(
                    var=variables.trained[name].handle,
                    m=variables.first[name].handle,
                    v=variables.second[name].handle,
                    beta1_power=0.0,
                    beta2_power=0.0,
                    lr=self._rate,
                    beta1=_FIRST,
                    beta2=_SECOND,
                    epsilon=_EPSILON,
                    grad=gradient,
                )
                for name, gradient in dense.items()
            )
        )

    def _made_slots(self) -> dict[str, dict[str, _Slot]]:
        with self._strategy.scope():
            return {
                group: {name: _slot(variable) for name, variable in variables.items()}
                for group, variables in self._variables.groups()
            }

    def _start(self) -> None:
        self._session.run(tf.compat.v1.global_variables_initializer())
        self._student.start(self._session)
        self._teacher.start(self._session)
        self.write("trained", {name: weight.tensor.array for name, weight in self._weights.items()})
        masks = {name: self._weights[name].mask for name in self._variables.masks}
        shapes = {name: self._weights[name].tensor.array.shape for name in masks}
        self.write("masks", {name: np.ones(shapes[name]) if mask is None else mask for name, mask in masks.items()})


@dataclass(frozen=True, eq=False)
class _Batch:
    """What one replica sees. `inputs` by Placeholder of the student; `single` are those without a batch axis."""

    inputs: Mapping[str, Any]
    expected: Sequence[Any]
    labels: Any

    def share(self, replica: Any, replicas: int) -> _Batch:
        def own(tensor: Any) -> Any:
            return tensor[replica::replicas]

        labels = None if self.labels is None else own(self.labels)
        inputs = {name: own(tensor) for name, tensor in self.inputs.items()}
        return _Batch(inputs, list(map(own, self.expected)), labels)


def _has_labels(target: Target, batch: _Batch) -> bool:
    return target.kind == "classes" and target.answers and batch.labels is not None


def _by_node(model: Model, key: str, fed: Mapping[str, Any]) -> dict[str, Any]:
    return {entry.node: fed[name] for name, entry in model.signatures[key].inputs.items()}


def _input(dtype: str, dims: Sequence[int | None] | None) -> Any:
    return tf.compat.v1.placeholder(tf.as_dtype(dtype), dims)


def _floats(tensor: Any) -> Any:
    return tf.cast(tensor, tf.float32)


def _variable(shape: Sequence[int]) -> Any:
    return tf.Variable(lambda: tf.zeros(shape), trainable=False)


def _value(variable: Any) -> Any:
    return variable.read_value()


def _slot(variable: Any) -> _Slot:
    fed = tf.compat.v1.placeholder(variable.dtype, variable.shape)
    return _Slot(fed, variable.assign(fed), _value(variable))


def _strategy(replicas: int) -> Any:
    """One replica on each GPU, or on each of so many processors that a session makes of this one."""
    if replicas == 1:
        return tf.distribute.get_strategy()
    found = tf.config.list_physical_devices("GPU")
    if found and len(found) < replicas:
        raise UsageError(f"{replicas} replicas want as many GPUs, and there are {len(found)}")
    kind = "GPU" if found else "CPU"
    return tf.distribute.MirroredStrategy(
        [f"/device:{kind}:{number}" for number in range(replicas)],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


def _config(plan: Plan) -> Any:
    config = tf.compat.v1.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    if plan.threads is not None:
        config.intra_op_parallelism_threads = config.inter_op_parallelism_threads = plan.threads
        config.use_per_session_threads = True
    if plan.replicas > 1:
        config.device_count["CPU"] = plan.replicas
    if plan.mixed_precision:
        on = rewriter_config_pb2.RewriterConfig.ON
        config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 = on
    return config
