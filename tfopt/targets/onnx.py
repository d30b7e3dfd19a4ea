"""Write a model as ONNX files, op by op.

An ONNX file has one graph and no signatures, and ONNX Runtime wants every input of a graph. So each signature has a
file of its own: `model.onnx` the first one, `model.<key>.onnx` any other. `model.onnx` lists them all in its metadata,
and weights that several of them read lie once, in `model.onnx.data`.

Source: https://onnx.ai/onnx/intro/concepts.html, https://onnx.ai/onnx/repo-docs/ExternalData.html.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tfopt import __version__
from tfopt.errors import ConversionError, MissingExtra
from tfopt.ir import Model, Signature, TensorType, Value
from tfopt.ir.bodies import innermost_first
from tfopt.ir.tensor_json import tensor_as_dict
from tfopt.store.disk import writing
from tfopt.targets.base import Artifact
from tfopt.targets.dynamic_grids import without_dynamic_grids
from tfopt.targets.fitting_biases import fit_biases
from tfopt.targets.twin_signatures import twins

try:
    import onnx
except ModuleNotFoundError as error:
    raise MissingExtra.of("onnx", "onnx", "writing a model.onnx") from error

from numpy.typing import NDArray

from tfopt.targets.onnx_lowering import RULES, Builder, File, Levels, fusions, in_floats
from tfopt.targets.onnx_lowering.builder import ELEMENT_TYPES, initializer, value_info

#: Metadata of a file: the signatures in it and, in the first one, in those beside it.
SIGNATURES = "tfopt.signatures"
#: A protobuf message holds two gigabytes; what is beside the weights is small.
LARGEST_FILE = 2**31 - 2**26
#: Smaller constants stay in each file that reads them.
_SMALLEST_EXTERNAL = 1024
#: So that runtimes can map the weights into memory.
_PAGE = 4096


@dataclass
class _Drawn:
    """One signature as a graph that still lacks its weights."""

    graph: onnx.GraphProto
    file: File
    defaults: Mapping[str, NDArray[Any]]

    @property
    def bytes(self) -> int:
        return sum(array.nbytes for array in self.file.weights.tensors.values())


def write_onnx(model: Model, path: Path, *, opset: int = 17, largest: int = LARGEST_FILE) -> Artifact:
    """Write every signature of `model`, one file each, `path` the first. Names, dtypes and shapes of inputs and
    outputs stay; inputs with a default may be left out. Signatures that are one program share a file. What lies on a
    grid is rounded to it, and weights on grids are written as integers.

    Weights go into `<path>.data` where several signatures read them, and all of them when a file would have more than
    `largest` bytes. Raises ConversionError naming the op and the node that ONNX has no equal for, or what stays too
    large for a file; OutputExists, OutputError.
    """
    model = without_dynamic_grids(model)
    model = model.with_graph(innermost_first(model.graph, lambda graph, _: fit_biases(graph)))
    aliases = twins(model)
    levels = Levels()
    drawn = {key: _draw(model, key, opset, levels) for key in model.signatures if key not in aliases}
    files = _files(path, drawn, aliases)
    external = _External(path.with_name(f"{path.name}.data"), _shared(drawn, largest))
    for key, one in drawn.items():
        _check_size(f"signature {key}", one.file, external, largest)
    with writing(path):
        for number, (key, one) in enumerate(drawn.items()):
            mine = {other for other, file in files.items() if file == files[key]}
            listed = files if not number else {other: file for other, file in files.items() if other in mine}
            _save(_with_weights(one, external, opset, _metadata(listed, model.signatures)), path.with_name(files[key]))
        external.write()
        for name in dict.fromkeys(files.values()):
            _check(path.with_name(name))
    return Artifact("onnx", path, requires=(f"ONNX opset {opset}",), notes=_notes(model))


def _notes(model: Model) -> tuple[str, ...]:
    names = in_floats(model.graph)
    if not names:
        return ()
    listed = names[0] + (", ..." if names[1:] else "")
    why = "since what comes out of them lies on no grid"
    return (f"ONNX Runtime computes convolutions with int8 weights in floats, {why}: {len(names)} ({listed})",)


def _files(path: Path, drawn: Iterable[str], aliases: Mapping[str, str]) -> dict[str, str]:
    """The name of each signature's file."""
    first, *rest = drawn
    files = {first: path.name} | {key: f"{path.stem}.{quote(key, safe='')}{path.suffix}" for key in rest}
    return files | {key: files[original] for key, original in aliases.items()}


