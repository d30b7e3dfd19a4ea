"""MiniLM in TensorFlow computes what the paper's formulas say, and its tokenizer cuts words as BERT's does."""

from __future__ import annotations

import json
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from benchmarks import minilm

WIDE = 4 * minilm.WIDTH
WORDS = 50


def random_weights() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    width = minilm.WIDTH
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (WORDS, width),
        "embeddings.position_embeddings.weight": (20, width),
        "embeddings.token_type_embeddings.weight": (2, width),
    }
    norms, dense = ["embeddings"], {}
    for layer in range(minilm.LAYERS):
        name = f"encoder.layer.{layer}"
        norms += [f"{name}.attention.output", f"{name}.output"]
        dense |= {f"{name}.attention.self.{part}": (width, width) for part in ("query", "key", "value")}
        dense[f"{name}.attention.output.dense"] = (width, width)
        dense |= {f"{name}.intermediate.dense": (WIDE, width), f"{name}.output.dense": (width, WIDE)}
    shapes |= {f"{name}.LayerNorm.{part}": (width,) for name in norms for part in ("weight", "bias")}
    for name, shape in dense.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return {
        name: (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32) for name, shape in shapes.items()
    }


def reference(w: dict[str, NDArray[Any]], ids: NDArray[Any], mask: NDArray[Any], types: NDArray[Any]) -> NDArray[Any]:
    """Vaswani et al. (2017) and Devlin et al. (2019) in float64, one example after the other."""

    def norm(name: str, x: NDArray[Any]) -> NDArray[Any]:
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + minilm.EPSILON)
        return scaled * w[f"{name}.LayerNorm.weight"] + w[f"{name}.LayerNorm.bias"]

    def dense(name: str, x: NDArray[Any]) -> NDArray[Any]:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def one(ids: NDArray[Any], mask: NDArray[Any], types: NDArray[Any]) -> NDArray[Any]:
        embedded = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][types]
        x = norm("embeddings", embedded + w["embeddings.position_embeddings.weight"][: len(ids)])
        for layer in range(minilm.LAYERS):
            name = f"encoder.layer.{layer}"
            parts = [dense(f"{name}.attention.self.{part}", x) for part in ("query", "key", "value")]
            query, key, value = (part.reshape(len(ids), minilm.HEADS, -1).transpose(1, 0, 2) for part in parts)
            scores = np.exp(query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])) * mask
            context = (scores / scores.sum(-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(len(ids), -1)
            x = norm(f"{name}.attention.output", dense(f"{name}.attention.output.dense", context) + x)
            wide = dense(f"{name}.intermediate.dense", x)
            gelu = wide * 0.5 * (1 + np.vectorize(erf)(wide / np.sqrt(2)))
            x = norm(f"{name}.output", dense(f"{name}.output.dense", gelu) + x)
        return x

    return np.stack([one(*row) for row in zip(ids, mask, types, strict=True)])


def test_the_network_is_the_papers(tmp_path: Path) -> None:
    weights = random_weights()
    minilm.save(weights, tmp_path / "minilm")
    rng = np.random.default_rng(1)
    ids, types = rng.integers(0, WORDS, (2, 7)), rng.integers(0, 2, (2, 7))
    mask = np.array([[1] * 7, [1] * 4 + [0] * 3])
    served = tf.saved_model.load(str(tmp_path / "minilm")).signatures["serving_default"]
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    made = served(**{name: tf.constant(array, tf.int32) for name, array in inputs.items()})
    hidden = reference({name: array.astype(np.float64) for name, array in weights.items()}, ids, mask, types)
    np.testing.assert_allclose(made["last_hidden_state"].numpy(), hidden, atol=1e-5 * np.abs(hidden).max())
    pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    np.testing.assert_allclose(made["sentence_embedding"].numpy(), pooled, atol=1e-5)


def test_words_are_cut_into_the_longest_known_pieces(tmp_path: Path) -> None:
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "play", "##ing", "##i", "the", "."]
    vocabulary = {word: index for index, word in enumerate(known)}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    made = minilm.tokenize(tmp_path, ["Playing the.", "xyz"])
    assert made["input_ids"].tolist() == [[2, 4, 5, 7, 8, 3], [2, 1, 3, 0, 0, 0]]
    assert made["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]
    cut = minilm.tokenize(tmp_path, ["the the the"], length=4)
    assert cut["input_ids"].tolist() == [[2, 7, 7, 3]]
