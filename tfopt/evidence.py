"""Which samples a compression is calibrated and judged on, signature by signature."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.data import (
    Samples,
    Split,
    by_signature,
    check_sources,
    load_labels,
    load_samples,
    split,
    synthetic_samples,
    warmup_samples,
)
from tfopt.errors import InvalidSamples, NotFound, UsageError, nearest
from tfopt.ir.graph import DEFAULT_SIGNATURE, Model, Signature
from tfopt.ir.types import TensorType
from tfopt.passes.quantization.input_likeness import input_likeness
from tfopt.words import counted


@dataclass(frozen=True, eq=False)
class Evidence:
    """`splits` has an entry for every signature; `labels` are those of the main signature's held-out samples, and
    `calibration_labels` those of its others."""

    main: str
    splits: Mapping[str, Split]
    labels: NDArray[np.int64] | None
    notes: tuple[str, ...]
    calibration_labels: NDArray[np.int64] | None = None

    @property
    def calibration(self) -> Mapping[str, Samples]:
        """By signature, what steps may look at."""
        return {key: split.calibration for key, split in self.splits.items()}

    @property
    def is_synthetic(self) -> bool:
        """Has nobody given any samples, and has the model none of its own?"""
        return all(split.calibration.source == "synthetic" for split in self.splits.values())

    def of_signatures(self, keys: Collection[str]) -> Evidence:
        """For those alone. Raises UsageError when the main one is not among them."""
        if self.main not in keys:
            what = f"the signature {self.main} is the one that the result is judged by, and would be dropped"
            raise UsageError(what, hint=f"name another: --signature {' | '.join(keys)}")
        return replace(self, splits={key: split for key, split in self.splits.items() if key in keys})

    @property
    def record(self) -> dict[str, Any]:
        """What the manifest keeps."""
        return {"main": self.main, "signatures": {key: dict(value.record) for key, value in self.splits.items()}}


def gather_evidence(
    path: Path,
    model: Model,
    *,
    data: Sequence[str | Path] | Mapping[str, str | Path] = (),
    labels: Path | None = None,
    signature: str | None = None,
    seed: int = 0,
) -> Evidence:
    """Samples for every signature: its own source, else the model's own warmup records, else synthetic ones, which a
    note says. A signature without a source that has the main one's inputs shares its samples.

    `data` are sources by signature, or a list of them as `tfopt.data.by_signature` reads it; `labels` belong to the
    main signature's. Raises InvalidSamples, NotFound for an unknown signature, UsageError for two sources of one
    signature and for labels without samples.
    """
    main = main_signature(model, signature)
    sources = _sources(data, model, main)
    if labels is not None and main not in sources:
        raise _labels_alone()
    inputs = {key: input_types(entry) for key, entry in model.signatures.items()}
    splits: dict[str, Split] = {}
    notes: list[str] = []
    for key in sorted(model.signatures, key=lambda key: key != main):
        if key in sources:
            splits[key] = split(load_samples(sources[key], inputs[key], signature=key), seed=seed)
        elif key != main and inputs[key] == inputs[main]:
            splits[key] = splits[main]
        else:
            splits[key], note = _own_samples(path, key, model, seed)
            notes.append(note)
    if labels is None:
        return Evidence(main, splits, None, tuple(notes))
    chosen = splits[main]
    classes = load_labels(labels, int(chosen.record["count"]))
    held_out, calibration = classes[chosen.held_out_indices], classes[chosen.calibration_indices]
    return Evidence(main, splits, held_out, tuple(notes), calibration)


def check_evidence(data: Sequence[str | Path] | Mapping[str, str | Path] = (), labels: Path | None = None) -> None:
    """What can be told before the model is read: InvalidSamples for a place where nothing is, UsageError for labels
    without samples."""
    check_sources(data.values() if isinstance(data, Mapping) else data, named=not isinstance(data, Mapping))
    if labels is not None and not data:
        raise _labels_alone()
    if labels is not None and not labels.exists():
        raise InvalidSamples("no such file", where=str(labels))


def _labels_alone() -> UsageError:
    return UsageError("--labels needs --data", hint="labels belong to samples")


def _sources(
    data: Sequence[str | Path] | Mapping[str, str | Path], model: Model, main: str
) -> Mapping[str, str | Path]:
    if not isinstance(data, Mapping):
        return by_signature(data, model.signatures, main)
    for key in data:
        if key not in model.signatures:
            raise NotFound(f"there are samples for the signature {key}", hint=nearest(key, model.signatures))
    return data


def main_signature(model: Model, wanted: str | None) -> str:
    """The signature that --data belongs to: the wanted one, else serving_default, else the only one."""
    known = model.signatures
    if wanted is not None:
        if wanted not in known:
            raise NotFound(f"the model has no signature {wanted}", hint=nearest(wanted, known))
        return wanted
    if DEFAULT_SIGNATURE in known:
        return DEFAULT_SIGNATURE
    if len(known) == 1:
        return next(iter(known))
    raise UsageError(
        f"the model has several signatures and no {DEFAULT_SIGNATURE}", hint=f"--signature {' | '.join(known)}"
    )


def input_types(signature: Signature) -> dict[str, TensorType]:
    return {name: entry.type for name, entry in signature.inputs.items()}


def _own_samples(path: Path, key: str, model: Model, seed: int) -> tuple[Split, str]:
    inputs = input_types(model.signatures[key])
    samples, note = _synthetic(key, model, seed)
    recorded = warmup_samples(path, key, inputs)
    if recorded is None:
        return split(samples, seed=seed), note
    try:
        chosen = split(recorded, seed=seed)
    except InvalidSamples as error:
        return split(samples, seed=seed), f"{note}; its warmup requests cannot be used: {error.what}"
    return (
        chosen,
        f"signature {key}: calibrated and judged on {counted(recorded.count, 'example')} of its own warmup requests",
    )


def _synthetic(key: str, model: Model, seed: int) -> tuple[Samples, str]:
    signature = model.signatures[key]
    samples = synthetic_samples(input_types(signature), seed=seed)
    known = input_likeness(model.graph)
    rng = np.random.default_rng(seed)
    alike = {
        name: known[entry.node].drawn(samples.arrays[name].shape, rng)
        for name, entry in sorted(signature.inputs.items())
        if entry.node in known
    }
    how = ", like what a batch normalisation remembers of its inputs" if alike else ""
    return replace(samples, arrays={**samples.arrays, **alike}), (
        f"signature {key}: no samples were given, so random ones stand in{how}; they show that the graph computes "
        "the same, not how accurate the result is on real data, and int8 ranges calibrated on them are guesses "
        "(give --data)"
    )
