"""Units of networks as Keras exports them: found where they should be, and removed without a trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as nn
from numpy.typing import NDArray

from tests import models
from tests.passes.structure.without import assert_types_hold, drawn, unseen, with_graph
from tests.passes.test_recurrent import same
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.graph import Model
from tfopt.ir.verify import verify_model
from tfopt.passes.structure.counted_macs import counted_macs
from tfopt.passes.structure.coupling import couple
from tfopt.passes.structure.removal import without_units
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe
from tfopt.runtimes.tensorflow import ModelRunner, TensorFlowRuntime
from tfopt.targets.saved_model import write_saved_model

Builder = Callable[[Path], Path]
Built = Callable[[Builder], Path]


def recurrent(directory: Path) -> Path:
    return _recurrent(directory, 5)


def open_recurrent(directory: Path) -> Path:
    return _recurrent(directory, None)


def _recurrent(directory: Path, length: int | None) -> Path:
    series = keras.Input((length, 3), name="x")
    sequence = nn.LSTM(6, return_sequences=True)(series)
    lstm, gru = nn.LSTM(5)(sequence), nn.GRU(7)(sequence)
    both = nn.Bidirectional(nn.GRU(3, return_sequences=True))(series)
    last = [lstm, gru, nn.GRU(4, reset_after=False)(series), nn.SimpleRNN(8, go_backwards=True)(both)]
    hidden = nn.Dense(9, activation="relu")(nn.Concatenate()(last))
    return _export(keras.Model(series, nn.Dense(2)(hidden)), directory)


def masked(directory: Path) -> Path:
    ids = keras.Input((None,), name="x", dtype="int32")
    embedded = nn.Embedding(9, 4, mask_zero=True)(ids)
    both = nn.Bidirectional(nn.LSTM(5, return_sequences=True))(embedded)
    return _export(keras.Model(ids, nn.Dense(2)(nn.Concatenate()([nn.GRU(4)(both), nn.LSTM(3)(both)]))), directory)


def images(directory: Path) -> Path:
    """A block of each kind: inverted residual with squeeze and excite, groups, dense, transposed."""
    image = keras.Input((8, 8, 3), name="x")
    x = nn.ReLU()(nn.BatchNormalization()(nn.Conv2D(6, 3, 2, padding="same", use_bias=False)(image)))
    wide = nn.DepthwiseConv2D(3, padding="same")(nn.Conv2D(10, 1, activation="relu6")(x))
    gate = nn.Conv2D(10, 1, activation="hard_sigmoid")(
        nn.Conv2D(4, 1, activation="relu")(nn.GlobalAveragePooling2D(keepdims=True)(wide))
    )
    x = nn.Add()([x, nn.Conv2D(6, 1)(nn.Multiply()([wide, gate]))])
    x = nn.Concatenate()([x, nn.Conv2D(8, 3, padding="same", groups=2)(x)])
    x = nn.Conv2DTranspose(5, 3, 2, padding="same")(nn.BatchNormalization()(x))
    return _export(keras.Model(image, nn.Dense(2)(nn.Flatten()(nn.MaxPooling2D(2)(x)))), directory)


def sequence(directory: Path) -> Path:
    series = keras.Input((10, 3), name="x")
    x = nn.Conv1D(8, 3, padding="causal", activation="relu")(series)
    x = nn.SeparableConv1D(6, 3, padding="same")(x)
    x = x + nn.MultiHeadAttention(2, 4)(x, x)
    x = nn.LayerNormalization()(nn.Dense(5, activation="gelu")(x))
    return _export(keras.Model(series, nn.Dense(2)(nn.GlobalMaxPooling1D()(x))), directory)


def _export(model: keras.Model, directory: Path) -> Path:
    for seed, variable in enumerate(model.variables):
        if "seed" not in variable.path:
            weights = models.weights(*variable.shape, seed=seed) * 0.5
            variable.assign(np.abs(weights) + 0.5 if "variance" in variable.path else weights)
    model.export(str(directory), verbose=False)
    return directory


def series(batch: int) -> Mapping[str, NDArray[Any]]:
    return {"x": np.random.default_rng(batch).normal(size=(batch, 5, 3)).astype(np.float32)}


def words(batch: int) -> Mapping[str, NDArray[Any]]:
    """Some of them padded with the zeros that are masked."""
    drawn_words = np.random.default_rng(batch).integers(1, 9, (batch, 6)).astype(np.int32)
    drawn_words[0, 3:] = 0
    return {"x": drawn_words}


def pictures(batch: int) -> Mapping[str, NDArray[Any]]:
    return {"x": np.random.default_rng(batch).normal(size=(batch, 8, 8, 3)).astype(np.float32)}


def signals(batch: int) -> Mapping[str, NDArray[Any]]:
    return {"x": np.random.default_rng(batch).normal(size=(batch, 10, 3)).astype(np.float32)}


#: What they are fed, and how many units each group has, in any order: channels that a convolution in two groups reads
#: go by two, queries and keys have units of their own.
NETWORKS: Mapping[Builder, tuple[Callable[[int], Mapping[str, NDArray[Any]]], list[int]]] = {
    recurrent: (series, [3, 3, 4, 5, 6, 7, 8, 9]),
    open_recurrent: (series, [3, 3, 4, 5, 6, 7, 8, 9]),
    masked: (words, [3, 4, 5, 5]),
    images: (pictures, [3, 4, 4, 5, 10]),
    sequence: (signals, [4, 4, 6, 8]),
}


@cache
def read(path: Path, exact: bool) -> Model:
    model = read_saved_model(path)
    return run_pipeline(model, load_recipe("exact")).model if exact else model


@pytest.mark.parametrize("builder", NETWORKS, ids=lambda builder: builder.__name__)
def test_units_are_found(builder: Builder, built: Built) -> None:
    coupling = couple(read(built(builder), True).graph)
    assert sorted(len(group.units) for group in coupling.groups) == NETWORKS[builder][1]


#: As it is read, the filters of a Conv1D are computed.
CASES = [(builder, exact) for exact in (False, True) for builder in NETWORKS if exact or builder is not sequence]


@pytest.mark.parametrize(("builder", "exact"), CASES, ids=lambda case: getattr(case, "__name__", f"exact={case}"))
def test_what_is_removed_is_what_nobody_sees(builder: Builder, exact: bool, built: Built, tmp_path: Path) -> None:
    model = read(built(builder), exact)
    coupling = couple(model.graph)
    gone = drawn(coupling, np.random.default_rng(1))
    assert len(gone)
    shrunk = with_graph(model, without_units(coupling, gone))
    verify_model(shrunk)
    assert_types_hold(shrunk.graph)
    outputs = range(len(model.graph.outputs))
    assert coupling.macs_without(gone) == counted_macs(shrunk.graph, outputs) < coupling.macs
    written = write_saved_model(shrunk, tmp_path / "model").path
    expected = with_graph(model, unseen(coupling, gone))
    with ModelRunner(expected) as whole, ModelRunner(shrunk) as runner, TensorFlowRuntime(written) as runtime:
        for key in model.signatures:
            for feeds in map(NETWORKS[builder][0], (1, 3)):
                answers = whole.run(key, feeds)
                assert all(np.isfinite(array).all() for array in answers.values())
                same(runner.run(key, feeds), answers, 1e-4)
                same(runtime.run(key, feeds), answers, 1e-4)
