"""Requests and answers of `infer`: a JSON object, and behind it the binary data of the tensors that have some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from numpy.typing import NDArray

from tfopt.errors import RequestError, nearest
from tfopt.ir.types import dtype_of
from tfopt.runtimes.base import TensorInfo
from tfopt.serve.rest.json_text import parse
from tfopt.serve.rest.messages import Answer, Request
from tfopt.serve.rest.oip.dtypes import check_carried, name_of
from tfopt.serve.rest.oip.tensors import check_shape, from_bytes, from_json, to_bytes, to_json

#: Says how many bytes of a body are JSON. The rest is binary data.
JSON_LENGTH = b"inference-header-content-length"
BINARY = b"application/octet-stream"


@dataclass(frozen=True)
class Wanted:
    """An output that is asked for."""

    name: str
    binary: bool


class InferBody:
    """A parsed request."""

    def __init__(self, request: Request) -> None:
        """Raises RequestError when the body is no such object."""
        text, self._binary = _split(request)
        document = parse(text)
        parameters = _member(document, "parameters", dict, {})
        self.id: str | None = _member(document, "id", str, None)
        self.signature: str | None = _member(parameters, "signature_name", str, None)
        self._binary_output: bool = _member(parameters, "binary_data_output", bool, False)
        self._inputs: list[Any] = _member(document, "inputs", list, None)
        self._outputs: list[Any] = _member(document, "outputs", list, [])
        if self._inputs is None:
            raise RequestError("the request has no inputs")

    def arrays(self, infos: Mapping[str, TensorInfo]) -> dict[str, NDArray[Any]]:
        """Raises RequestError."""
        arrays: dict[str, NDArray[Any]] = {}
        position = 0
        for item in self._inputs:
            name = _named(item, "input")
            if name in arrays:
                raise RequestError(f"the input {name} comes twice")
            if name not in infos:
                raise RequestError(f"the model has no input {name}", hint=nearest(name, infos))
            size = _member(_member(item, "parameters", dict, {}), "binary_data_size", int, None)
            data = None if size is None else self._binary[position : position + size]
            if data is not None and (size < 0 or len(data) != size):
                raise RequestError(
                    f"the binary data ends before that of the input {name}, which is to have {size} bytes"
                )
            position += size or 0
            arrays[name] = _array(name, item, data, infos[name])
        if position != len(self._binary):
            raise RequestError(f"{len(self._binary)} bytes of binary data came, the inputs have {position}")
        return arrays

    def wanted(self, infos: Mapping[str, TensorInfo]) -> list[Wanted]:
        """All outputs when the request names none. Raises RequestError."""
        if not self._outputs:
            return [Wanted(name, self._binary_output) for name in infos]
        found = [_wanted(item, self._binary_output) for item in self._outputs]
        for index, output in enumerate(found):
            if output.name not in infos:
                raise RequestError(f"the model has no output {output.name}", hint=nearest(output.name, infos))
            if any(output.name == other.name for other in found[:index]):
                raise RequestError(f"the output {output.name} is asked for twice")
        return found


def _split(request: Request) -> tuple[bytes, bytes]:
    length = request.header(JSON_LENGTH)
    if not length:
        return request.body, b""
    if not length.isdigit() or len(length) > 18 or int(length) > len(request.body):
        raise RequestError(
            f"Inference-Header-Content-Length is {length.decode('latin-1')}, the body has {len(request.body)} bytes"
        )
    return request.body[: int(length)], request.body[int(length) :]


def _member(document: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    value = document.get(key)
    if value is None:
        return default
    if type(value) is not kind:
        kinds = {dict: "an object", list: "an array", str: "a string", bool: "true or false", int: "an integer"}
        raise RequestError(f"{key} in the request is to be {kinds[kind]}")
    return value


def _named(item: Any, what: str) -> str:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise RequestError(f"each {what} of the request is to be an object with a name")
    name: str = item["name"]
    return name


def _array(name: str, item: Mapping[str, Any], data: bytes | None, info: TensorInfo) -> NDArray[Any]:
    dtype = info.type.dtype
    check_carried(f"the input {name}", dtype)
    if item.get("datatype") != name_of(dtype):
        raise RequestError(f"the input {name} is {item.get('datatype')}, the model takes {name_of(dtype)}")
    shape = check_shape(name, item.get("shape"))
    if (data is None) == ("data" not in item):
        raise RequestError(f"the input {name} needs either data or the parameter binary_data_size")
    return from_json(name, item["data"], dtype, shape) if data is None else from_bytes(name, data, dtype, shape)


def _wanted(item: Any, binary: bool) -> Wanted:
    name = _named(item, "output")
    parameters = _member(item, "parameters", dict, {})
    if parameters.get("classification"):
        raise RequestError(f"the output {name}: this server does not pick classes", hint="ask for the scores")
    return Wanted(name, _member(parameters, "binary_data", bool, binary))


def infer_answer(
    model: str,
    version: int,
    body: InferBody,
    wanted: Sequence[Wanted],
    outputs: Mapping[str, NDArray[Any]],
) -> Answer:
    """Raises RequestError."""
    entries: list[bytes] = []
    binary: list[bytes] = []
    for output in wanted:
        array = outputs[output.name]
        dtype = dtype_of(array)
        entry: dict[str, Any] = {"name": output.name, "datatype": name_of(dtype), "shape": list(array.shape)}
        if output.binary:
            binary.append(to_bytes(output.name, array, dtype))
            entry["parameters"] = {"binary_data_size": len(binary[-1])}
            entries.append(orjson.dumps(entry))
        else:
            entries.append(orjson.dumps(entry)[:-1] + b',"data":%s}' % to_json(output.name, array, dtype))
    head: dict[str, Any] = {"model_name": model, "model_version": str(version)}
    if body.id is not None:
        head["id"] = body.id
    text = b'%s,"outputs":[%s]}' % (orjson.dumps(head)[:-1], b",".join(entries))
    if not binary:
        return Answer(text)
    headers = ((JSON_LENGTH, str(len(text)).encode()),)
    return Answer(b"".join([text, *binary]), content_type=BINARY, headers=headers)
