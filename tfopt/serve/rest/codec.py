"""JSON to arrays and back: the body of a predict request, and of its answer, in row and in columnar form.

Bodies of plain numbers go through orjson and numpy whole; everything else, and everything wrong, through `dense`
value by value. Source of rules and texts: tensorflow_serving/util/json_tensor.cc.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tfopt.errors import RequestError
from tfopt.ir import DType
from tfopt.ir.types import dtype_of
from tfopt.runtimes.base import TensorInfo
from tfopt.serve.rest.dense import dense_array, is_base64, narrow
from tfopt.serve.rest.dtypes import FLOATS, IN_JSON, INTEGERS, text_name
from tfopt.serve.rest.json_text import echo, parse, with_tokens

Arrays = dict[str, NDArray[Any]]
Infos = Mapping[str, TensorInfo]


def signature_name(document: dict[str, Any]) -> str:
    """The signature that a request asks for; "" is the default one. Raises RequestError."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        shape = "not formatted correctly. 'signature_name' key must be a string value."
        raise RequestError(f"JSON Value: {echo(document)} {shape}")
    return name


class PredictBody:
    """A parsed request. Its form decides the form of the answer."""

    def __init__(self, body: bytes) -> None:
        """Raises RequestError when the body is no JSON object."""
        self.document = parse(body)
        self._raw = body

    @property
    def signature(self) -> str:
        """The signature asked for; "" is the default one. Raises RequestError."""
        return signature_name(self.document)

    @property
    def is_row(self) -> bool:
        return "instances" in self.document

    def arrays(self, infos: Infos) -> Arrays:
        """The inputs that `infos` names. Raises RequestError."""
        if not infos:
            raise RequestError(f"Failed to get input map for signature: {self.signature or 'DEFAULT'}")
        if self.is_row:
            return self._rows(infos)
        if "inputs" not in self.document:
            raise RequestError("Missing 'inputs' or 'instances' key")
        return self._columns(self.document["inputs"], infos)

    def _rows(self, infos: Infos) -> Arrays:
        rows = self.document["instances"]
        complaint = None
        if "inputs" in self.document:
            complaint = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        elif not isinstance(rows, list):
            complaint = "Expecting 'instances' to be an list/array"
        elif not rows:
            complaint = "No values in 'instances' array"
        if complaint:
            raise RequestError(f"JSON Value: {echo(self.document)} {complaint}")
        return self._plain_rows(rows, infos) or _careful_rows(rows, infos)

    def _plain_rows(self, rows: list[Any], infos: Infos) -> Arrays | None:
        if not isinstance(rows[0], dict):
            (name, info), *others = infos.items()
            array = None if others else self._plain(rows, info.type.dtype, keys=0)
            return None if array is None else {name: array}
        if not all(isinstance(row, dict) and row.keys() == infos.keys() for row in rows):
            return None
        keys = len(rows) * len(infos)
        arrays = {name: self._plain([row[name] for row in rows], info.type.dtype, keys) for name, info in infos.items()}
        return _complete(arrays)

    def _columns(self, value: Any, infos: Infos) -> Arrays:
        if not isinstance(value, dict) or is_base64(value):
            (name, info), *others = infos.items()
            if others:
                raise RequestError(
                    "inputs is a plain value/list, but expecting an object as multiple input tensors required as "
                    "per tensorinfo_map"
                )
            return {name: self._column(value, name, info, keys=0)}
        for name in infos:
            if name not in value:
                raise RequestError(f"Missing named input: {name} in 'inputs' object.")
        return {name: self._column(value[name], name, info, keys=len(value)) for name, info in infos.items()}

    def _column(self, value: Any, name: str, info: TensorInfo, keys: int) -> NDArray[Any]:
        array = self._plain(value, info.type.dtype, keys)
        return dense_array(value, name, info.type.dtype) if array is None else array

    def _plain(self, value: Any, dtype: DType, keys: int) -> NDArray[Any] | None:
        """The array when `value` is nothing but regularly nested numbers that fit; None when a closer look is due."""
        if dtype not in IN_JSON or dtype is DType.STRING or not self._only_numbers(keys):
            return None
        try:
            array = np.array(value)
        except (ValueError, TypeError, OverflowError):
            return None
        return narrow(array, dtype) if _fits(array, dtype) else None

    def _only_numbers(self, keys: int) -> bool:
        """Does the body hold no string but its keys, and no true, false or null?

        numpy would take "1.5", true and null for numbers. Counting quotes costs microseconds where looking at every
        value costs milliseconds.
        """
        strings = len(self.document) + keys + ("signature_name" in self.document)
        words = (b"true", b"false", b"null")
        return self._raw.count(b'"') == 2 * strings and not any(word in self._raw for word in words)


def _fits(array: NDArray[Any], dtype: DType) -> bool:
    if dtype in FLOATS:
        return array.dtype.kind in "iuf"
    if dtype in INTEGERS and array.dtype.kind in "iu" and array.size:
        lowest, highest = INTEGERS[dtype]
        return bool(lowest <= int(array.min()) and int(array.max()) <= highest)
    return False


