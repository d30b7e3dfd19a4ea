"""Ask a model server: ours, or TensorFlow Serving. Standard library and numpy only."""

from __future__ import annotations

import base64
import http.client
import json
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import quote, urlsplit

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tfopt.errors import Code, RequestError, ServerUnavailable, UsageError
from tfopt.ir.graph import DEFAULT_SIGNATURE

if TYPE_CHECKING:
    from typing_extensions import Self

_PORTS = {"http": 8501, "https": 443}

Array: TypeAlias = "NDArray[Any]"
Headers: TypeAlias = "dict[str, str]"
Dtypes: TypeAlias = "dict[str, np.dtype[Any]]"

#: The code that an HTTP status most likely stands for (several codes share 400 and 500).
_CODES = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    409: Code.ABORTED,
    413: Code.RESOURCE_EXHAUSTED,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}
_NPZ = "application/x-npz"
#: Names in TensorInfo's JSON that are not DT_ and numpy's name in capitals.
_DTYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16", "DT_STRING": "object"}


class Client:
    """A server at `url` (`http://host:port`, or `host` and `host:port` for short).

    Keeps connections open, and may be used by several threads. `timeout` is in seconds, of one request. `wire` is how
    arrays travel: "json", which TensorFlow Serving reads too, or "npz", NumPy's own files, which only our server reads
    and which is many times faster for large arrays.
    """

    def __init__(self, url: str, timeout: float = 60.0, *, wire: Literal["json", "npz"] = "json") -> None:
        """Raises UsageError for what is no URL or no wire. Connects at the first request."""
        if wire not in ("json", "npz"):
            raise UsageError(f"arrays cannot travel as {wire!r}", hint="json and npz are known")
        self.url = url
        self._wire = wire
        self._timeout = timeout
        self._connect, self._prefix = _address(url, timeout)
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = Lock()
        self._dtypes: dict[tuple[str, str], Dtypes] = {}

    def predict(
        self,
        model: str,
        inputs: ArrayLike | Mapping[str, ArrayLike],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
    ) -> Array | dict[str, Array]:
        """Run `signature` (the default one when None) of `model` on arrays by input name, or on one array when there
        is one input. The first axis is the batch.

        Gives arrays by output name, or the one array when there is one output. Raises as `outputs`.
        """
        named = self.outputs(model, inputs, version=version, label=label, signature=signature)
        return named if len(named) > 1 else next(iter(named.values()))

    def outputs(
        self,
        model: str,
        inputs: ArrayLike | Mapping[str, ArrayLike],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
    ) -> dict[str, Array]:
        """As `predict`, by output name also when there is one.

        The arrays have the signature's dtypes; strings are an object array of bytes. As JSON, the first call for a
        model and signature also asks for its metadata.

        Raises RequestError with the server's words, ServerUnavailable when none answers.
        """
        path = _path(model, version, label)
        if self._wire == "npz":
            return self._ask_arrays(f"{path}:predict", inputs, signature)
        value = _plain(inputs) if not isinstance(inputs, Mapping) else {k: _plain(v) for k, v in inputs.items()}
        request = {"inputs": value} if signature is None else {"signature_name": signature, "inputs": value}
        answer = self._ask("POST", f"{path}:predict", json.dumps(request).encode())["outputs"]
        dtypes = self._output_dtypes(path, signature or DEFAULT_SIGNATURE, answer)
        if not _fit(answer, dtypes):
            what = "the answer does not fit the model's metadata: its version has changed"
            raise RequestError(what, code=Code.ABORTED, hint="ask again")
        by_name = answer if len(dtypes) > 1 else {next(iter(dtypes)): answer}
        return {name: _array(by_name[name], dtype) for name, dtype in dtypes.items()}

    def status(self, model: str, version: int | None = None) -> list[dict[str, Any]]:
        """`model_version_status` as the server gives it: version, state and status of each version."""
        found: list[dict[str, Any]] = self._ask("GET", _path(model, version, None))["model_version_status"]
        return found

    def metadata(self, model: str, *, version: int | None = None, label: str | None = None) -> dict[str, Any]:
        """`model_spec` and `metadata` as the server gives them."""
        return self._ask("GET", f"{_path(model, version, label)}/metadata")

    def close(self) -> None:
        """Close the idle connections. The client may be used again."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _output_dtypes(self, path: str, signature: str, outputs: Any) -> Dtypes:
        known = self._dtypes.get((path, signature))
        if known is None or not _fit(outputs, known):  # a new version may have other outputs
            known = self._dtypes[path, signature] = self._ask_output_dtypes(path, signature)
        return known

    def _ask_output_dtypes(self, path: str, signature: str) -> Dtypes:
        answer = self._ask("GET", f"{path}/metadata")
        signatures = answer["metadata"]["signature_def"]["signature_def"]
        if signature not in signatures:
            what = f"the model has no signature {signature} any more: its version has changed"
            raise RequestError(what, code=Code.ABORTED, hint="ask again")
        infos = signatures[signature]["outputs"]
        return {name: _dtype(info["dtype"]) for name, info in sorted(infos.items())}

    def _ask_arrays(
        self, path: str, inputs: ArrayLike | Mapping[str, ArrayLike], signature: str | None
    ) -> dict[str, Array]:
        named = isinstance(inputs, Mapping)
        body = _npz(inputs) if isinstance(inputs, Mapping) else _npy(inputs)
        headers = {"Content-Type": _NPZ if named else "application/x-npy", "Accept": _NPZ}
        if signature is not None:
            headers["Signature-Name"] = signature
        status, content = self._exchange("POST", self._prefix + path, body, headers)
        if status == 200:
            try:
                return _arrays_of(content)
            except (ValueError, zipfile.BadZipFile) as error:
                hint = 'it may be no server of tfopt; use wire="json"'
                raise RequestError("the answer is no .npz file", code=Code.UNKNOWN, hint=hint) from error
        raise _refusal(status, content)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"} if body else {}
        status, content = self._exchange(method, self._prefix + path, body, headers)
        answer = _document(content)
        if status == 200 and isinstance(answer, dict):
            return answer
        raise _refusal(status, content)

    def _exchange(self, method: str, path: str, body: bytes | None, headers: Headers) -> tuple[int, bytes]:
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        try:
            if kept is not None:
                with suppress(ConnectionError):  # closed while it was idle, which says nothing of the server
                    return self._send(kept, method, path, body, headers)
            return self._send(self._connect(), method, path, body, headers)
        except TimeoutError as error:
            raise ServerUnavailable(f"no answer within {self._timeout:g} s", where=self.url) from error
        except (OSError, http.client.HTTPException) as error:
            said = getattr(error, "strerror", None) or str(error) or type(error).__name__
            hint = "is the server running? `tfopt serve MODELS` starts one"
            raise ServerUnavailable(f"no server answers: {said}", where=self.url, hint=hint) from error

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: Headers
    ) -> tuple[int, bytes]:
        try:
            with suppress(BrokenPipeError):  # the server may have refused a large body before it was sent
                connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle.append(connection)
        return response.status, content


def _address(url: str, timeout: float) -> tuple[Callable[[], http.client.HTTPConnection], str]:
    """How to connect, and what precedes every path."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no server's address: {error}") from error
    if parts.scheme not in _PORTS or not host:
        raise UsageError(f"{url!r} is no server's address", hint="write http://host:port, or host:port")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return partial(kind, host, port or _PORTS[parts.scheme], timeout=timeout), parts.path.rstrip("/")


