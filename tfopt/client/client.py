"""The client itself: what can be asked of a model, by either wire."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from numpy.typing import ArrayLike

from tfopt.client import json_wire, npz_wire
from tfopt.client.arrays import Array
from tfopt.client.connections import Connections, document, refusal
from tfopt.errors import Code, RequestError, UsageError
from tfopt.ir.graph import DEFAULT_SIGNATURE

if TYPE_CHECKING:
    from typing_extensions import Self


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
        self._connections = Connections(url, timeout)
        self._dtypes: dict[tuple[str, str], json_wire.Dtypes] = {}

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
        plain = json_wire.plain
        value = {name: plain(given) for name, given in inputs.items()} if isinstance(inputs, Mapping) else plain(inputs)
        request = {"inputs": value} if signature is None else {"signature_name": signature, "inputs": value}
        answer = self._ask("POST", f"{path}:predict", json.dumps(request).encode())["outputs"]
        dtypes = self._output_dtypes(path, signature or DEFAULT_SIGNATURE, answer)
        if not json_wire.fit(answer, dtypes):
            what = "the answer does not fit the model's metadata: its version has changed"
            raise RequestError(what, code=Code.ABORTED, hint="ask again")
        by_name = answer if len(dtypes) > 1 else {next(iter(dtypes)): answer}
        return {name: json_wire.array_of(by_name[name], dtype) for name, dtype in dtypes.items()}

    def status(self, model: str, version: int | None = None) -> list[dict[str, Any]]:
        """`model_version_status` as the server gives it: version, state and status of each version."""
        found: list[dict[str, Any]] = self._ask("GET", _path(model, version, None))["model_version_status"]
        return found

    def metadata(self, model: str, *, version: int | None = None, label: str | None = None) -> dict[str, Any]:
        """`model_spec` and `metadata` as the server gives them."""
        return self._ask("GET", f"{_path(model, version, label)}/metadata")

    def close(self) -> None:
        """Close the idle connections. The client may be used again."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _output_dtypes(self, path: str, signature: str, outputs: Any) -> json_wire.Dtypes:
        known = self._dtypes.get((path, signature))
        if known is None or not json_wire.fit(outputs, known):  # a new version may have other outputs
            known = self._dtypes[path, signature] = self._ask_output_dtypes(path, signature)
        return known

    def _ask_output_dtypes(self, path: str, signature: str) -> json_wire.Dtypes:
        answer = self._ask("GET", f"{path}/metadata")
        signatures = answer["metadata"]["signature_def"]["signature_def"]
        if signature not in signatures:
            what = f"the model has no signature {signature} any more: its version has changed"
            raise RequestError(what, code=Code.ABORTED, hint="ask again")
        infos = signatures[signature]["outputs"]
        return {name: json_wire.dtype_of(info["dtype"]) for name, info in sorted(infos.items())}

    def _ask_arrays(
        self, path: str, inputs: ArrayLike | Mapping[str, ArrayLike], signature: str | None
    ) -> dict[str, Array]:
        named = isinstance(inputs, Mapping)
        body = npz_wire.npz(inputs) if isinstance(inputs, Mapping) else npz_wire.npy(inputs)
        headers = {"Content-Type": npz_wire.NPZ if named else npz_wire.NPY, "Accept": npz_wire.NPZ}
        if signature is not None:
            headers["Signature-Name"] = quote(signature, safe="")
        status, content = self._connections.exchange("POST", path, body, headers)
        if status != 200:
            raise refusal(status, content)
        try:
            return npz_wire.arrays_of(content)
        except (ValueError, zipfile.BadZipFile) as error:
            hint = 'it may be no server of tfopt; use wire="json"'
            raise RequestError("the answer is no .npz file", code=Code.UNKNOWN, hint=hint) from error

    def _ask(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"} if body else {}
        status, content = self._connections.exchange(method, path, body, headers)
        answer = document(content)
        if status == 200 and isinstance(answer, dict):
            return answer
        raise refusal(status, content)


def _path(model: str, version: int | None, label: str | None) -> str:
    if version is not None and label is not None:
        raise UsageError("a version and a label cannot both be asked for")
    whom = f"/versions/{version}" if version is not None else f"/labels/{quote(label, safe='')}" if label else ""
    return f"/v1/models/{quote(model, safe='')}{whom}"
