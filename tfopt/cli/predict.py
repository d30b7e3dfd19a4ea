"""`tfopt predict`: ask a model server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.table import Table

    from tfopt.client import Client


def predict(
    url: Annotated[str, typer.Argument(help="The server: http://host:port, or host:port for short.")],
    model: Annotated[str, typer.Argument(help="The model's name.")],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="[SIGNATURE=]SOURCE", help="Inputs: samples, as `tfopt compress --data` takes them, examples first."
        ),
    ] = None,
    json_input: Annotated[
        str | None,
        typer.Option(help="Inputs as JSON: an array, an object by input name, or a whole request body; - reads stdin."),
    ] = None,
    version: Annotated[int | None, typer.Option(help="Ask this version; default: the latest.")] = None,
    label: Annotated[str | None, typer.Option(help="Ask the version with this label.")] = None,
    signature: Annotated[str | None, typer.Option(help="The signature to run; default: serving_default.")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Show the K largest classes of each example only.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Send only the first N examples of --data.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples of --data in one request.")] = 32,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 60.0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; NaN and infinities are strings in it.")] = False,
) -> None:
    """Send inputs to a model on a server, tfopt's or TensorFlow Serving, and print what it predicts.

    \b
    Examples:
      tfopt predict localhost:8501 linear --json-input '[[5.0]]'
      tfopt predict localhost:8501 digits --data samples.npz --count 3 --top 3
      tfopt predict http://host:8501 digits --data photos/,range=0..1 --label canary --json
    """
    from tfopt.cli.output import emit_json, out
    from tfopt.client import Client
    from tfopt.errors import UsageError

    if (data is None) == (json_input is None):
        raise UsageError("give the inputs with --data or with --json-input")
    with Client(url, timeout) as client:
        if data is not None:
            ask = _Asked(client, model, version, label)
            outputs = _predict_samples(ask, data, signature, count, batch_size)
        else:
            assert json_input is not None
            inputs, named = _parse(json_input)
            outputs = client.outputs(model, inputs, version=version, label=label, signature=signature or named)
    if json:
        emit_json({"model": model, **_as_json(outputs, top)})
    else:
        out().print(_table(outputs, top))


class _Asked(NamedTuple):
    """Whom a request is for."""

    client: Client
    model: str
    version: int | None
    label: str | None


def _predict_samples(
    asked: _Asked, data: str, signature: str | None, count: int | None, batch_size: int
) -> dict[str, NDArray[Any]]:
    """What the model says of samples, in the types that the server says it takes."""
    from tfopt.cli.output import say
    from tfopt.data import check_sources, load_samples, split_name
    from tfopt.errors import NotFound, UsageError, nearest
    from tfopt.ir.graph import DEFAULT_SIGNATURE
    from tfopt.measure.endpoint import rest_inputs

    client, model, version, label = asked
    named, place = split_name(data)
    if named is not None and signature not in (None, named):
        raise UsageError(f"--signature {signature}, and samples for {named}", where=f"--data {data}")
    check_sources([place])
    key = signature or named or DEFAULT_SIGNATURE
    known = client.metadata(model, version=version, label=label)["metadata"]["signature_def"]["signature_def"]
    if key not in known:
        hint = nearest(key, known) or f"signatures: {', '.join(sorted(known))}"
        raise NotFound(f"the model has no signature {key}", where=f"--data {data}", hint=hint)
    samples = load_samples(place, rest_inputs(known[key]), signature=key, allow_nan=True, limit=count)
    if samples.count % samples.batching.block:
        say(f"note: {samples.description}")
    return samples.map(
        lambda batch: client.outputs(model, batch, version=version, label=label, signature=key), batch_size
    )


def _parse(text: str) -> tuple[Any, str | None]:
    import json
    import sys

    from tfopt.errors import UsageError

    try:
        value = json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        raise UsageError(f"--json-input is no JSON: {error}") from error
    if not isinstance(value, dict):
        return _with_bytes(value), None
    signature = value.get("signature_name")
    if isinstance(value.get("instances"), list):
        return _with_bytes(_columns(value["instances"])), signature
    return _with_bytes(value.get("inputs", {}) if value.keys() <= {"inputs", "signature_name"} else value), signature


def _columns(rows: list[Any]) -> Any:
    """Row form to columnar form."""
    if not rows or not all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows):
        return rows
    return rows if rows[0].keys() == {"b64"} else {name: [row[name] for row in rows] for name in rows[0]}


def _with_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_bytes(item) for item in value]
    if isinstance(value, dict):
        is_bytes = value.keys() == {"b64"}
        return _decoded(value["b64"]) if is_bytes else {key: _with_bytes(item) for key, item in value.items()}
    return value


def _decoded(text: Any) -> bytes:
    import base64

    from tfopt.errors import UsageError

    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--json-input: {text!r} is no base64: {error}") from error


def _as_json(outputs: dict[str, NDArray[Any]], top: int | None) -> dict[str, Any]:
    if top is None:
        return {"outputs": {name: _json_value(array.tolist()) for name, array in outputs.items()}}
    ranked = {
        name: [[{"class": index, "value": _json_value(value)} for index, value in row] for row in _top(array, top)]
        for name, array in outputs.items()
    }
    return {"top": ranked}


def _json_value(value: Any) -> Any:
    import math

    if isinstance(value, list):
        return [_json_value(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _top(array: NDArray[Any], count: int) -> list[list[tuple[int, float]]]:
    """Class and value of the `count` largest of each example, largest first."""
    import numpy as np

    from tfopt.errors import UsageError

    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise UsageError("--top needs outputs of the form [examples, classes]", hint="leave it out to see the arrays")
    order = np.argsort(-array.astype(np.float64), axis=1, kind="stable")[:, :count]
    return [[(int(index), row[index].item()) for index in best] for row, best in zip(array, order, strict=True)]


def _table(outputs: dict[str, NDArray[Any]], top: int | None) -> Table:
    """A row for each example, a column for each output; one cell where an output has no batch."""
    from rich.table import Table

    cells = {name: _cells(array, top) for name, array in outputs.items()}
    table = Table(box=None, pad_edge=False)
    table.add_column("example", justify="right")
    for name in outputs:
        table.add_column(name)
    for index in range(max(map(len, cells.values()), default=0)):
        table.add_row(str(index), *(column[index] if index < len(column) else "" for column in cells.values()))
    return table


def _cells(array: NDArray[Any], top: int | None) -> list[str]:
    import numpy as np

    if top is not None:
        return ["  ".join(f"{index}: {value:.4g}" for index, value in row) for row in _top(array, top)]
    rows = list(array) if array.ndim else [array]
    return [np.array2string(np.asarray(row), precision=6, threshold=20, max_line_width=10_000) for row in rows]
