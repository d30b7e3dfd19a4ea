"""A file that serves in a SavedModel's place, under the SavedModel's contract."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from threading import Lock
from typing import Any

from numpy.typing import NDArray

from tfopt.runtimes.base import Closing, Runtime, SignatureInfo, arguments, find_signature


class UnderContract(Closing):
    """A .tflite or .onnx under the contract of the SavedModel that it was made from.

    `contract` are the manifest's signatures, with TensorFlow's names and shapes, and the defaults that a .tflite does
    not know. Those that the file lacks are run by what `open_rest` opens, at the first request for one; None leaves
    them out.
    """

    def __init__(
        self, runtime: Runtime, contract: Mapping[str, SignatureInfo], open_rest: Callable[[], Runtime] | None
    ) -> None:
        self.kind = runtime.kind
        self._runtime = runtime
        self._open_rest = open_rest
        self._rest: Runtime | None = None
        self._lock = Lock()
        #: Signatures that the file lacks.
        self.lacking = tuple(sorted(contract.keys() - runtime.signatures.keys()))
        self.signatures: Mapping[str, SignatureInfo] = {
            key: info for key, info in contract.items() if open_rest is not None or key in runtime.signatures
        }

    def run(
        self,
        signature: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Collection[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        info = find_signature(self.signatures, signature)
        runtime = self._runtime if signature in self._runtime.signatures else self.rest()
        return runtime.run(signature, arguments(info, inputs), outputs=outputs, timeout=timeout)

    def rest(self) -> Runtime:
        """What runs the signatures that the file lacks, opened now if it was not. Raises what opening it raises."""
        assert self._open_rest is not None, "signatures that are left out are not found before"
        with self._lock:
            if self._rest is None:
                self._rest = self._open_rest()
            return self._rest

    def close(self) -> None:
        self._runtime.close()
        if self._rest is not None:
            self._rest.close()
