"""Samples from wherever they are: see `tfopt.data.source` for what can be named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from tfopt.data.checks import checked
from tfopt.data.collect import collect
from tfopt.data.examples import are_records, read_examples, read_file
from tfopt.data.files import UNNAMED, read_arrays
from tfopt.data.images import IMAGE_OPTIONS, SUFFIXES, image_reader
from tfopt.data.python_function import call_function, check_module, names_function
from tfopt.data.requests import join_requests, read_requests
from tfopt.data.rows import first
from tfopt.data.samples import Samples, batching
from tfopt.data.source import Source, parse_source, split_name
from tfopt.errors import InvalidSamples
from tfopt.formats.serving.warmup import is_request
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.ir.types import TensorType
from tfopt.words import counted

_Kind = Literal["file", "function", "warmup", "synthetic"]


def load_samples(
    source: str | Path,
    inputs: Mapping[str, TensorType],
    *,
    signature: str = DEFAULT_SIGNATURE,
    allow_nan: bool = False,
    limit: int | None = None,
) -> Samples:
    """Samples for a signature with these inputs, from a file, a directory or a function (`tfopt.data.source`).

    Axis 0 of each array is the example axis; `tfopt.data.samples` says what one example is. Large arrays are mapped,
    not read. Integers are brought to the model's integer type when every value fits and floats to its float type;
    integers for a float input are refused, because their scale is the caller's to choose. `signature` chooses among
    recorded requests. Of more than `limit` examples the first are taken, and no others are looked at.

    Raises InvalidSamples: a place that is missing, unreadable or none of those, a wrong name, shape or dtype, no
    examples, different numbers of them, NaN or infinity (unless `allow_nan`). Raises MissingExtra for images without
    Pillow.
    """
    parsed = parse_source(source).at_most(limit)
    how = batching(inputs)
    given, kind = _read(parsed, inputs, signature)
    named = _by_name(given, inputs, parsed.text)
    arrays = checked(named, inputs, how, where=parsed.text, allow_nan=allow_nan)
    count = len(next(iter(arrays.values()), ()))
    notes = [f"{name} rounded from {named[name].dtype}" for name in arrays if _rounded(named[name], arrays[name])]
    if count % how.block:
        notes.append(f"the last {count % how.block} are left out, the model takes batches of exactly {how.block}")
    description = "; ".join([f"{counted(count, 'sample')} from {parsed.name}", *notes])
    return Samples(arrays, kind, description, how)


def check_sources(sources: Iterable[str | Path], *, named: bool = False) -> None:
    """Raise InvalidSamples where nothing is, as `load_samples` would. With `named`, SIGNATURE= may stand before."""
    for text in map(str, sources):
        source = parse_source(split_name(text)[1] if named else text)
        if _files(source):
            continue
        if not names_function(source.place):
            raise _nothing_there(source)
        check_module(source.place)


def _read(source: Source, inputs: Mapping[str, TensorType], signature: str) -> tuple[Mapping[str, NDArray[Any]], _Kind]:
    """Arrays by input name and what kind of place they came from."""
    files = _files(source)
    if not files and names_function(source.place):
        source.check_options()
        return call_function(source.place, source.limit), "function"
    if not files:
        raise _nothing_there(source)
    if all(path.suffix.lower() in SUFFIXES for path in files):
        source.check_options(*IMAGE_OPTIONS)
        return _images(files, inputs, source), "file"
    if are_records(files):
        return _records(files, inputs, source, signature)
    if len(files) > 1:
        what = f"{len(files)} files that are neither all images nor all TFRecords"
        raise InvalidSamples(what, where=source.text, hint="name one .npz file, or a directory of one kind")
    source.check_options()
    return {name: first(array, source.limit) for name, array in read_arrays(files[0]).items()}, "file"


def _files(source: Source) -> list[Path]:
    """The files that are meant, in the order of their paths: one, those below a directory, or those of a pattern."""
    path = source.path
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith((".", "_")))
    if path.exists():
        return [path]
    anchor = Path(path.anchor)
    return sorted(anchor.glob(str(path.relative_to(anchor)))) if source.place else []


def _nothing_there(source: Source) -> InvalidSamples:
    if source.path.is_dir():
        return InvalidSamples("the directory holds no samples", where=source.text, hint="images or TFRecord files")
    return InvalidSamples("no such file", where=source.text)


def _images(files: Sequence[Path], inputs: Mapping[str, TensorType], source: Source) -> Mapping[str, NDArray[Any]]:
    if len(inputs) != 1:
        what = f"images are one input, but the model has {len(inputs)}: {', '.join(sorted(inputs))}"
        raise InvalidSamples(what, where=source.text, hint="give arrays by input name (.npz), or a function")
    ((name, kind),) = inputs.items()
    reader = image_reader(name, kind, source.options, source.text)
    return collect(({name: reader.read(file, str(file))} for file in files), source.text, source.limit)


def _records(
    files: Sequence[Path], inputs: Mapping[str, TensorType], source: Source, signature: str
) -> tuple[Mapping[str, NDArray[Any]], _Kind]:
    if not is_request(next(read_file(files[0]))):
        source.check_options("map", *IMAGE_OPTIONS)
        return collect(read_examples(files, inputs, source.options), source.text, source.limit), "file"
    source.check_options()
    requests = [request for file in files for request in read_requests(file, signature, most=None)]
    if not requests:
        what = f"none of the recorded requests is for the signature {signature}"
        raise InvalidSamples(what, where=source.text, hint="name another with --signature or SIGNATURE=SOURCE")
    arrays, _ = join_requests(requests, inputs, source.text)
    return {name: first(array, source.limit) for name, array in arrays.items()}, "warmup"


def _by_name(arrays: Mapping[str, NDArray[Any]], inputs: Mapping[str, TensorType], where: str) -> Mapping[str, Any]:
    if arrays.keys() != {UNNAMED} or UNNAMED in inputs:
        return arrays
    if len(inputs) != 1:
        raise InvalidSamples(
            f"one array without a name, but the model has {len(inputs)} inputs: {', '.join(sorted(inputs))}",
            where=where,
            hint="write a .npz: numpy.savez(path, name=array, ...)",
        )
    return dict.fromkeys(inputs, arrays[UNNAMED])


def _rounded(given: NDArray[Any], used: NDArray[Any]) -> bool:
    return used.dtype.kind != "O" and given.dtype.kind not in "iu" and given.dtype.itemsize > used.dtype.itemsize
