"""Every recipe step by name: the built-in ones, and third parties' from the entry point group `tfopt.passes`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from tfopt.errors import UsageError
from tfopt.passes.base import Step

#: One module each, which defines a step of its own name. In the order in which they are best run, because each finds
#: more behind the one before it. What nobody reads need not be looked at. Signatures that read one input can be
#: merged. Computed constants show rates of zero and assertions that hold. Slices and shapes are written down before
#: transposes and what changes nothing are looked for, and Reshapes move last. Without identities and dropout, layer
#: and batch norm stand next to each other, and without a Pad between them too; strides move up to convolutions that
#: pad for themselves. Computed constants choose branches, and loops come to an end once their limits are constants:
#: first lists become tensors, then what is done to all rows is done before the loop, and what is left of it is
#: unrolled. Merged weights are scaled once. Activations and norms are written anew when nothing more can be folded
#: out of them. Streams are turned while all is as it was. What adds little is cut and pruned of what is left, and
#: what no other pass will change any more is quantized. Two rounds reach the fixpoint of real models (`repeat:` in a
#: recipe): scaled weights of equal layers become duplicates.
BUILTIN = (
    "drop_outputs",
    "share_inputs",
    "fold_constants",
    "remove_identities",
    "simplify_einsum",
    "flatten_matmul",
    "simplify_slices",
    "simplify_reshapes",
    "merge_sizes",
    "cancel_transposes",
    "transpose_weights",
    "remove_noops",
    "sink_reshapes",
    "remove_dropout",
    "merge_duplicates",
    "simplify_branches",
    "simplify_loops",
    "lower_tensor_lists",
    "hoist_invariants",
    "unroll_loops",
    "merge_rows",
    "fold_pad",
    "hoist_strides",
    "fold_batch_norm",
    "fold_scale",
    "merge_parallel",
    "merge_linear",
    "fuse_softmax",
    "fuse_gelu",
    "fuse_layer_norm",
    "fuse_hard_swish",
    "remove_dead",
    "rotate_streams",
    "merge_neurons",
    "cut_branches",
    "prune_channels",
    "low_rank",
    "prune_magnitude",
    "prune_second_order",
    "repair",
    "refit_neurons",
    "cluster_weights",
    "distill",
    "fine_tune",
    "equalize",
    "smooth",
    "quantize",
    "quantize_weights",
    "quantize_dynamic",
    "to_bfloat16",
    "store_float16",
    "saved_model",
    "tflite",
    "onnx",
)

ENTRY_POINT_GROUP = "tfopt.passes"


@cache
def steps() -> Mapping[str, Step]:
    """All steps. Raises UsageError when two packages give one name, or one gives nothing, or something that is no
    step."""
    found = {name: _builtin(name) for name in BUILTIN}
    origin = dict.fromkeys(BUILTIN, "tfopt")
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda e: (e.name, e.value)):
        if entry.name in found:
            raise UsageError(
                f"two packages define the pass {entry.name}: {origin[entry.name]} and {_package(entry)}",
                hint="uninstall one of them, or ask its authors to rename the pass",
            )
        found[entry.name] = _plugin(entry)
        origin[entry.name] = _package(entry)
    return found


def _builtin(name: str) -> Step:
    step = getattr(import_module(f"tfopt.passes.{name}"), name)
    assert isinstance(step, Step)
    return step


def _plugin(entry: EntryPoint) -> Step:
    try:
        step = entry.load()
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"the pass {entry.name} of {_package(entry)} cannot be imported: {error}",
            hint=f"reinstall or uninstall {_package(entry)}",
        ) from error
    if not isinstance(step, Step) or step.name != entry.name:
        raise UsageError(
            f"the entry point {entry.name} of {_package(entry)} is no pass of that name",
            hint="decorate the function with tfopt.passes.base.graph_pass",
        )
    return step


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
