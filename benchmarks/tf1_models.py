"""Models as TensorFlow 1 wrote them: reference variables, loops that are edges of the graph, collections.

Nobody ships such a model in a package any more, so a script makes them, with random seeded weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import tensorflow as tf

v1 = tf.compat.v1

SEED: Final = 20
WORDS: Final = tuple(f"word{number}" for number in range(500))


def cnn(folder: Path) -> None:
    """image float32 [n, 32, 32, 3] to logits [n, 10] and features [n, 64].

    Batch norms of the first kind, a dense layer whose kernel is partitioned into three, a branch of the graph that is
    not taken when it serves, and a placeholder with a default.
    """
    with _graph():
        image = v1.placeholder(tf.float32, [None, 32, 32, 3], "image")
        training = v1.placeholder_with_default(False, [], "training")
        x = image
        for number, (channels, stride) in enumerate(((32, 1), (64, 2), (64, 2), (64, 2))):
            x = _block(x, channels, stride, f"block{number}")
        x = tf.cond(training, lambda: tf.nn.dropout(x, rate=0.5, seed=1), lambda: tf.identity(x), name="dropout")
        features = tf.identity(tf.reduce_mean(x, [1, 2]), "features")
        with v1.variable_scope("logits", partitioner=v1.fixed_size_partitioner(3)):
            kernel = _variable("kernel", [64, 10])
        logits = tf.nn.bias_add(tf.matmul(features, kernel), _variable("bias", [10]), name="logits/out")
        _save(folder, {"image": image}, {"logits": logits, "features": features})


def _block(x: tf.Tensor, channels: int, stride: int, name: str) -> tf.Tensor:
    with v1.variable_scope(name):
        depth = int(x.shape[-1])
        x = tf.nn.conv2d(x, _variable("filters", [3, 3, depth, channels]), stride, "SAME")
        near_one = v1.random_uniform_initializer(0.5, 1.5, seed=SEED)
        statistics = {
            "scale": _variable("gamma", [channels], near_one),
            "offset": _variable("beta", [channels]),
            "mean": _variable("moving_mean", [channels]),
            "variance": _variable("moving_variance", [channels], near_one),
        }
        return tf.nn.relu(tf.raw_ops.FusedBatchNorm(x=x, is_training=False, epsilon=1e-3, **statistics).y)


def rnn(folder: Path) -> None:
    """words string [n, length] and lengths int32 [n] to scores float32 [n, 3] and ids int64 [n, length].

    A vocabulary file, an embedding in two parts, and an LSTM by dynamic_rnn: a loop of TensorFlow 1.
    """
    from tensorflow.python.keras.layers.legacy_rnn import rnn_cell_impl

    folder.parent.mkdir(parents=True, exist_ok=True)
    vocabulary = folder.parent / "vocabulary.txt"
    vocabulary.write_text("\n".join(WORDS) + "\n")
    with _graph():
        words = v1.placeholder(tf.string, [None, None], "words")
        lengths = v1.placeholder(tf.int32, [None], "lengths")
        line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        lines = tf.lookup.TextFileInitializer(str(vocabulary), tf.string, line, tf.int64, number)
        ids = tf.lookup.StaticVocabularyTable(lines, num_oov_buckets=1).lookup(words)
        with v1.variable_scope("embedding", partitioner=v1.fixed_size_partitioner(2)):
            embedded = v1.nn.embedding_lookup(_variable("vectors", [len(WORDS) + 1, 48]), ids, "div")
        cell = rnn_cell_impl.LSTMCell(64, initializer=v1.random_uniform_initializer(-0.2, 0.2, seed=SEED))
        _, state = v1.nn.dynamic_rnn(cell, embedded, lengths, dtype=tf.float32)
        scores = tf.nn.softmax(tf.matmul(state.h, _variable("head", [64, 3])), name="scores")
        _save(folder, {"words": words, "lengths": lengths}, {"scores": scores, "ids": ids})
    vocabulary.unlink()


def _variable(name: str, shape: list[int], initializer: Any = None) -> Any:
    drawn = initializer or v1.random_normal_initializer(stddev=(2.0 / max(1, shape[-1])) ** 0.5 / 2, seed=SEED)
    return v1.get_variable(name, shape, initializer=drawn, use_resource=False)


@contextmanager
def _graph() -> Iterator[None]:
    """A graph in which loops and branches are edges."""
    v1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default():
            v1.set_random_seed(SEED)
            yield
    finally:
        v1.enable_control_flow_v2()


def _save(folder: Path, inputs: Mapping[str, tf.Tensor], outputs: Mapping[str, tf.Tensor]) -> None:
    infos = [
        {name: v1.saved_model.build_tensor_info(tensor) for name, tensor in tensors.items()}
        for tensors in (inputs, outputs)
    ]
    signature = v1.saved_model.build_signature_def(*infos, "tensorflow/serving/predict")
    with v1.Session() as session:
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": signature},
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            legacy_init_op=v1.tables_initializer(),
        )
        builder.save()