def _path(model: str, version: int | None, label: str | None) -> str:
    if version is not None and label is not None:
        raise UsageError("a version and a label cannot both be asked for")
    whom = f"/versions/{version}" if version is not None else f"/labels/{quote(label, safe='')}" if label else ""
    return f"/v1/models/{quote(model, safe='')}{whom}"


def _document(content: bytes) -> Any:
    """What the JSON says; None when it is none."""
    try:
        # TensorFlow Serving writes the bytes of strings as they are, UTF-8 or not.
        return json.loads(content.decode("utf-8", "surrogateescape"))
    except ValueError:
        return None


def _refusal(status: int, content: bytes) -> RequestError:
    answer = _document(content)
    said = answer.get("error") if isinstance(answer, dict) else None
    text = said or content.decode("utf-8", "replace").strip() or f"HTTP status {status} without a word"
    return RequestError(text, code=_CODES.get(status, Code.UNKNOWN))


def _npy(value: ArrayLike) -> bytes:
    file = BytesIO()
    np.save(file, _storable(value), allow_pickle=False)
    return file.getvalue()


def _npz(values: Mapping[str, ArrayLike]) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:  # np.savez could not save an array called "file"
        for name, value in values.items():
            archive.writestr(f"{name}.npy", _npy(value))
    return file.getvalue()


