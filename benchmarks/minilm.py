"""MiniLM-L6 in TensorFlow, from the weights of sentence-transformers' all-MiniLM-L6-v2: text to sentence embeddings.

Wang et al., "MiniLM" (2020), https://arxiv.org/abs/2002.10957. Input: token ids, mask and token types, int32
[n, length]; output: the last hidden state [n, length, 384] and the sentence embedding [n, 384], of length one.

The graph is what users of Hugging Face's TensorFlow port export, op by op: Dense layers of three-dimensional inputs as
Tensordot, layer norm by moments and batch_normalization, GELU by erf, scores divided by the root of the head's size, a
mask that is cut with new axes, and a softmax that adds 1e-9 to its input.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.safetensors import read_safetensors

LAYERS: Final = 6
HEADS: Final = 12
WIDTH: Final = 384
EPSILON: Final = 1e-12
MAX_LENGTH: Final = 512

Weights = Mapping[str, NDArray[Any]]


def save(weights: Weights, folder: Path) -> None:
    """Write the SavedModel. `weights` are named as in the published file; a Dense kernel is [out, in] there."""
    import tensorflow as tf

    module = tf.Module()
    module.weights = [tf.Variable(_as_kernel(name, array), name=_identifier(name)) for name, array in weights.items()]
    variables = dict(zip(weights, module.weights, strict=True))
    names = ("input_ids", "attention_mask", "token_type_ids")

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, name) for name in names])
    def serve(input_ids: Any, attention_mask: Any, token_type_ids: Any) -> dict[str, Any]:
        return _model(variables, input_ids, attention_mask, token_type_ids)

    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})


def _as_kernel(name: str, array: NDArray[Any]) -> NDArray[Any]:
    is_dense = name.endswith("weight") and array.ndim == 2 and "embeddings" not in name
    return array.T if is_dense else array


def _identifier(name: str) -> str:
    return name.replace(".", "/")


def _model(weights: Mapping[str, Any], input_ids: Any, attention_mask: Any, token_type_ids: Any) -> dict[str, Any]:
    import tensorflow as tf

    x = _embeddings(weights, input_ids, token_type_ids)
    extended = tf.cast(attention_mask[:, tf.newaxis, tf.newaxis, :], x.dtype)
    bias = (1.0 - extended) * -10000.0
    for layer in range(LAYERS):
        with tf.name_scope(f"layer_{layer}"):
            x = _layer(weights, f"encoder.layer.{layer}", x, bias)
    counted = tf.cast(attention_mask[..., tf.newaxis], x.dtype)
    mean = tf.reduce_sum(x * counted, 1) / tf.maximum(tf.reduce_sum(counted, 1), 1e-9)
    return {"last_hidden_state": x, "sentence_embedding": tf.math.l2_normalize(mean, 1)}


def _embeddings(weights: Mapping[str, Any], input_ids: Any, token_type_ids: Any) -> Any:
    import tensorflow as tf

    positions = tf.expand_dims(tf.range(tf.shape(input_ids)[1]), 0)
    words = tf.gather(weights["embeddings.word_embeddings.weight"], input_ids)
    places = tf.gather(weights["embeddings.position_embeddings.weight"], positions)
    types = tf.gather(weights["embeddings.token_type_embeddings.weight"], token_type_ids)
    return _layer_norm(weights, "embeddings", words + places + types)


def _layer(weights: Mapping[str, Any], name: str, x: Any, bias: Any) -> Any:
    attended = _attention(weights, f"{name}.attention.self", x, bias)
    projected = _dense(weights, f"{name}.attention.output.dense", attended)
    x = _layer_norm(weights, f"{name}.attention.output", projected + x)
    wide = _gelu(_dense(weights, f"{name}.intermediate.dense", x))
    return _layer_norm(weights, f"{name}.output", _dense(weights, f"{name}.output.dense", wide) + x)


def _attention(weights: Mapping[str, Any], name: str, x: Any, bias: Any) -> Any:
    import tensorflow as tf

    batch = tf.shape(x)[0]
    query, key, value = (_heads(_dense(weights, f"{name}.{part}", x), batch) for part in ("query", "key", "value"))
    scores = tf.matmul(query, key, transpose_b=True)
    scores = tf.divide(scores, tf.cast(np.sqrt(WIDTH // HEADS), scores.dtype)) + bias
    context = tf.matmul(tf.nn.softmax(scores + 1e-9), value)
    return tf.reshape(tf.transpose(context, [0, 2, 1, 3]), (batch, -1, WIDTH))


def _heads(x: Any, batch: Any) -> Any:
    import tensorflow as tf

    return tf.transpose(tf.reshape(x, (batch, -1, HEADS, WIDTH // HEADS)), [0, 2, 1, 3])


def _dense(weights: Mapping[str, Any], name: str, x: Any) -> Any:
    import tensorflow as tf

    with tf.name_scope(name.rpartition(".")[2]):
        return tf.nn.bias_add(tf.tensordot(x, weights[f"{name}.weight"], [[2], [0]]), weights[f"{name}.bias"])


def _layer_norm(weights: Mapping[str, Any], name: str, x: Any) -> Any:
    import tensorflow as tf

    mean, variance = tf.nn.moments(x, -1, keepdims=True)
    gamma, beta = weights[f"{name}.LayerNorm.weight"], weights[f"{name}.LayerNorm.bias"]
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, EPSILON)


def _gelu(x: Any) -> Any:
    import tensorflow as tf

    cdf = 0.5 * (1.0 + tf.math.erf(x / tf.cast(tf.sqrt(2.0), x.dtype)))
    return x * cdf


def load_weights(folder: Path) -> Weights:
    """What the network computes with, out of the unpacked archive: all but the list of positions and the pooler."""
    weights = read_safetensors(folder / "model.safetensors")
    return {name: array for name, array in weights.items() if array.dtype == np.float32 and "pooler" not in name}


def tokenize(folder: Path, texts: Sequence[str], length: int | None = None) -> dict[str, NDArray[np.int32]]:
    """The inputs for `texts`, padded to the longest or padded and cut to `length` tokens.

    BERT's uncased WordPiece (Devlin et al., 2019, https://arxiv.org/abs/1810.04805) for texts of ASCII.
    """
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    longest = (length or MAX_LENGTH) - 2
    rows = [["[CLS]", *[*_pieces(text, vocabulary)][:longest], "[SEP]"] for text in texts]
    shape = (len(rows), length or max(map(len, rows)))
    ids, mask = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = [vocabulary[piece] for piece in row]
        mask[index, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros(shape, np.int32)}


def _pieces(text: str, vocabulary: Mapping[str, int]) -> Iterable[str]:
    for word in re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower()):
        yield from _word_pieces(word, vocabulary)


def _word_pieces(word: str, vocabulary: Mapping[str, int]) -> list[str]:
    """The longest known beginning, then the longest known continuation, and so on."""
    pieces: list[str] = []
    start = 0
    while start < len(word):
        prefix = "##" if start else ""
        ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in vocabulary)
        end = next(ends, None)
        if end is None:
            return ["[UNK]"]
        pieces.append(prefix + word[start:end])
        start = end
    return pieces
