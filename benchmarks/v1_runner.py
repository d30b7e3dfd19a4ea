"""Run one signature of a SavedModel as TensorFlow Serving's session does; stands alone, for any TensorFlow and Python.

python v1_runner.py MODEL SIGNATURE INPUTS.npz OUTPUTS.npz
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf


def main(model: str, signature: str, inputs: str, outputs: str) -> None:
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], model)
        definition = meta_graph.signature_def[signature]
        with np.load(inputs) as arrays:
            feeds = {definition.inputs[name].name: arrays[name] for name in arrays.files}
        fetches = {name: info.name for name, info in definition.outputs.items()}
        np.savez(outputs, **session.run(fetches, feeds))


if __name__ == "__main__":
    main(*sys.argv[1:])