def _complete(arrays: Mapping[str, NDArray[Any] | None]) -> Arrays | None:
    found = {name: array for name, array in arrays.items() if array is not None}
    return found if len(found) == len(arrays) else None


def _careful_rows(rows: list[Any], infos: Infos) -> Arrays:
    """Row by row, as each is one example and all must have one shape."""
    if not isinstance(rows[0], dict) and len(infos) > 1:
        raise RequestError(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    named = _is_named(rows[0])
    only = next(iter(infos))
    parts: dict[str, list[NDArray[Any]]] = {}
    for index, row in enumerate(rows):
        if named and not _is_named(row):
            raise RequestError(f"Expecting object but got list at item {index} of input list")
        if not named and _is_named(row):
            raise RequestError(f"Expecting value/list but got object at item {index} of input list")
        for name, value in row.items() if named else [(only, row)]:
            _add_item(parts, name, value, infos, f"{index} key: {name}" if named else f"{index}")
        if named and row.keys() != infos.keys():
            keys = f"JSON object: {echo(row)} keys must be equal to: {','.join(sorted(infos))}"
            raise RequestError(f"Failed to process element: {index} of 'instances' list. {keys}")
    return {name: np.stack(items) for name, items in parts.items()}


def _is_named(row: Any) -> bool:
    return isinstance(row, dict) and not is_base64(row)


def _add_item(parts: dict[str, list[NDArray[Any]]], name: str, value: Any, infos: Infos, where: str) -> None:
    try:
        if name not in infos:
            raise RequestError(f"JSON object: does not have named input: {name}")
        item = dense_array(value, name, infos[name].type.dtype)
        _check_same(parts.setdefault(name, [item])[0], item)
    except RequestError as error:
        reason = f"{error.status.value}: {error.what}"
        raise RequestError(f"Failed to process element: {where} of 'instances' list. Error: {reason}") from error
    if parts[name][0] is not item:
        parts[name].append(item)


def _check_same(first: NDArray[Any], item: NDArray[Any]) -> None:
    if item.size != first.size:
        raise RequestError(f"Expecting tensor size: {first.size} but got: {item.size}")
    if item.shape != first.shape:
        raise RequestError(f"Expecting shape {_shape_text(first)} but got: {_shape_text(item)}")


def _shape_text(array: NDArray[Any]) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def encode_predict(outputs: Mapping[str, NDArray[Any]], *, row: bool) -> bytes:
    """The answer's body, one output bare and several by name. Raises RequestError."""
    if not outputs:
        raise RequestError("Cannot convert empty tensor map to JSON")
    texts = _row_text(outputs) if row else _column_text(outputs)
    return b'{\n    "%s": %s\n}' % (b"predictions" if row else b"outputs", texts)


def _column_text(outputs: Mapping[str, NDArray[Any]]) -> bytes:
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return _array_text(name, array)
    return _object_text({name: _array_text(name, array) for name, array in outputs.items()})


def _row_text(outputs: Mapping[str, NDArray[Any]]) -> bytes:
    count = _batch_size(outputs)
    if len(outputs) == 1:
        return _column_text(outputs)
    # With the dots an element of one dimension stays an array, so that bytes keep the zeros at their end.
    rows = ({name: _array_text(name, array[index, ...]) for name, array in outputs.items()} for index in range(count))
    return b"[" + b", ".join(map(_object_text, rows)) + b"]"


def _batch_size(outputs: Mapping[str, NDArray[Any]]) -> int:
    size: int | None = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise RequestError(f"Tensor name: {name} has no shape information ")
        if size is not None and array.shape[0] != size:
            sizes = f"{array.shape[0]} expecting: {size}"
            raise RequestError(f"Tensor name: {name} has inconsistent batch size: {sizes}")
        size = array.shape[0]
    return size or 0


def _object_text(members: Mapping[str, bytes]) -> bytes:
    return b"{" + b", ".join(orjson.dumps(name) + b": " + text for name, text in members.items()) + b"}"


def _array_text(name: str, array: NDArray[Any]) -> bytes:
    dtype = dtype_of(array)
    if dtype not in IN_JSON:
        raise RequestError(f"Failed to write JSON value for tensor type: {text_name(dtype)}")
    if dtype is DType.STRING:
        return _strings_text(array, as_base64=name.endswith("_bytes"))
    # orjson takes no array without dimensions, but numpy's scalars. Both keep the shortest digits of a float32.
    value = array[()] if array.ndim == 0 else np.ascontiguousarray(array)
    text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return with_tokens(text, array)


def _strings_text(array: NDArray[Any], *, as_base64: bool) -> bytes:
    written = np.empty(array.size, object)
    written[:] = [_string(value, as_base64) for value in array.ravel()]
    nested = written.reshape(array.shape).tolist()
    # Bytes that are not UTF-8 come out as they are: TensorFlow Serving leaves it to the model's author to name such
    # an output `..._bytes`.
    return json.dumps(nested, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _string(value: bytes | str, as_base64: bool) -> str | dict[str, str]:
    raw = value.encode() if isinstance(value, str) else value
    return {"b64": base64.b64encode(raw).decode()} if as_base64 else raw.decode("utf-8", "surrogateescape")
