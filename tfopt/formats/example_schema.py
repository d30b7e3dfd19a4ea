"""tf.train.Example, the message of TensorFlow's training records, without TensorFlow.

Source: tensorflow/core/example/{example,feature}.proto.
"""

from __future__ import annotations

from typing import Any

from tfopt.formats.schema import Schema

_MESSAGES = {
    "BytesList": ("repeated bytes value 1",),
    "FloatList": ("repeated float value 1",),
    "Int64List": ("repeated int64 value 1",),
    "Feature": ("BytesList bytes_list 1 kind", "FloatList float_list 2 kind", "Int64List int64_list 3 kind"),
    "Features": ("repeated FeatureEntry feature 1",),
    "FeatureEntry": ("string key 1", "Feature value 2"),
    "Example": ("Features features 1",),
}

# Made at run time, so that no type checker knows its fields.
Example: Any = Schema("tfopt/example.proto", "tensorflow", _MESSAGES, nested={"FeatureEntry": "Features"}).message(
    "Example"
)