def _metadata(files: Mapping[str, str], signatures: Mapping[str, Signature]) -> str:
    kept = {
        key: {
            "file": file,
            "method_name": signatures[key].method_name,
            "defaults": {name: tensor_as_dict(value) for name, value in signatures[key].defaults.items()},
        }
        for key, file in files.items()
    }
    return json.dumps(kept)


def _draw(model: Model, key: str, opset: int, levels: Levels) -> _Drawn:
    signature = model.signatures[key]
    both = sorted(signature.inputs.keys() & signature.outputs.keys())
    if both:
        raise ConversionError(
            f"signature {key} has an input and an output called {both[0]}, and ONNX tells values apart by name alone",
            hint="export the model with another name for one of them",
        )
    for name, kind in _ends(signature):
        if kind.dtype not in ELEMENT_TYPES:
            raise ConversionError(f"{name} of signature {key} is {kind.dtype}, which ONNX Runtime cannot compute with")
    file = File(opset, RULES, fusions, levels, {*signature.inputs, *signature.outputs})
    builder = Builder(model.graph, file)
    for name, entry in signature.inputs.items():
        builder.bind(Value(entry.node), name)
    values = {name: model.graph.outputs[entry.position] for name, entry in signature.outputs.items()}
    builder.lower(values.values())
    nodes = _with_outputs(builder, values)
    symbols = {name: _dims(name, entry.type, len(signature.inputs)) for name, entry in signature.inputs.items()}
    graph = onnx.helper.make_graph(
        nodes,
        key,
        [value_info(name, entry.type, symbols[name]) for name, entry in signature.inputs.items()],
        [value_info(name, entry.type, _dims(name, entry.type)) for name, entry in signature.outputs.items()],
    )
    return _Drawn(graph, file, {name: tensor.array for name, tensor in signature.defaults.items()})


def _ends(signature: Signature) -> Iterator[tuple[str, TensorType]]:
    yield from ((name, entry.type) for name, entry in signature.inputs.items())
    yield from ((name, entry.type) for name, entry in signature.outputs.items())


def _dims(name: str, kind: TensorType, inputs: int = 0) -> list[int | str] | None:
    """Symbols for unknown dimensions, no two of them equal: runtimes rely on it that equal symbols are equal sizes."""
    if kind.shape.dims is None:
        return None
    names = [f"{name}_dim_{axis}" for axis in range(len(kind.shape.dims))]
    if inputs == 1 and names:
        names[0] = "batch"
    return [symbol if dim is None else dim for symbol, dim in zip(names, kind.shape.dims, strict=True)]


def _with_outputs(builder: Builder, values: Mapping[str, Value]) -> list[onnx.NodeProto]:
    """The nodes, what computes an output called after it; what is no node's own result gets an Identity."""
    renamed: dict[str, str] = {}
    found = {name: builder.get(value) for name, value in values.items()}
    made = {output for node in builder.nodes for output in node.output}
    copies = []
    for name, result in found.items():
        if result in made and result not in renamed:
            renamed[result] = name
        else:
            copies.append(onnx.helper.make_node("Identity", [result], [name], name=name))
    nodes = [*builder.nodes, *copies]
    _rename(nodes, renamed)
    return nodes


def _rename(nodes: Iterable[onnx.NodeProto], names: Mapping[str, str]) -> None:
    """Bodies of loops and branches read values from around them."""
    for node in nodes:
        for ends in (node.input, node.output):
            for place, name in enumerate(ends):
                ends[place] = names.get(name, name)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g.node, names)
                for output in attribute.g.output:
                    output.name = names.get(output.name, output.name)


