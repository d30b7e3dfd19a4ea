"""Do a .tflite file's signatures say what the model's say?

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorflow.lite.python import schema_py_generated as schema

from tfopt.errors import ConversionError
from tfopt.ir import Model, Signature

_DTYPES = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}


def check_names(content: bytes, model: Model) -> None:
    """Raise ConversionError for a signature, input or output that is missing, added or of another dtype."""
    found = _signatures(content)
    if found.keys() != model.signatures.keys():
        names = _difference(dict.fromkeys(model.signatures), dict.fromkeys(found))
        raise ConversionError(f"the conversion changed the signatures: {names}")
    for key, signature in model.signatures.items():
        for ends, expected in _expected(signature).items():
            if found[key][ends] != expected:
                raise ConversionError(
                    f"the conversion changed the {ends} of signature {key}: {_difference(expected, found[key][ends])}"
                )


def _expected(signature: Signature) -> dict[str, dict[str, str]]:
    return {
        "inputs": {name: entry.type.dtype.value for name, entry in signature.inputs.items()},
        "outputs": {name: entry.type.dtype.value for name, entry in signature.outputs.items()},
    }


def _signatures(content: bytes) -> dict[str, dict[str, dict[str, str]]]:
    file = schema.Model.GetRootAs(content)
    found = {}
    for signature in map(file.SignatureDefs, range(file.SignatureDefsLength())):
        graph = file.Subgraphs(signature.SubgraphIndex())
        inputs = map(signature.Inputs, range(signature.InputsLength()))
        outputs = map(signature.Outputs, range(signature.OutputsLength()))
        found[signature.SignatureKey().decode()] = {"inputs": _ends(graph, inputs), "outputs": _ends(graph, outputs)}
    return found


def _ends(graph: Any, maps: Any) -> dict[str, str]:
    return {entry.Name().decode(): _DTYPES[graph.Tensors(entry.TensorIndex()).Type()] for entry in maps}


def _difference(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    names = sorted(expected.keys() | found.keys())
    changed = (name for name in names if name not in expected or name not in found or expected[name] != found[name])
    return ", ".join(f"{name} ({_state(name, expected, found)})" for name in changed)


def _state(name: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    if name not in found:
        return "missing"
    return "new" if name not in expected else f"{expected[name]} became {found[name]}"
