"""Where the bundled network's time goes at batch 1, before and after the exact recipe, with one thread and with two.

    python -m benchmarks.small_network [--rounds 60]

TensorFlow's own trace of each kernel: microseconds of the convolutions, and of everything else. A quarter of the
rounds were faster than the figures, which keeps out what other processes did meanwhile.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np

from benchmarks.report import print_table
from tfopt.demo.tour import BUNDLE
from tfopt.formats.graph_def import to_graph_def
from tfopt.formats.saved_model import read_saved_model
from tfopt.formats.tensorflow import tf
from tfopt.ir.graph import Model
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe


def main(rounds: int = 60) -> None:
    original = read_saved_model(BUNDLE / "fashion_cnn")
    models = {"original": original, "exact": run_pipeline(original, load_recipe("exact")).model}
    rows = []
    for threads in (1, 2):
        for name, model in models.items():
            for fused in (True, False):
                convolutions, rest, kernels = _traced(model, threads, fused, rounds)
                told = [f"{convolutions:.0f}", f"{rest:.0f}", str(kernels)]
                rows.append([name, str(threads), "on" if fused else "off", *told])
    headings = ["model", "threads", "remapper", "convolutions us", "rest us", "kernels"]
    print_table("The bundled network at batch 1, kernel by kernel", headings, rows)


def _traced(model: Model, threads: int, fused: bool, rounds: int) -> tuple[float, float, int]:
    """Microseconds in convolutions and in the other kernels, and how many kernels there are."""
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads, use_per_session_threads=True
    )
    if not fused:
        config.graph_options.rewrite_options.remapping = 2  # RewriterConfig.OFF
    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(to_graph_def(model.graph), name="")
    (signature, *_) = model.signatures.values()
    (given,), (made,) = signature.inputs.values(), signature.outputs.values()
    fetch = f"{model.graph.outputs[made.position].node}:0"
    feeds = {f"{given.node}:0": np.random.default_rng(0).random((1, 28, 28, 1)).astype(np.float32)}
    taken = defaultdict(list)
    trace = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
    with tf.compat.v1.Session(graph=imported, config=config) as session:
        for _ in range(30):
            session.run(fetch, feeds)
        for _ in range(rounds):
            record = tf.compat.v1.RunMetadata()
            session.run(fetch, feeds, options=trace, run_metadata=record)
            for device in record.step_stats.dev_stats:
                for node in device.node_stats:
                    taken[node.node_name, "Conv2D" in node.timeline_label].append(
                        node.op_end_rel_micros - node.op_start_rel_micros
                    )
    sums = [
        sum(float(np.percentile(us, 25)) for (_, conv), us in taken.items() if conv is kind) for kind in (True, False)
    ]
    return sums[0], sums[1], len(taken)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60, help="traced runs of each row (60)")
    main(parser.parse_args().rounds)
