"""Convert a model to a TensorFlow Lite file with TensorFlow's own converter."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tfopt.data import Samples
from tfopt.errors import ConversionError
from tfopt.formats.message_size import LARGEST, constant_bytes
from tfopt.ir import DType, Model
from tfopt.ir.bodies import all_nodes, graphs
from tfopt.passes.needs.statistics import Statistics
from tfopt.passes.tflite import InferenceType, Precision
from tfopt.store.disk import writing
from tfopt.store.output import check_absent
from tfopt.targets.base import Artifact
from tfopt.targets.child import Finished, run_child
from tfopt.targets.dynamic_grids import without_dynamic_grids
from tfopt.targets.integer_tables import with_integer_tables
from tfopt.targets.saved_model import write_saved_model
from tfopt.targets.tflite_conversion import CALIBRATED, Task, save_calls
from tfopt.targets.tflite_edges import with_integer_edges
from tfopt.targets.tflite_float_ops import float_ops_note
from tfopt.targets.tflite_lowering.edges import with_edge_grids
from tfopt.targets.tflite_lowering.grids import with_ranges
from tfopt.targets.tflite_lowering.results import with_result_grids
from tfopt.targets.tflite_refusal import refusal
from tfopt.targets.tflite_signatures import check_names, with_aliases
from tfopt.targets.twin_signatures import twins

#: What no model of a sensible size needs: an hour means that the converter hangs.
TIMEOUT_SECONDS = 3600.0


def write_tflite(
    model: Model,
    path: Path,
    *,
    precision: Precision = "float32",
    sparse: bool = False,
    inference_input_type: InferenceType = "float32",
    inference_output_type: InferenceType = "float32",
    calibration: Mapping[str, Samples] | None = None,
    statistics: Statistics | None = None,
    timeout: float = TIMEOUT_SECONDS,
    largest: int = LARGEST,
    tell: Callable[[str], None] = lambda _: None,
) -> Artifact:
    """Write every signature of `model` into one file. Keys, names, dtypes and shapes of inputs and outputs stay.

    `float16` stores the weights in half precision; what computes in float32 still does. `dynamic` stores the weights
    of large layers in int8 and quantizes activations as they come. `int8` quantizes weights per output channel and
    activations per tensor: to the grids of the model, where it has some (`tflite_lowering/grids.py`), and else with
    the ranges that the `calibration` samples (by signature) show. Ops that have no integer kernel stay float, which the
    artifact's notes say, and so do inputs and outputs, unless the inference types are integers (int8 or uint8 at
    `int8`, int16 at `int16`): what was float32 is that then, with a scale and a zero point in the file.
    `int16` gives activations 16 bits, with ranges that the samples show, and weights 8: hardly any loss, and slower
    than float on CPUs, for accelerators that compute so.
    `statistics` give grids to the results of integer layers that have none, which would stay float too, and to inputs
    and outputs that are to be integers. The other precisions know no grids.
    `sparse` leaves zeros out of weights that are mostly zeros.
    Signatures that are one program share one subgraph, converted and calibrated once. A .tflite file holds no default
    values: every input must be given.

    The converter runs in a process of its own. Raises ConversionError when it refuses the model, crashes, takes more
    than `timeout` seconds or loses a name, and before it is started for more than `largest` bytes of constants: it
    reads them from one protobuf, and a .tflite file holds two gigabytes. Raises OutputExists, OutputError.
    """
    check_absent(path)
    _check_size(model, largest)
    _check_floats(model)
    _check_edges(model, inference_input_type, inference_output_type)
    model = without_dynamic_grids(model)
    ranged = precision == "int8" and any(
        found.constant(v) is None for found in graphs(model.graph) for v in found.grids
    )
    if ranged:
        model = with_result_grids(model, statistics) if statistics else model
        inputs, outputs = inference_input_type != "float32", inference_output_type != "float32"
        model = with_edge_grids(model, statistics, inputs=inputs, outputs=outputs)
        model = with_ranges(model.with_graph(with_integer_tables(model.graph)))
    aliases = twins(model)
    keys = sorted(model.signatures.keys() - aliases.keys())
    samples = _samples(model, keys, calibration or {}, precision) if precision in CALIBRATED and not ranged else {}
    with tempfile.TemporaryDirectory(prefix="tfopt-") as directory:
        scratch = Path(directory)
        # All weights as constants: the converter would turn variables into state of the file.
        write_saved_model(model, scratch / "model", variables_over=None)
        files = None if ranged else _save(samples, scratch)
        output, refused = str(scratch / "model.tflite"), str(scratch / "refusal.txt")
        task = Task(str(scratch / "model"), tuple(keys), precision, files, output, refused, sparse)
        converted, finished = _convert(model, task, scratch, timeout)
    held = "" if finished.peak_bytes is None else f" with {finished.peak_bytes / 1e9:.1f} GB of memory at the peak"
    tell(f"converted to TFLite {precision}{held}")
    edged = with_integer_edges(converted, input_type=inference_input_type, output_type=inference_output_type)
    content = with_aliases(edged, aliases)
    check_names(content, model, input_type=inference_input_type, output_type=inference_output_type)
    with writing(path), path.open("xb") as file:
        file.write(content)
    return Artifact("tflite", path, notes=float_ops_note(content, decided=ranged) if precision in CALIBRATED else ())


def _check_size(model: Model, largest: int) -> None:
    size = constant_bytes(model.graph)
    if size > largest:
        constants = (node for node in all_nodes(model.graph) if node.op == "Const")
        worst = max(constants, key=lambda node: node.tensor.nbytes)
        raise ConversionError(
            f"the model holds {size:,} bytes of constants, and the TFLite converter takes at most {largest:,} of them, "
            "whatever the precision",
            where=f"{worst.name}: {worst.tensor.nbytes:,} bytes",
            hint="serve the SavedModel, or write ONNX, whose weights may lie beside the file",
        )


def _check_floats(model: Model) -> None:
    """The converter takes integers in its own form alone, which it makes of a float model."""
    for node in all_nodes(model.graph):
        if any(type_.dtype.value.startswith(("qint", "quint")) for type_ in node.outputs) and node.op != "Const":
            raise ConversionError(
                "the model computes on integers already, by ops of TensorFlow that TFLite has not",
                where=f"{node.op} {node.name}",
                hint="convert the float model that it was made of",
            )


def _check_edges(model: Model, input_type: str, output_type: str) -> None:
    inputs = [entry.type for signature in model.signatures.values() for entry in signature.inputs.values()]
    outputs = [entry.type for signature in model.signatures.values() for entry in signature.outputs.values()]
    for side, chosen, types in (("input", input_type, inputs), ("output", output_type, outputs)):
        if chosen != "float32" and not any(type_.dtype is DType.FLOAT32 for type_ in types):
            found = ", ".join(sorted({type_.dtype.value for type_ in types})) or "there is none"
            what = f"inference_{side}_type is {chosen}, and no {side} is float32 ({found})"
            raise ConversionError(what, hint=f"leave inference_{side}_type out")


def _samples(
    model: Model, keys: list[str], calibration: Mapping[str, Samples], precision: str
) -> Mapping[str, Samples]:
    with_inputs = [key for key in keys if model.signatures[key].inputs]
    for key in with_inputs:
        if key not in calibration or not calibration[key].count:
            raise ConversionError(
                f"{precision} needs calibration samples for the signature {key}", hint="give some as data"
            )
    return {key: calibration[key] for key in with_inputs}


def _save(samples: Mapping[str, Samples], scratch: Path) -> Mapping[str, Mapping[str, str]]:
    return {key: save_calls(samples[key], scratch / f"calibration-{number}") for number, key in enumerate(samples)}


def _convert(model: Model, task: Task, scratch: Path, timeout: float) -> tuple[bytes, Finished]:
    finished = run_child(
        "tfopt.targets.tflite_conversion", [task.to_json()], scratch, what="the TFLite converter", timeout=timeout
    )
    refused = Path(task.refusal)
    if refused.exists():
        said = refusal(refused.read_text(encoding="utf-8"), finished.talk, model)
        raise ConversionError(f"the TFLite converter refuses the model: {said}")
    return Path(task.output).read_bytes(), finished
