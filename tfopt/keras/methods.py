"""The methods of tensorflow-model-optimization, over models of Keras 2: wrap, train, and take the wrapping off.

What it cannot wrap stays as it is and is told, as it is there that users look for what was not done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from tfopt.keras.ranges import calibrate
from tfopt.keras.tfmot import MODULE, tfmot

#: How often pruning looks again while it becomes sparser, and the share of the steps in which it does; the rest is for
#: what is left to recover.
_LOOKS, _PRUNING = 50, 0.75
#: Layers behind which a batch norm is quantized together with them.
_FOLDED = ("Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D")


@dataclass(frozen=True)
class Methods:
    """What is done, in this order, each with a training of its own. `prune` is the share of zeros or N:M (N of M stay),
    `cluster` how many different weights a layer keeps, `quantize` trains for int8."""

    prune: float | str | None = None
    schedule: Literal["polynomial", "constant"] = "polynomial"
    cluster: int | None = None
    quantize: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        chosen = {"prune": self.prune is not None, "cluster": self.cluster is not None, "quantize": self.quantize}
        return tuple(name for name, wanted in chosen.items() if wanted)


@dataclass(frozen=True)
class Wrapped:
    """A model to train, what Keras is to call while it is, how to take the wrapping off, and what stayed as it was."""

    model: Any
    callbacks: tuple[Any, ...]
    strip: Callable[[Any], Any]
    left: Mapping[str, str]


def wrapped(name: str, model: Any, methods: Methods, steps: int, batch: Sequence[Any]) -> Wrapped:
    """The model under a method of `methods.names`, for so many steps of training that begin with `batch`. Methods
    before this one are kept to: zeros stay zero, and clusters clusters."""
    if name == "prune":
        return _pruned(model, methods, steps)
    if name == "cluster":
        return _clustered(model, methods)
    quantized = _quantized(model, methods)
    calibrate(quantized.model, batch)
    return quantized


def _pruned(model: Any, methods: Methods, steps: int) -> Wrapped:
    sparsity = tfmot("pruning a Keras model").sparsity.keras
    options: dict[str, Any] = {}
    if isinstance(methods.prune, str):
        keep, group = map(int, methods.prune.split(":"))
        options["sparsity_m_by_n"] = group - keep, group
        share = 1 - keep / group
    else:
        share = float(methods.prune or 0.0)
    every = max(1, steps // _LOOKS)
    if methods.schedule == "constant":
        options["pruning_schedule"] = sparsity.ConstantSparsity(share, 0, frequency=every)
    else:
        end = max(1, round(steps * _PRUNING))
        options["pruning_schedule"] = sparsity.PolynomialDecay(0.0, share, 0, end, frequency=every)
    made, left = _each(model, lambda layer: sparsity.prune_low_magnitude(layer, **options))
    return Wrapped(made, (sparsity.UpdatePruningStep(),), sparsity.strip_pruning, left)


def _clustered(model: Any, methods: Methods) -> Wrapped:
    package = tfmot("clustering a Keras model").clustering.keras
    options = {
        "number_of_clusters": methods.cluster,
        "cluster_centroids_init": package.CentroidInitialization.KMEANS_PLUS_PLUS,
    }
    cluster = package.cluster_weights
    if methods.prune is not None:
        # The package's guide takes it from here: it is in none of its public modules.
        experimental = import_module(f"{MODULE}.python.core.clustering.keras.experimental.cluster")
        cluster, options = experimental.cluster_weights, {**options, "preserve_sparsity": True}
    made, left = _each(model, lambda layer: cluster(layer, **options))
    return Wrapped(made, (), package.strip_clustering, left)


def _quantized(model: Any, methods: Methods) -> Wrapped:
    package = tfmot("quantization-aware training")
    import tf_keras

    combine = package.experimental.combine
    if methods.cluster is not None:
        scheme = combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=methods.prune is not None)
        strip = combine.strip_clustering_cqat
    elif methods.prune is not None:
        scheme, strip = combine.Default8BitPrunePreserveQuantizeScheme(), _as_it_is
    else:
        scheme, strip = package.quantization.keras.default_8bit.Default8BitQuantizeScheme(), _as_it_is
    registry, left = scheme.get_quantize_registry(), {}

    def annotated(layer: Any) -> Any:
        if isinstance(layer, tf_keras.layers.InputLayer):
            return layer
        if registry.supports(layer) or type(layer).__name__.startswith("Separable") or _is_folded(layer):
            return package.quantization.keras.quantize_annotate_layer(layer)
        left[layer.name] = f"a {type(layer).__name__} stays float"
        return layer

    marked = tf_keras.models.clone_model(model, clone_function=annotated)
    return Wrapped(package.quantization.keras.quantize_apply(marked, scheme), (), strip, left)


def _each(model: Any, wrap: Callable[[Any], Any]) -> tuple[Any, Mapping[str, str]]:
    """The model with every layer wrapped that can be."""
    import tf_keras

    left: dict[str, str] = {}

    def one(layer: Any) -> Any:
        if isinstance(layer, tf_keras.layers.InputLayer):
            return layer
        if isinstance(layer, tf_keras.Model):
            return tf_keras.models.clone_model(layer, clone_function=one)
        try:
            return wrap(layer)
        except ValueError as error:  # a layer that it does not know; or, for N:M, a shape that does not divide
            if layer.trainable_weights:
                left[layer.name] = " ".join(str(error).split())[:200]
            return layer

    return tf_keras.models.clone_model(model, clone_function=one), left


def _is_folded(layer: Any) -> bool:
    """A batch norm that alone reads what a layer makes which it can be folded into."""
    if type(layer).__name__ != "BatchNormalization" or len(layer.inbound_nodes) != 1:
        return False
    before = layer.inbound_nodes[0].inbound_layers
    alone = not isinstance(before, list) and len(before.outbound_nodes) == 1
    return alone and type(before).__name__ in _FOLDED


def _as_it_is(model: Any) -> Any:
    return model
