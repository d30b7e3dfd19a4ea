"""The signatures of a .tflite file: read them, hold them against the model's, give a subgraph a second name.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs, https://flatbuffers.dev/internals.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import flatbuffers
from tensorflow.lite.python import schema_py_generated as schema

from tfopt.errors import ConversionError
from tfopt.ir import DType, Model, Signature, SignatureInput, SignatureOutput

_DTYPES = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
#: Where a Model's vtable tells the place of its field `signature_defs`, which is number 7: two bytes each, after four.
_SIGNATURE_DEFS = 4 + 2 * 7
#: What the schema aligns the weights to.
_ALIGNMENT = 16


def with_aliases(content: bytes, aliases: Mapping[str, str]) -> bytes:
    """Give the subgraph of each signature `aliases[key]` the signature `key` too.

    All signatures are written anew behind the file, and the file is pointed there: nothing else in it moves, so the
    weights keep the alignment that runtimes need.
    """
    if not aliases:
        return content
    file = schema.Model.GetRootAs(content)
    entries = [
        schema.SignatureDefT.InitFromObj(file.SignatureDefs(number)) for number in range(file.SignatureDefsLength())
    ]
    by_key = {entry.signatureKey.decode(): entry for entry in entries}
    tail, vector = _packed([*entries, *(_renamed(by_key[aliases[key]], key) for key in sorted(aliases))])
    changed = bytearray(content)
    changed += bytes(-len(changed) % _ALIGNMENT)
    field = file._tab.Pos + file._tab.Offset(_SIGNATURE_DEFS)
    struct.pack_into("<I", changed, field, len(changed) + vector - field)
    return bytes(changed + tail)


def _renamed(entry: Any, key: str) -> Any:
    return schema.SignatureDefT(entry.inputs, entry.outputs, key.encode(), entry.subgraphIndex)


def _packed(entries: list[Any]) -> tuple[bytes, int]:
    """A vector of SignatureDefs in a buffer of its own, and where in there it begins."""
    builder = flatbuffers.Builder()
    offsets = [entry.Pack(builder) for entry in entries]
    schema.ModelStartSignatureDefsVector(builder, len(offsets))
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    builder.Finish(builder.EndVector())
    packed = bytes(builder.Output())
    return packed, struct.unpack_from("<I", packed)[0]


def check_names(content: bytes, model: Model, *, input_type: str = "float32", output_type: str = "float32") -> None:
    """Raise ConversionError for a signature, input or output that is missing, added or of another dtype than the
    model's; inputs and outputs of float32 are to be of these."""
    found = _signatures(content)
    if found.keys() != model.signatures.keys():
        names = _difference(dict.fromkeys(model.signatures), dict.fromkeys(found))
        raise ConversionError(f"the conversion changed the signatures: {names}")
    for key, signature in model.signatures.items():
        for ends, expected in _expected(signature, input_type, output_type).items():
            if found[key][ends] != expected:
                raise ConversionError(
                    f"the conversion changed the {ends} of signature {key}: {_difference(expected, found[key][ends])}"
                )


def _expected(signature: Signature, input_type: str, output_type: str) -> dict[str, dict[str, str]]:
    def dtypes(ends: Mapping[str, SignatureInput] | Mapping[str, SignatureOutput], made: str) -> dict[str, str]:
        found = {name: entry.type.dtype for name, entry in ends.items()}
        return {name: made if dtype is DType.FLOAT32 else dtype.value for name, dtype in found.items()}

    return {"inputs": dtypes(signature.inputs, input_type), "outputs": dtypes(signature.outputs, output_type)}


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
