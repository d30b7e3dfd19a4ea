"""Lookup tables of every kind, as TensorFlow 1 wrote them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.training import saver

from tests.formats.saved_v1 import assert_carried, saved
from tests.formats.session import assert_same
from tests.models import WORDS
from tfopt.formats.saved_model import read_saved_model
from tfopt.runtimes.tensorflow import ModelRunner

v1 = tf.compat.v1


@pytest.mark.parametrize("argument", ["main_op", "legacy_init_op"])
def test_tables_and_resource_variables(tmp_path: Path, argument: str) -> None:
    vocabulary = tmp_path / "vocabulary.txt"
    vocabulary.write_text("\n".join(WORDS))
    with tf.Graph().as_default():
        words = v1.placeholder(tf.string, [None], "words")
        line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        lines = tf.lookup.TextFileInitializer(str(vocabulary), tf.string, line, tf.int64, number)
        ids = tf.lookup.StaticHashTable(lines, 0).lookup(words)
        vectors = v1.get_variable("vectors", [4, 2], use_resource=True, initializer=v1.random_normal_initializer())
        signature = ("serving_default", {"words": words}, {"ids": ids, "vectors": tf.gather(vectors, ids)})
        path = saved(tmp_path / "m", signature, **{argument: v1.tables_initializer()})
    vocabulary.unlink()
    model = read_saved_model(path)
    assert [asset.filename for asset in model.assets] == ["vocabulary.txt"]
    assert_same(model, path, words=np.array(["fox", "cow", "quick"]))


@pytest.mark.parametrize("kind", ["MutableHashTable", "MutableDenseHashTable", "HashTable", "MutableHashTableV2"])
def test_tables_of_all_kinds(tmp_path: Path, kind: str) -> None:
    """The mutable ones are filled from the checkpoint, the old ones have a reference for a handle."""
    with tf.Graph().as_default():
        words = v1.placeholder(tf.string, [None], "words")
        keys, numbers = tf.constant(WORDS), tf.constant([3, 1, 4, 1], tf.int64)
        missing = tf.constant(-1, tf.int64)
        restorable = "Mutable" in kind
        if kind == "MutableDenseHashTable":
            table = tf.lookup.experimental.DenseHashTable(tf.string, tf.int64, -1, "", "-")
        elif kind == "MutableHashTableV2":
            table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
        if kind in ("MutableDenseHashTable", "MutableHashTableV2"):
            fill, found = table.insert(keys, numbers), table.lookup(words)
        elif kind == "MutableHashTable":
            handle = tf.raw_ops.MutableHashTable(key_dtype=tf.string, value_dtype=tf.int64, shared_name="old")
            fill = tf.raw_ops.LookupTableInsert(table_handle=handle, keys=keys, values=numbers)
            found = tf.raw_ops.LookupTableFind(table_handle=handle, keys=words, default_value=missing)
            v1.add_to_collection(v1.GraphKeys.SAVEABLE_OBJECTS, _OldTable(handle))
        else:
            handle = tf.raw_ops.HashTable(key_dtype=tf.string, value_dtype=tf.int64)
            fill = tf.raw_ops.InitializeTable(table_handle=handle, keys=keys, values=numbers)
            found = tf.raw_ops.LookupTableFind(table_handle=handle, keys=words, default_value=missing)
        v1.add_to_collection(v1.GraphKeys.TABLE_INITIALIZERS, fill)
        scale = v1.get_variable("scale", [], tf.int64, initializer=v1.constant_initializer(2), use_resource=False)
        main_op = None if restorable else v1.tables_initializer()
        path = saved(tmp_path / "m", ("serving_default", {"words": words}, {"found": found * scale}), main_op=main_op)
    model = assert_carried(path, {"words": np.array(["fox", "the", "cow"], object)})
    assert model.init is not None
    (filled,) = (model.graph[name].op for name in model.graph[model.init].controls)
    assert filled == ("LookupTableInsertV2" if restorable else "InitializeTableV2")


def test_a_table_is_filled_from_another_that_is_filled_before(tmp_path: Path) -> None:
    """The order of the two is a control dependency alone."""
    with tf.Graph().as_default():
        words = v1.placeholder(tf.string, [None], "words")
        keys, numbers = tf.constant(WORDS), tf.constant([3, 1, 4, 1], tf.int64)
        first, second = (
            tf.raw_ops.HashTableV2(key_dtype=key, value_dtype=value, shared_name=name)
            for name, key, value in (("first", tf.string, tf.int64), ("second", tf.string, tf.int64))
        )
        missing = tf.constant(-1, tf.int64)
        fill = tf.raw_ops.InitializeTableV2(table_handle=first, keys=keys, values=numbers)
        with tf.control_dependencies([fill]):
            found = tf.raw_ops.LookupTableFindV2(table_handle=first, keys=keys, default_value=missing)
        then = tf.raw_ops.InitializeTableV2(table_handle=second, keys=keys, values=found * 10)
        v1.add_to_collection(v1.GraphKeys.TABLE_INITIALIZERS, then)
        each = [
            tf.raw_ops.LookupTableFindV2(table_handle=table, keys=words, default_value=missing)
            for table in (first, second)
        ]
        signature = ("serving_default", {"words": words}, {"first": each[0], "second": each[1]})
        path = saved(tmp_path / "m", signature, main_op=v1.tables_initializer())
    fed = np.array(["fox", "the", "cow"], object)
    model = assert_carried(path, {"words": fed})
    with ModelRunner(model) as runner:
        assert runner.run("serving_default", {"words": fed})["second"].tolist() == [10, 30, -1]


class _OldTable(saver.BaseSaverBuilder.SaveableObject):
    """What TensorFlow 1 saved of a table whose handle is a reference."""

    def __init__(self, handle: tf.Tensor) -> None:
        self._handle = handle
        keys, values = tf.raw_ops.LookupTableExport(table_handle=handle, Tkeys=tf.string, Tvalues=tf.int64)
        specs = [
            saver.BaseSaverBuilder.SaveSpec(keys, "", "old-keys"),
            saver.BaseSaverBuilder.SaveSpec(values, "", "old-values"),
        ]
        super().__init__(handle, specs, handle.op.name)

    def restore(self, restored_tensors: list[tf.Tensor], restored_shapes: object) -> tf.Operation:
        keys, values = restored_tensors
        return tf.raw_ops.LookupTableImport(table_handle=self._handle, keys=keys, values=values)