def _shared(drawn: Mapping[str, _Drawn], largest: int) -> frozenset[tuple[int, tuple[int, ...]]]:
    """The weights that belong into the file beside: those that several graphs read, or all of a large model."""
    readers: Counter[tuple[int, tuple[int, ...]]] = Counter()
    for one in drawn.values():
        for name, (tensor, order) in one.file.weights.sources.items():
            if one.file.weights.tensors[name].nbytes >= _SMALLEST_EXTERNAL and tensor.dtype.itemsize:
                readers[id(tensor), order] += 1
    large = any(one.bytes > largest for one in drawn.values())
    return frozenset(key for key, count in readers.items() if large or count > 1)


def _check_size(where: str, file: File, external: _External, largest: int) -> None:
    """Raise ConversionError naming the largest one when what cannot lie beside the file is too much for it."""
    inside = {name: array.nbytes for name, array in file.weights.tensors.items() if not external.holds(file, name)}
    if sum(inside.values()) > largest:
        name = max(inside, key=lambda name: inside[name])
        raise ConversionError(
            f"{sum(inside.values()):,} bytes of constants have to be in the ONNX file, which holds at most {largest:,}",
            where=f"{where}, {name}: {inside[name]:,} bytes",
            hint=f"weights of {_SMALLEST_EXTERNAL:,} bytes and more lie beside the file, the rest cannot",
        )


class _External:
    """The file of weights beside, which is there when something has been put into it."""

    def __init__(self, path: Path, members: frozenset[tuple[int, tuple[int, ...]]]) -> None:
        self._path = path
        self._members = members
        self._places: dict[tuple[int, tuple[int, ...]], int] = {}
        self._arrays: list[NDArray[Any]] = []
        self._end = 0

    def holds(self, file: File, name: str) -> bool:
        """Does this weight belong in here?"""
        source = file.weights.sources.get(name)
        return source is not None and (id(source[0]), source[1]) in self._members

    def reference(self, file: File, name: str) -> onnx.TensorProto | None:
        """The initializer of a weight that lies in here, else None."""
        if not self.holds(file, name):
            return None
        source = file.weights.sources[name]
        key = id(source[0]), source[1]
        array = file.weights.tensors[name]
        if key not in self._places:
            self._places[key] = -(-self._end // _PAGE) * _PAGE
            self._end = self._places[key] + array.nbytes
            self._arrays.append(array)
        found = onnx.TensorProto(name=name, data_type=ELEMENT_TYPES[source[0].dtype], dims=array.shape)
        found.data_location = onnx.TensorProto.EXTERNAL
        for field, value in (("location", self._path.name), ("offset", self._places[key]), ("length", array.nbytes)):
            found.external_data.add(key=field, value=str(value))
        return found

    def write(self) -> None:
        if not self._arrays:
            return
        with self._path.open("xb") as file:
            for array in self._arrays:
                file.write(b"\0" * (-file.tell() % _PAGE))
                file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())


def _with_weights(drawn: _Drawn, external: _External, opset: int, metadata: str) -> onnx.ModelProto:
    weights = drawn.file.weights.tensors
    read = _read_names(drawn.graph)
    for name, array in weights.items():
        if name in read:
            drawn.graph.initializer.append(external.reference(drawn.file, name) or initializer(name, array))
    drawn.graph.initializer.extend(initializer(name, array) for name, array in drawn.defaults.items())
    imports = [onnx.helper.make_opsetid("", opset)]
    made = onnx.helper.make_model(
        drawn.graph,
        producer_name="tfopt",
        producer_version=__version__,
        opset_imports=imports,
        ir_version=onnx.helper.find_min_ir_version_for(imports),
    )
    made.metadata_props.add(key=SIGNATURES, value=metadata)
    return made


def _read_names(graph: onnx.GraphProto) -> set[str]:
    names = {name for node in graph.node for name in node.input}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                names |= _read_names(attribute.g)
    return names


def _save(made: onnx.ModelProto, path: Path) -> None:
    with path.open("xb") as file:
        file.write(made.SerializeToString(deterministic=True))


def _check(path: Path) -> None:
    """ONNX's own checker, with strict inference of types and shapes."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        said = " ".join(str(error).split())
        raise ConversionError(f"ONNX's checker refuses what was made: {said}", where=path.name) from error
