"""Small SavedModels that the tests share. Each function writes one into `directory`, which it creates, and returns it.

They are exported the way users export: through TensorFlow's and Keras' public functions. Weights are drawn from a
fixed seed, so that two calls export models that compute the same. Get one through the fixture `built`
(`built(models.linear)`), which exports it once per session; ask for a copy before changing anything in it.

| builder | signatures | what it has |
|---|---|---|
| `linear` | `serving_default(x float32[?,3]) -> y float32[?,2]` | `y = x @ w + b` |
| `classifier` | `serving_default(image float32[?,8,8,3]) -> probabilities float32[?,4]` | Conv2D, Dense, softmax |
| `two_signatures` | `serving_default(x, scale=2) -> embedding, score`, `score(x) -> score` | shared variables |
| `nested` | `serving_default(x float32[?,4]) -> y float32[?,4]` | functions called in functions, one of them twice |
| `table` | `serving_default(words string[?]) -> ids, vectors`, `weights(words) -> weight` | asset, keys in the graph |
| `cnn_with_batch_norm` | Keras' `serve` and `serving_default` | Conv2D, depthwise and Dense with BN, dropout |
| `transformer` | Keras' `serve` and `serving_default` | one block: MultiHeadAttention, layer norm, gelu, EinsumDense |
| `stateful` | `serving_default(x float32[]) -> count float32[]` | writes a variable when it serves |
| `reads_file` | `serving_default(path string[]) -> content string[]` | `tf.io.read_file` |
| `loop` | `serving_default(x float32[]) -> y float32[]` | a `tf.while_loop` whose length depends on the input |
| `lstm` | Keras' two; `x float32[?,6,3] -> float32[?,2]` | an LSTM of a known length, a Dense behind it |
| `recurrent` | Keras' two; `ids int32[?,?] -> float32[?,3]` | mask, bidirectional LSTM, GRU, unknown length |
| `branches` | `serving_default(x float32[?,3], index int32[]) -> y, z` | If and Case over captured variables |
| `nested_loops` | `serving_default(x float32[?,3], n int32[]) -> y` | a function with a loop, in an If, in a loop |
| `loop_over_table` | `serving_default(words string[?]) -> sum, each` | loops that look up in a captured table |
| `asserted` | `serving_default(x float32[?,3]) -> y float32[?,3]` | fails when the sum of x is -100 or less |
| `stateful_loop` | `serving_default(x float32[]) -> y float32[]` | a loop that writes a variable |
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def save(module: tf.Module, directory: Path, **signatures: tf.types.experimental.GenericFunction) -> Path:
    tf.saved_model.save(module, str(directory), signatures=signatures)
    return directory


def floats(*shape: int | None, name: str) -> tf.TensorSpec:
    return tf.TensorSpec(shape, tf.float32, name)


def linear(directory: Path) -> Path:
    module = tf.Module()
    module.w = tf.Variable(weights(3, 2), name="w")
    module.b = tf.Variable(weights(2, seed=1), name="b")

    @tf.function(input_signature=[floats(None, 3, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x @ module.w + module.b}

    return save(module, directory, serving_default=serve)


def classifier(directory: Path) -> Path:
    module = tf.Module()
    module.filters = tf.Variable(weights(3, 3, 3, 8), name="conv/filters")
    module.kernel = tf.Variable(weights(8, 4, seed=1), name="dense/kernel")

    @tf.function(input_signature=[floats(None, 8, 8, 3, name="image")])
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        features = tf.nn.relu(tf.nn.conv2d(image, module.filters, 2, "SAME", name="conv"))
        return {"probabilities": tf.nn.softmax(tf.reduce_mean(features, [1, 2]) @ module.kernel)}

    return save(module, directory, serving_default=serve)


def two_signatures(directory: Path) -> Path:
    """`score` is the same function in both signatures, over the same variables."""
    module = tf.Module()
    module.embedding = tf.Variable(weights(5, 4), name="embedding")
    module.head = tf.Variable(weights(4, 1, seed=1), name="head")

    @tf.function
    def embed(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.tanh(tf.matmul(x, module.embedding, name="project"))

    double = tf.constant(2.0)

    @tf.function(input_signature=[floats(None, 5, name="x"), floats(name="scale")])
    def serve(x: tf.Tensor, scale: tf.Tensor = double) -> dict[str, tf.Tensor]:
        hidden = embed(x) * scale
        return {"score": tf.nn.sigmoid(hidden @ module.head), "embedding": hidden}

    @tf.function(input_signature=[floats(None, 5, name="x")])
    def score(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": tf.nn.sigmoid(embed(x) @ module.head)}

    return save(module, directory, serving_default=serve, score=score)


def nested(directory: Path) -> Path:
    module = tf.Module()
    module.w = tf.Variable(weights(4, 4), name="layer/w")

    @tf.function
    def layer(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(x @ module.w)

    @tf.function
    def twice(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        first = layer(x)
        return layer(first), first

    @tf.function(input_signature=[floats(None, 4, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        second, first = twice(x)
        return {"y": second - first}

    return save(module, directory, serving_default=serve)


WORDS = ("the", "quick", "brown", "fox")


def table(directory: Path) -> Path:
    """`ids` come from a vocabulary file (an asset; -1 for unknown words), `weight` from keys in the graph."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    vocabulary = directory.parent / "vocabulary.txt"
    vocabulary.write_text("\n".join(WORDS) + "\n")
    module = tf.Module()
    line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    lines = tf.lookup.TextFileInitializer(str(vocabulary), tf.string, line, tf.int64, number)
    module.ids = tf.lookup.StaticHashTable(lines, -1)
    pairs = tf.lookup.KeyValueTensorInitializer(tf.constant(WORDS[:2]), tf.constant([0.5, 2.0]))
    module.weights = tf.lookup.StaticHashTable(pairs, 1.0)
    module.vectors = tf.Variable(weights(len(WORDS) + 1, 3), name="vectors")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "words")])
    def serve(words: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = module.ids.lookup(words)
        return {"ids": ids, "vectors": tf.gather(module.vectors, ids + 1) * module.weights.lookup(words)[:, None]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "words")])
    def weigh(words: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"weight": module.weights.lookup(words)}

    save(module, directory, serving_default=serve, weights=weigh)
    vocabulary.unlink()  # the SavedModel has its own copy, and must not need this one
    return directory


