"""One call of TensorFlow with its own tracer (RunOptions, StepStats)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfopt.formats.tensorflow import tf  # isort: split

from numpy.typing import NDArray
from tensorflow.python.client import pywrap_tf_session

from tfopt.runtimes.tensorflow import SessionRuntime

_SOFTWARE = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.SOFTWARE_TRACE)


def traced_call(runtime: SessionRuntime, signature: str, inputs: Mapping[str, NDArray[Any]]) -> list[Any]:
    """The nodes in the order in which they ran, behind an untraced call: what tracing leaves in the caches is not what
    an op finds."""
    runtime.run(signature, inputs)
    options = pywrap_tf_session.TF_NewBufferFromString(_SOFTWARE.SerializeToString())
    metadata = pywrap_tf_session.TF_NewBuffer()
    try:
        runtime.run(signature, inputs, options=options, metadata=metadata)
        told = tf.compat.v1.RunMetadata.FromString(pywrap_tf_session.TF_GetBuffer(metadata))
    finally:
        pywrap_tf_session.TF_DeleteBuffer(options)
        pywrap_tf_session.TF_DeleteBuffer(metadata)
    ran = (node for device in told.step_stats.dev_stats for node in device.node_stats)
    return sorted(ran, key=lambda node: int(node.all_start_nanos))


def kernel_seconds(node: Any) -> float:
    return float(node.op_end_rel_nanos - node.op_start_rel_nanos) / 1e9
