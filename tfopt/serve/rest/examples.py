"""Classify and regress: JSON objects to serialized tf.Examples, and what the model makes of them back.

Source of rules and texts: tensorflow_serving/util/json_tensor.cc.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tfopt.errors import RequestError
from tfopt.formats.serving.tensorflow_messages import Example
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.serve.inference import Classification, classify, regress
from tfopt.serve.plane import Plane
from tfopt.serve.rest.codec import signature_name
from tfopt.serve.rest.dense import decode_base64, encode_text, is_base64
from tfopt.serve.rest.json_text import echo, parse, type_name, with_tokens
from tfopt.serve.rest.messages import Answer, Request
from tfopt.serve.rest.routes import Ask

_LARGEST_INT64 = 2**63 - 1


def answer_examples(plane: Plane, request: Request) -> Answer:
    """Raises RequestError, ExecutionError."""
    document = parse(request.body)
    signature, examples = signature_name(document), read_examples(document)
    call = classify if request.route.ask is Ask.CLASSIFY else regress
    with plane.servable(request.route.spec) as servable:
        request.seen.version, request.seen.signature = servable.number, signature or DEFAULT_SIGNATURE
        found = call(
            servable,
            signature,
            examples,
            timeout=request.timeout,
            check_method_name=plane.check_method_names,
        )
    results = _classes_text(found) if isinstance(found, Classification) else _values_text(found)
    return Answer(b'{\n    "results": %s\n}' % results)


def read_examples(document: dict[str, Any]) -> list[bytes]:
    """Each example behind the `context` that all of them have: so messages are merged on the wire. Raises
    RequestError."""
    context = _example(document["context"]) if "context" in document else b""
    examples = document.get("examples")
    complaint = None
    if "examples" not in document:
        # So it says for regress too.
        complaint = "When method is classify, key 'examples' is expected and was not found"
    elif not isinstance(examples, list):
        complaint = "Expecting 'examples' value to be an list/array"
    elif not examples:
        complaint = "'examples' value is an empty array"
    if complaint:
        raise RequestError(f"JSON Value: {echo(document)} {complaint}")
    return [context + _example(example) for example in examples or ()]


def _example(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise RequestError(f"Example must be JSON object but got JSON {type_name(value)}")
    example = Example()
    example.features.SetInParent()
    for name, content in value.items():
        try:
            feature = example.features.feature[name]
        except ValueError as error:  # half a surrogate pair
            raise RequestError(f"Feature: {name} has a name that is no text") from error
        for item in content if isinstance(content, list) else (content,):
            _add(feature, name, item)
    serialized: bytes = example.SerializeToString()
    return serialized


def _add(feature: Any, name: str, item: Any) -> None:
    kind = _kind(item)
    if kind is None:
        raise RequestError(f"Feature: {name} has element with unexpected JSON type: {type_name(item)}")
    known = feature.WhichOneof("kind")
    if known not in (None, kind):
        expected = known.removesuffix("_list")
        raise RequestError(f"Unexpected element type in feature: {name} expecting type: {expected}")
    if isinstance(item, int) and item > _LARGEST_INT64:
        raise RequestError(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    if kind == "bytes_list":
        item = encode_text(item) if isinstance(item, str) else decode_base64(item)
    getattr(feature, kind).value.append(int(item) if isinstance(item, bool) else item)


def _kind(item: Any) -> str | None:
    if isinstance(item, str) or is_base64(item):
        return "bytes_list"
    if isinstance(item, float):
        return "float_list"
    return "int64_list" if isinstance(item, int) else None


def _values_text(values: NDArray[np.float32]) -> bytes:
    return with_tokens(orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY), values)


def _classes_text(found: Classification) -> bytes:
    """`[[["label", score], ...], ...]`, where a label that the model does not give is "", and a score is 0.0."""
    rows = []
    for row in range(len(found)):
        labels = None if found.labels is None else [_label_text(label) for label in found.labels[row]]
        scores = None if found.scores is None else _values_text(found.scores[row]).strip(b"[]").split(b",")
        if labels is None:
            pairs = [(b'""', score) for score in scores or () if score]
        else:
            pairs = list(zip(labels, scores or [b"0.0"] * len(labels), strict=False))
        rows.append(b"[" + b", ".join(b"[%s, %s]" % pair for pair in pairs) + b"]")
    return b"[" + b", ".join(rows) + b"]"


def _label_text(label: bytes) -> bytes:
    # Bytes that are not UTF-8 come out as they are, as those of Predict do.
    text = json.dumps(label.decode("utf-8", "surrogateescape"), ensure_ascii=False)
    return text.encode("utf-8", "surrogateescape")
