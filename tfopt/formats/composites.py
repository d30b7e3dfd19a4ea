"""Sparse and ragged tensors in signatures: plain tensors, their parts, which callers feed and fetch one by one.

    ids: coo_sparse (values, indices, dense_shape)    ->    ids/values, ids/indices, ids/dense_shape
    rows: composite_tensor (components)               ->    rows/0, rows/1

Source: TensorInfo in tensorflow/core/protobuf/meta_graph.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tfopt.formats.protos import SignatureDef, TensorInfo, TensorShapeProto
from tfopt.formats.tensor_proto import dtype_to_enum
from tfopt.ir.graph import Composite
from tfopt.ir.types import DType

_SPARSE = ("values", "indices", "dense_shape")
_INT64 = dtype_to_enum(DType.INT64)


def plain(infos: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """The inputs or outputs of a signature by name, sorted, every composite one as its parts."""
    return dict(sorted(part for name in infos for part in _parts(name, infos[name])))


def composites(signature: SignatureDef) -> tuple[Composite, ...]:
    """Those inputs and outputs that are more than one tensor, as they have to be put together again."""
    return tuple(_composites(signature.inputs, True)) + tuple(_composites(signature.outputs, False))


def put_together(composite: Composite, parts: Mapping[str, TensorInfo]) -> TensorInfo:
    """The composite one, made of what its parts have become."""
    info = TensorInfo.FromString(composite.form)
    _set_names(info, [parts[name].name for name in composite.parts])
    return info


def _composites(infos: Mapping[str, TensorInfo], is_input: bool) -> Iterator[Composite]:
    for name in sorted(infos):
        if infos[name].WhichOneof("encoding") in ("coo_sparse", "composite_tensor"):
            parts = tuple(part for part, _ in _parts(name, infos[name]))
            nameless = TensorInfo.FromString(infos[name].SerializeToString())
            _set_names(nameless, [""] * len(parts))
            yield Composite(name, parts, is_input, nameless.SerializeToString(deterministic=True))


def _set_names(info: TensorInfo, names: Sequence[str]) -> None:
    if info.WhichOneof("encoding") == "coo_sparse":
        for place, name in zip(_SPARSE, names, strict=True):
            setattr(info.coo_sparse, f"{place}_tensor_name", name)
    else:
        for component, name in zip(info.composite_tensor.components, names, strict=True):
            component.name = name


def _parts(name: str, info: TensorInfo) -> Iterator[tuple[str, TensorInfo]]:
    encoding = info.WhichOneof("encoding")
    if encoding == "composite_tensor":
        for number, component in enumerate(info.composite_tensor.components):
            yield f"{name}/{number}", component
    elif encoding == "coo_sparse":
        rank = -1 if info.tensor_shape.unknown_rank else len(info.tensor_shape.dim)
        sizes = {"values": (-1,), "indices": (-1, rank), "dense_shape": (rank,)}
        for place in _SPARSE:
            shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes[place]])
            dtype = info.dtype if place == "values" else _INT64
            tensor = getattr(info.coo_sparse, f"{place}_tensor_name")
            yield f"{name}/{place}", TensorInfo(name=tensor, dtype=dtype, tensor_shape=shape)
    else:
        yield name, info
