"""How far a student's values are from a teacher's, in TensorFlow: a mean over the examples, 0 where they are equal."""

from __future__ import annotations

from typing import Any

from tfopt.formats.tensorflow import tf  # isort: split

from tfopt.learn.objective import Kind

#: A power below this is as good as none.
_LEAST = 1e-12


def distance(kind: Kind, teacher: Any, student: Any, temperature: float) -> Any:
    """Scalar. `classes` is the divergence from the teacher's probabilities over the last axis at a temperature, times
    its square so that gradients keep their size; `binary` the same of each number's two outcomes; `mse` the squared
    error over the teacher's variance about its mean; `cosine` one minus the cosine along the last axis.
    Source: Hinton et al. 2015, arXiv:1503.02531."""
    if kind == "classes":
        return _classes(teacher, student, temperature)
    if kind == "binary":
        return _binary(teacher, student, temperature)
    if kind == "cosine":
        unit = [tf.math.l2_normalize(value, axis=-1, epsilon=_LEAST) for value in (teacher, student)]
        return 1.0 - tf.reduce_mean(tf.reduce_sum(unit[0] * unit[1], -1))
    spread = tf.reduce_mean(tf.math.squared_difference(teacher, tf.reduce_mean(teacher)))
    return tf.reduce_mean(tf.math.squared_difference(teacher, student)) / tf.maximum(spread, _LEAST)


def _classes(teacher: Any, student: Any, temperature: float) -> Any:
    expected = tf.nn.log_softmax(teacher / temperature)
    found = tf.nn.log_softmax(student / temperature)
    return temperature**2 * tf.reduce_mean(tf.reduce_sum(tf.exp(expected) * (expected - found), -1))


def _binary(teacher: Any, student: Any, temperature: float) -> Any:
    likely = tf.sigmoid(teacher / temperature)
    cross = tf.nn.sigmoid_cross_entropy_with_logits(labels=likely, logits=student / temperature)
    own = tf.nn.sigmoid_cross_entropy_with_logits(labels=likely, logits=teacher / temperature)
    return temperature**2 * tf.reduce_mean(cross - own)


def labelled(labels: Any, student: Any) -> Any:
    """Scalar: cross entropy with the classes [n] of scores [n, classes]."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=student))


def agreement(kind: Kind, teacher: Any, student: Any) -> Any:
    """Scalar: of classes the share of examples with the same largest one, of numbers with two outcomes the share of
    equal ones, else the cosine over all values."""
    if kind == "classes":
        return _share(tf.equal(tf.argmax(teacher, -1), tf.argmax(student, -1)))
    if kind == "binary":
        return _share(tf.equal(teacher > 0, student > 0))
    lengths = tf.norm(teacher) * tf.norm(student)
    return tf.reduce_sum(teacher * student) / tf.maximum(lengths, _LEAST)


def _share(equal: Any) -> Any:
    return tf.reduce_mean(tf.cast(equal, tf.float32))