def cnn_with_batch_norm(directory: Path) -> Path:
    """image float32[?,8,8,3] -> float32[?,4]; statistics and scales of every batch normalisation are not trivial."""
    layers = tf.keras.layers
    image = tf.keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(image)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="conv_bn")(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.ReLU(6.0, name="relu6")(layers.BatchNormalization(name="depthwise_bn")(x))
    x = layers.Dropout(0.3, name="dropout")(layers.GlobalAveragePooling2D(name="pool")(x))
    x = layers.BatchNormalization(scale=False, name="dense_bn")(layers.Dense(6, name="hidden")(x))
    model = tf.keras.Model(image, layers.Dense(4, activation="softmax", name="probabilities")(x))
    for seed, variable in enumerate(model.variables):
        if "seed" not in variable.path:
            drawn = weights(*variable.shape, seed=seed) * 0.5
            variable.assign(np.abs(drawn) + 0.5 if "variance" in variable.path else drawn)
    model.export(str(directory), verbose=False)
    return directory


def transformer(directory: Path) -> Path:
    """tokens int32[?,6] -> float32[?,3]: one pre-norm block with a padding mask, then pooling, as Keras 3 has it."""
    layers = tf.keras.layers
    tokens = tf.keras.Input((6,), dtype="int32", name="tokens")
    x = layers.Embedding(20, 16, name="embedding")(tokens)
    seen = tf.keras.ops.expand_dims(tf.keras.ops.not_equal(tokens, 0), 1)
    normed = layers.LayerNormalization(epsilon=1e-6, name="norm_1")(x)
    x = x + layers.MultiHeadAttention(2, 8, name="attention")(normed, normed, attention_mask=seen)
    wide = layers.EinsumDense("abc,cd->abd", (None, 32), activation="gelu", bias_axes="d", name="wide")
    x = x + layers.Dense(16, name="narrow")(wide(layers.LayerNormalization(name="norm_2")(x)))
    pooled = layers.GlobalAveragePooling1D(name="pool")(layers.RMSNormalization(name="norm_3")(x))
    model = tf.keras.Model(tokens, layers.Dense(3, name="logits")(pooled))
    for seed, variable in enumerate(model.variables):
        if "seed" not in variable.path:
            variable.assign(weights(*variable.shape, seed=seed) * 0.5 + float("gamma" in variable.path))
    model.export(str(directory), verbose=False)
    return directory


def stateful(directory: Path) -> Path:
    module = tf.Module()
    module.count = tf.Variable(0.0, name="count")

    @tf.function(input_signature=[floats(name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"count": module.count.assign_add(x)}

    return save(module, directory, serving_default=serve)


def reads_file(directory: Path) -> Path:
    @tf.function(input_signature=[tf.TensorSpec([], tf.string, "path")])
    def serve(path: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"content": tf.io.read_file(path)}

    return save(tf.Module(), directory, serving_default=serve)


def loop(directory: Path) -> Path:
    @tf.function(input_signature=[floats(name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.while_loop(lambda y: y < 100.0, lambda y: [y * 2.0 + 1.0], [tf.abs(x)])[0]}

    return save(tf.Module(), directory, serving_default=serve)


def export(model: tf.keras.Model, directory: Path) -> Path:
    """With weights that are the same each time."""
    for seed, variable in enumerate(model.variables):
        if "seed" not in variable.path:
            variable.assign(weights(*variable.shape, seed=seed) * 0.5)
    model.export(str(directory), verbose=False)
    return directory


def lstm(directory: Path) -> Path:
    x = tf.keras.Input((6, 3), name="x")
    return export(tf.keras.Model(x, tf.keras.layers.Dense(2)(tf.keras.layers.LSTM(4)(x))), directory)


def recurrent(directory: Path) -> Path:
    layers = tf.keras.layers
    ids = tf.keras.Input((None,), dtype="int32", name="ids")
    hidden = layers.Embedding(10, 4, mask_zero=True)(ids)
    hidden = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(hidden)
    return export(tf.keras.Model(ids, layers.GRU(3)(hidden)), directory)


def branches(directory: Path) -> Path:
    module = tf.Module()
    module.w = tf.Variable(weights(3, 3), name="w")
    module.b = tf.Variable(weights(3, seed=1), name="b")

    @tf.function(input_signature=[floats(None, 3, name="x"), tf.TensorSpec([], tf.int32, "index")])
    def serve(x: tf.Tensor, index: tf.Tensor) -> dict[str, tf.Tensor]:
        positive = tf.reduce_sum(x) > 0
        chosen = tf.cond(positive, lambda: x @ module.w, lambda: x + module.b)
        either = lambda: tf.cond(positive, lambda: x @ module.w, lambda: tf.gather(module.w, [0]) + x)  # noqa: E731
        return {"y": chosen, "z": tf.switch_case(index, [lambda: x, either, lambda: x * module.b])}

    return save(module, directory, serving_default=serve)


def nested_loops(directory: Path) -> Path:
    module = tf.Module()
    module.w = tf.Variable(weights(3, 3) * 0.3, name="w")

    @tf.function
    def inner(y: tf.Tensor) -> tf.Tensor:
        for j in tf.range(3):
            y = tf.tanh(y @ module.w) + tf.cast(j, tf.float32)
        return y

    @tf.function(input_signature=[floats(None, 3, name="x"), tf.TensorSpec([], tf.int32, "n")])
    def serve(x: tf.Tensor, n: tf.Tensor) -> dict[str, tf.Tensor]:
        def step(i: tf.Tensor, y: tf.Tensor) -> list[tf.Tensor]:
            return [i + 1, tf.cond(tf.reduce_sum(y) > 0, lambda: inner(y), lambda: inner(-y) * 0.5)]

        return {"y": tf.while_loop(lambda i, _: i < n, step, [0, x])[1]}

    return save(module, directory, serving_default=serve)


def loop_over_table(directory: Path) -> Path:
    module = tf.Module()
    pairs = tf.lookup.KeyValueTensorInitializer(tf.constant(WORDS), tf.constant([1.0, 2.0, 4.0, 8.0]))
    module.values = tf.lookup.StaticHashTable(pairs, -1.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "words")])
    def serve(words: tf.Tensor) -> dict[str, tf.Tensor]:
        total = 0.0
        for i in tf.range(tf.size(words)):
            total += module.values.lookup(words[i])
        each = tf.map_fn(lambda word: module.values.lookup(word) * 2.0, words, fn_output_signature=tf.float32)
        return {"sum": total, "each": each}

    return save(module, directory, serving_default=serve)


def asserted(directory: Path) -> Path:
    module = tf.Module()
    module.w = tf.Variable(weights(3, 3), name="w")

    @tf.function(input_signature=[floats(None, 3, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.debugging.assert_positive(tf.reduce_sum(x) + 100.0, message="the sum is too small")
        return {"y": x @ module.w}

    return save(module, directory, serving_default=serve)


def stateful_loop(directory: Path) -> Path:
    module = tf.Module()
    module.count = tf.Variable(0.0, name="count")

    @tf.function(input_signature=[floats(name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        for _ in tf.range(3):
            module.count.assign_add(x)
        return {"y": x * 2.0}

    return save(module, directory, serving_default=serve)
