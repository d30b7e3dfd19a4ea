"""JSON schemas of what the REST interface takes and gives."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_STRING: Schema = {"type": "string"}
_BOOLEAN: Schema = {"type": "boolean"}
_INTEGER: Schema = {"type": "integer"}
_ANY: Schema = {}


def _array(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _object(required: str = "", /, **properties: Schema) -> Schema:
    """`required`: the names of members that must be there, separated by spaces."""
    return {"type": "object", "properties": properties, **({"required": required.split()} if required else {})}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_EXAMPLE: Schema = {"type": "object", "description": "features by name; each is one value or a list of values"}

_PAIR: Schema = {
    "type": "array",
    "items": {"type": ["string", "number"]},
    "minItems": 2,
    "maxItems": 2,
    "description": "label and score",
}

#: What goes into a predict request; what goes into a tensor is the model's to say.
_VALUES = (
    'Numbers, strings, booleans or {"b64": ...} for bytes, nested as the tensor\'s shape is. '
    "NaN, Infinity and -Infinity are taken and given as bare words."
)

SCHEMAS: dict[str, Schema] = {
    "Error": _object("error", error=_STRING),
    "PredictRequest": {
        "type": "object",
        "properties": {
            "signature_name": {"type": "string", "default": "serving_default"},
            "instances": _array(_ANY, minItems=1, description=f"Row form, one example an element. {_VALUES}"),
            "inputs": {"description": f"Columnar form: the tensor, or an object of tensors by name. {_VALUES}"},
        },
        "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
    },
    "PredictResponse": {
        "type": "object",
        "properties": {
            "predictions": _array(_ANY, description="answers row form"),
            "outputs": {"description": "answers columnar form"},
        },
        "oneOf": [{"required": ["predictions"]}, {"required": ["outputs"]}],
    },
    "ExamplesRequest": _object(
        "examples", signature_name=_STRING, context=_EXAMPLE, examples=_array(_EXAMPLE, minItems=1)
    ),
    "ClassifyResponse": _object("results", results=_array(_array(_PAIR))),
    "RegressResponse": _object("results", results=_array({"type": "number"})),
    "ModelStatus": _object(
        "model_version_status",
        model_version_status=_array(
            _object(
                "version state status",
                version={"type": "string", "pattern": "^[0-9]+$"},
                state={"enum": ["UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"]},
                status=_object("error_code error_message", error_code=_STRING, error_message=_STRING),
            )
        ),
    ),
    "ModelMetadata": _object(
        "model_spec metadata",
        model_spec=_object("name signature_name version", name=_STRING, signature_name=_STRING, version=_STRING),
        metadata=_object("signature_def", signature_def=_object("signature_def", signature_def={"type": "object"})),
    ),
    "Health": _object("status", status={"const": "ok"}),
    "Models": _object(
        "models",
        models=_array(
            _object(
                "name path serving labels problem versions",
                name=_STRING,
                path=_STRING,
                serving={"type": ["integer", "null"]},
                labels={"type": "object", "additionalProperties": _INTEGER},
                problem={"type": ["string", "null"]},
                versions=_array(_object("version state", version=_INTEGER, state=_STRING)),
            )
        ),
    ),
    "V2Live": _object("live", live=_BOOLEAN),
    "V2Ready": _object("ready", ready=_BOOLEAN),
    "V2Server": _object("name version extensions", name=_STRING, version=_STRING, extensions=_array(_STRING)),
    "V2ModelReady": _object("name ready", name=_STRING, ready=_BOOLEAN),
    "V2Tensor": _object("name datatype shape", name=_STRING, datatype=_STRING, shape=_array(_INTEGER)),
    "V2Model": _object(
        "name versions platform inputs outputs parameters",
        name=_STRING,
        versions=_array(_STRING),
        platform=_STRING,
        inputs=_array(_ref("V2Tensor")),
        outputs=_array(_ref("V2Tensor")),
        parameters=_object("signature_name signatures", signature_name=_STRING, signatures=_STRING),
    ),
    "V2InferRequest": _object(
        "inputs",
        id={"type": ["string", "null"]},
        parameters={
            "type": ["object", "null"],
            "properties": {
                "signature_name": {"type": ["string", "null"]},
                "binary_data_output": {"type": ["boolean", "null"]},
            },
        },
        inputs=_array(
            _object(
                "name datatype shape",
                name=_STRING,
                datatype=_STRING,
                shape=_array({"type": "integer", "minimum": 0}),
                parameters={"type": ["object", "null"], "properties": {"binary_data_size": {"type": "integer"}}},
                data={"description": "flat, or nested as the shape is; left out where binary data follows"},
            )
        ),
        outputs={"type": ["array", "null"], "items": _object("name", name=_STRING)},
    ),
    "V2InferResponse": _object(
        "model_name model_version outputs",
        model_name=_STRING,
        model_version=_STRING,
        id=_STRING,
        outputs=_array(
            _object(
                "name datatype shape",
                name=_STRING,
                datatype=_STRING,
                shape=_array(_INTEGER),
                data=_array(_ANY),
                parameters=_object(binary_data_size=_INTEGER),
            )
        ),
    ),
}
