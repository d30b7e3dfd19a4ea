"""What the marks of structure are tried on: the recipes, the models, and how each result is held against its mark.

Samples are Fashion-MNIST's 60,000 training images without their labels, half of which tfopt keeps for its gate, and
132 crops of photographs for EfficientNet-Lite0. What is judged on is not among them: 10,000 test images with labels,
286 crops of other photographs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import efficientnet_lite, fashion_cnns, fashion_lstm, models
from benchmarks.photographs import calibration_crops, judged_crops
from benchmarks.train_fashion_cnn import DEMO, as_input

Arrays = Mapping[str, NDArray[Any]]

#: Seconds of training at most, when nothing else runs on two cores; a busy machine trains less in them.
SECONDS: Final = 300
_TEACHING: Final = f"seconds: {SECONDS}, patience: null, batch_size: 128"
TEACH: Final = f"distill: {{{_TEACHING}}}"
#: A recurrent layer's units change little at the rate that suits convolutions.
TEACH_FASTER: Final = f"distill: {{{_TEACHING}, learning_rate: 0.003}}"
HALF, QUARTER = "prune_channels: {target_macs: 0.5}", "prune_channels: {target_macs: 0.25}"
#: What most people mean by pruning channels: as many of each layer, the smallest first.
NORM: Final = "prune_channels: {target_macs: 0.7, score: norm, scope: layer}"
INT8: Final = ("quantize: {round_results: true}", "tflite: {precision: int8}", "onnx: {}")


@dataclass(frozen=True)
class Model:
    """`labels` are the classes of what is judged; without any it is how often the original's answer is given."""

    path: Callable[[], Path]
    samples: Callable[[], Arrays]
    judged: Callable[[], tuple[Arrays, NDArray[np.int64] | None]]


@dataclass(frozen=True)
class Trial:
    """A recipe behind the exact one, and what its mark allows: points lost, and the shares left of the original's
    bytes, plain and gzipped; None where nothing is promised."""

    mark: int
    model: str
    what: str
    steps: tuple[str, ...]
    points: float | None = None
    bytes: float | None = None
    gzip_bytes: float | None = None
    files: Mapping[str, str] = field(default_factory=lambda: {"SavedModel": "."})

    @property
    def recipe(self) -> str:
        return "\n".join(["name: trial", "steps:", "  - include: exact", *(f"  - {step}" for step in self.steps)])


def narrower(macs: float) -> tuple[str, ...]:
    """The steps that leave this share of the multiply-adds."""
    return ("rotate_streams", f"prune_channels: {{target_macs: {macs}}}")


def _fashion(path: Callable[[], Path]) -> Model:
    return Model(path, lambda: {"image": as_input("train")[0]}, _test_images)


def _test_images() -> tuple[Arrays, NDArray[np.int64]]:
    images, labels = as_input("test")
    return {"image": images}, labels


MODELS: Final[Mapping[str, Model]] = {
    "resnet": _fashion(fashion_cnns.resnet),
    "bundled": _fashion(lambda: DEMO / "fashion_cnn"),
    "depthwise": _fashion(fashion_cnns.depthwise),
    "lstm": _fashion(fashion_lstm.lstm),
    "efficientnet_lite0": Model(
        models.efficientnet_lite0,
        lambda: {"image": efficientnet_lite.as_input(calibration_crops())},
        lambda: ({"image": efficientnet_lite.as_input(judged_crops())}, None),
    ),
}

#: The residual CNNs: 78 k parameters in blocks of two convolutions, and the bundled one, whose shortcuts fold away.
_RESIDUAL: Final = ("resnet", "bundled")


def _narrower(model: str) -> tuple[Trial, ...]:
    half, quarter = narrower(0.5), narrower(0.25)
    return (
        Trial(2, model, "half the MACs, cut alone", half),
        Trial(2, model, "half the MACs, repaired", (*half, "repair"), points=2.5),
        Trial(2, model, "half the MACs, taught", (*half, "repair", TEACH), points=0.7),
        Trial(2, model, "a quarter of the MACs, repaired", (*quarter, "repair")),
        Trial(2, model, "a quarter of the MACs, taught", (*quarter, "repair", TEACH), points=2.0),
    )


def _sparser(model: str) -> tuple[Trial, ...]:
    def zeros(options: str, *then: str) -> tuple[str, ...]:
        return (f"prune_second_order: {{{options}}}", "repair", *then)

    def gradually(share: float) -> str:
        """From those that others make up for to so many, while the model is taught."""
        taught = f"{_TEACHING}, steps: 4000, augment: none"
        return f"fine_tune: {{sparsity: {share}, until: 0.5, {taught}}}"

    return (
        Trial(3, model, "80 % zeros by magnitude, alone", ("prune_magnitude: {sparsity: 0.8}",)),
        Trial(3, model, "80 % zeros by magnitude, repaired", ("prune_magnitude: {sparsity: 0.8}", "repair")),
        Trial(3, model, "80 % zeros, repaired", zeros("sparsity: 0.8")),
        Trial(3, model, "80 % zeros, taught", zeros("sparsity: 0.6", gradually(0.8)), points=0.5, gzip_bytes=0.35),
        Trial(3, model, "90 % zeros, taught", zeros("sparsity: 0.6", gradually(0.9)), points=1.5),
        Trial(3, model, "2:4 zeros, repaired", zeros("pattern: 2:4")),
        Trial(3, model, "2:4 zeros, taught", zeros("pattern: 2:4", TEACH), points=0.4),
    )


def _other_kinds() -> tuple[Trial, ...]:
    halves = {
        "depthwise": ("half the MACs", narrower(0.5), TEACH),
        "lstm": ("half the units", ("prune_channels: {ratio: 0.5}",), TEACH_FASTER),
    }
    return tuple(
        trial
        for model, (what, half, teach) in halves.items()
        for trial in (
            Trial(4, model, f"{what}, repaired", (*half, "repair")),
            Trial(4, model, f"{what}, taught", (*half, "repair", teach), points=1.5),
        )
    )


def _with_int8(model: str) -> Trial:
    files = {"SavedModel": ".", "TFLite": "model.tflite", "ONNX": "model.onnx"}
    steps = ("prune_channels: {ratio: 0.5, scope: global}", "repair", TEACH, *INT8)
    return Trial(5, model, "half the channels, taught, int8", steps, points=1.0, bytes=1 / 6, files=files)


TRIALS: Final[tuple[Trial, ...]] = (
    *(trial for model in _RESIDUAL for trial in _narrower(model)),
    *(trial for model in _RESIDUAL for trial in _sparser(model)),
    *_other_kinds(),
    *(_with_int8(model) for model in _RESIDUAL),
    Trial(
        4,
        "depthwise",
        "half the MACs, streams as they are, repaired",
        ("prune_channels: {target_macs: 0.5}", "repair"),
    ),
    Trial(6, "efficientnet_lite0", "30 % fewer MACs, plain norm", (NORM,)),
    Trial(6, "efficientnet_lite0", "30 % fewer MACs, plain norm, repaired", (NORM, "repair")),
    Trial(6, "efficientnet_lite0", "30 % fewer MACs, cut alone", narrower(0.7)),
    Trial(
        6,
        "efficientnet_lite0",
        "30 % fewer MACs, streams as they are, repaired",
        ("prune_channels: {target_macs: 0.7}", "repair"),
    ),
    Trial(6, "efficientnet_lite0", "30 % fewer MACs, repaired", (*narrower(0.7), "repair")),
)
