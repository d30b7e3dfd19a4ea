"""The forms in which a predict request may come and be answered: JSON, and NumPy's files.

A request's form is told by its Content-Type (JSON when it is none of NumPy's), the answer's by Accept; without one the
answer has the form of the request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any
from urllib.parse import unquote

from numpy.typing import NDArray

from tfopt.errors import RequestError
from tfopt.runtimes.base import TensorInfo
from tfopt.serve.rest.codec import encode_predict
from tfopt.serve.rest.fitting import fitted
from tfopt.serve.rest.messages import Answer, Request
from tfopt.serve.rest.npy import read_npy, read_npz, write_npy, write_npz

Outputs = Mapping[str, NDArray[Any]]


class Form(str, Enum):
    JSON = "application/json"
    NPY = "application/x-npy"
    NPZ = "application/x-npz"


_BY_NAME = {form.value.encode(): form for form in Form} | {b"application/zip": Form.NPZ}
#: Bytes that a .npz body may unpack to, and that an array of strings may take.
NPZ_LIMIT = 1 << 30


def form_of(request: Request) -> Form:
    name = request.header(b"content-type").partition(b";")[0].strip().lower()
    return _BY_NAME.get(name, Form.JSON)


class ArrayBody:
    """A request of arrays, answered as columns are. The signature is named in the header `Signature-Name`,
    percent-encoded."""

    is_row = False

    def __init__(self, request: Request, form: Form) -> None:
        self.signature = unquote(request.header(b"signature-name").decode("latin-1"))
        self._body = request.body
        self._form = form

    def arrays(self, infos: Mapping[str, TensorInfo]) -> dict[str, NDArray[Any]]:
        """Raises RequestError."""
        if self._form is Form.NPZ:
            sent = read_npz(self._body, NPZ_LIMIT)
        elif len(infos) == 1:
            sent = {next(iter(infos)): read_npy(self._body)}
        else:
            names = ", ".join(infos)
            raise RequestError(f"one array came, and the model takes {names}", hint=f"send {Form.NPZ.value}")
        # Names that the signature does not have are told of by what runs it.
        return {
            name: fitted(name, array, infos[name].type.dtype) if name in infos else array
            for name, array in sent.items()
        }


def answer_form(request: Request, *, is_row: bool) -> Callable[[Outputs], Answer]:
    """What makes an answer of outputs; it raises RequestError."""
    said = _accepted(request.header(b"accept"))
    form = said or form_of(request)
    if form is Form.JSON:
        return lambda outputs: Answer(encode_predict(outputs, row=is_row))
    return lambda outputs: _array_answer(outputs, form, is_said=said is not None)


def _accepted(header: bytes) -> Form | None:
    """The first of our forms that the client names."""
    for item in header.lower().split(b","):
        name, _, parameters = item.partition(b";")
        if name.strip() in _BY_NAME and parameters.replace(b" ", b"") not in (b"q=0", b"q=0.0"):
            return _BY_NAME[name.strip()]
    return None


def _array_answer(outputs: Outputs, form: Form, *, is_said: bool) -> Answer:
    if form is Form.NPY and len(outputs) == 1:
        ((name, array),) = outputs.items()
        return Answer(write_npy(name, array, NPZ_LIMIT), content_type=Form.NPY.value.encode())
    if form is Form.NPY and is_said:
        names = ", ".join(outputs)
        raise RequestError(f"the model gives {names}, and .npy holds one array", hint=f"accept {Form.NPZ.value}")
    return Answer(write_npz(outputs, NPZ_LIMIT), content_type=Form.NPZ.value.encode())