def _storable(value: ArrayLike) -> Array:
    array = _as_array(value)
    if array.dtype != object:
        return array
    leaves = [leaf.encode() if isinstance(leaf, str) else leaf for leaf in array.ravel()]
    if not all(isinstance(leaf, bytes) for leaf in leaves):
        raise UsageError("an array of objects holds strings only")
    if any(leaf.endswith(b"\0") for leaf in leaves):
        raise UsageError("strings that end in a zero byte lose it in a .npz file", hint='use wire="json"')
    return np.array(leaves, "S").reshape(array.shape)


def _arrays_of(content: bytes) -> dict[str, Array]:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        arrays = {name: np.load(archive.open(name), allow_pickle=False) for name in archive.namelist()}
    return {
        name.removesuffix(".npy"): array.astype(object) if array.dtype.kind == "S" else array
        for name, array in arrays.items()
    }


def _as_array(value: ArrayLike) -> Array:
    try:
        # numpy's own bytes type would drop zeros at the end.
        return np.asarray(value, object) if isinstance(_first(value), bytes) else np.asarray(value)
    except ValueError as error:
        raise UsageError(f"the input is no array: {error}") from error


def _plain(value: ArrayLike) -> Any:
    """An array as JSON carries it: bytes in base64, numbers and text as they are."""
    array = _as_array(value)
    if array.dtype.kind in "fiub":
        return array.tolist()
    if array.dtype.kind not in "OSU":
        raise UsageError(f"an array of {array.dtype} cannot be sent as JSON")
    return _texts(array.tolist())


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(item) for item in value]
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if not isinstance(value, str):
        raise UsageError(f"an array of objects holds strings only, not {type(value).__name__}")
    return value


def _first(value: Any) -> Any:
    """The first leaf of nested lists; None when there is none."""
    while isinstance(value, (list, tuple)):
        value = value[0] if value else None
    return value


def _dtype(name: str) -> np.dtype[Any]:
    return np.dtype(_DTYPES.get(name) or name.removeprefix("DT_").lower())


def _fit(outputs: Any, dtypes: Dtypes) -> bool:
    """Can this answer be one with these outputs?"""
    if len(dtypes) == 1:
        return _fits(outputs, next(iter(dtypes.values())))
    same = isinstance(outputs, dict) and outputs.keys() == dtypes.keys()
    return same and all(_fits(outputs[name], dtype) for name, dtype in dtypes.items())


def _fits(value: Any, dtype: np.dtype[Any]) -> bool:
    leaf = _first(value)
    if isinstance(leaf, dict):
        return dtype.kind == "O" and leaf.keys() == {"b64"}
    # Servers write whole floats as 3.0, so the text tells floats and integers apart.
    kinds = {float: "f", int: "iu", bool: "b", str: "O", type(None): "fiubO"}
    return dtype.kind in kinds[type(leaf)]


def _array(value: Any, dtype: np.dtype[Any]) -> Array:
    if dtype.kind != "O":
        return np.array(value, dtype)
    return np.array(_bytes(value), object)


def _bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_bytes(item) for item in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value.encode("utf-8", "surrogateescape")
