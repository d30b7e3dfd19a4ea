"""A user's own model in the place of the teacher: under its signatures, names and types, or refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from tfopt.errors import UsageError
from tfopt.ir.graph import Model, Signature, SignatureInput, SignatureOutput
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Shape, TensorType
from tfopt.learn.objective import squashed
from tfopt.passes.base import Finding

_Entry = TypeVar("_Entry", SignatureInput, SignatureOutput)


def matched(student: Model, like: Model, where: str) -> tuple[Model, tuple[Finding, ...]]:
    """The student with the signatures of `like`. Inputs and outputs belong together by name, or where there is one of
    each; dtypes are equal, and the student takes and gives every shape that `like` does. Where `like` gives
    probabilities and the student scores, a softmax (or a sigmoid) is put behind it.

    Raises UsageError that names what does not match.
    """
    signatures: dict[str, Signature] = {}
    for key, wanted in like.signatures.items():
        own_key = key if key in student.signatures else next(iter(student.signatures))
        own = student.signatures[own_key]
        inputs = _entries("input", wanted.inputs, own.inputs, where, key)
        outputs = _entries("output", wanted.outputs, own.outputs, where, key)
        signatures[key] = replace(
            wanted,
            inputs={name: replace(entry, type=wanted.inputs[name].type) for name, entry in inputs.items()},
            outputs={name: replace(entry, type=wanted.outputs[name].type) for name, entry in outputs.items()},
        )
    said = f"stands in the place of the model, with {len(signatures)} of its signatures: {', '.join(signatures)}"
    made, findings = _squashed_alike(replace(student, signatures=signatures, tags=like.tags), like)
    return made, (Finding(where, True, said), *findings)


def _squashed_alike(student: Model, like: Model) -> tuple[Model, tuple[Finding, ...]]:
    editor = Editor(student.graph)
    outputs = list(student.graph.outputs)
    findings: dict[int, Finding] = {}
    for key, signature in like.signatures.items():
        for name, output in signature.outputs.items():
            place = student.signatures[key].outputs[name].position
            value = student.graph.outputs[place]
            op, _ = squashed(like.graph, like.graph.outputs[output.position])
            if op is None or squashed(student.graph, value)[0] is not None or place in findings:
                continue
            kind = student.graph.type_of(value)
            outputs[place] = editor.add(op, f"{value.node}/{op}", [value], [kind], {"T": kind.dtype}).value()
            findings[place] = Finding(value.node, True, f"a {op} was put behind it, since the output {name!r} has one")
    graph = editor.finish()
    return student.with_graph(replace(graph, outputs=tuple(outputs)) if findings else graph), tuple(findings.values())


def _entries(
    what: str, wanted: Mapping[str, _Entry], own: Mapping[str, _Entry], where: str, key: str
) -> dict[str, _Entry]:
    found: dict[str, _Entry] = {}
    for name, entry in wanted.items():
        other = own.get(name) or (next(iter(own.values())) if len(own) == len(wanted) == 1 else None)
        if other is None:
            raise _refused(f"has no {what} {name!r}, but {_names(own)}", where, key)
        if not _fits(entry.type, other.type):
            raise _refused(f"its {what} {name!r} is {other.type}, the model's {entry.type}", where, key)
        found[name] = other
    if what == "input" and (more := own.keys() - {name for name in own if own[name] in found.values()}):
        raise _refused(f"wants an input {sorted(more)[0]!r} that the model does not have", where, key)
    return found


def _refused(what: str, where: str, key: str) -> UsageError:
    hint = "a student takes the inputs and gives the outputs of the model that teaches it"
    return UsageError(f"cannot be a student in the signature {key}: {what}", where=where, hint=hint)


def _names(entries: Mapping[str, object]) -> str:
    return ", ".join(sorted(entries)) or "none"


def _fits(wanted: TensorType, own: TensorType) -> bool:
    return wanted.dtype is own.dtype and _admits(own.shape, wanted.shape)


def _admits(own: Shape, wanted: Shape) -> bool:
    """Is every shape that is wanted one of its own? Unknown dims of its outputs may turn out to be right."""
    if own.dims is None or wanted.dims is None:
        return True
    same = len(own.dims) == len(wanted.dims)
    return same and all(a is None or a == b for a, b in zip(own.dims, wanted.dims, strict=True))
