"""A model of Keras 3 built again of Keras 2 layers, with its weights.

What Keras 3 says of a layer is nearly what Keras 2 takes. Where it is not (a layer or an option that Keras 2 has not),
the model is refused with the layer's name, and so is one that then does not give the same answers.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import TfoptError, UnsupportedModel

_HINT = "train it where it is defined, or compress it as it is, which needs no Keras 2"
#: What the two may differ by, as a share of the largest output: the kernels are the same, their order may differ.
_TOLERANCE = 1e-4
#: How much larger than 1 an unknown dim is made for the comparison.
_UNKNOWN = 8
#: Options that say how a layer came about, and none of what it computes.
_IDLE = frozenset({"build_config", "optional", "quantization_config", "seed", "shared_object_id", "autocast"})
#: Options that layers of Keras 2 take without saying so.
_TAKEN = frozenset({"name", "trainable", "dtype", "batch_input_shape", "zero_output_for_mask"})
#: Where a layer says which layers it holds.
_INNER = frozenset({"layer", "backward_layer", "cell", "cells"})
#: Containers: they are built of their own layers.
_MODELS = frozenset({"Functional", "Model", "Sequential"})


def carried(model: Any) -> Any:
    """The tf_keras model of a keras (3) model. Models within it are dissolved into their layers.

    Raises UnsupportedModel with the layer and the reason where it has no equal in Keras 2, or answers otherwise there.
    """
    carrier = _Carrier()
    built = carrier.model(model)
    carrier.copy_weights()
    _check_equal(model, built)
    return built


class _Carrier:
    """Builds layers once, whoever calls them, and remembers what they were made of."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Any, Any]] = {}  # by id of the old layer: it and the new one
        self._names: set[str] = set()

    def model(self, old: Any) -> Any:
        import tf_keras

        inputs = [
            tf_keras.Input(batch_shape=tuple(one.shape), dtype=str(one.dtype), name=self._name(_bare(one.name)))
            for one in _flat(old.inputs)
        ]
        return tf_keras.Model(inputs, self._call(old, inputs, {}), name=old.name)

    def copy_weights(self) -> None:
        for old, new in self._made.values():
            theirs, ours = old.get_weights(), new.get_weights()
            if [array.shape for array in theirs] != [array.shape for array in ours]:
                raise _refusal(old.name, f"{type(old).__name__} holds other weights in Keras 2")
            new.set_weights(theirs)

    def _call(self, old: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """What a layer, or a model of layers, makes of tensors of Keras 2."""
        if type(old).__name__ == "Sequential":
            value = arguments[0]
            for layer in old.layers:
                value = self._call(layer, [value], {})
            return value
        if type(old).__name__ in _MODELS:
            return self._graph(old, _flat(list(arguments)))
        try:
            return self._layer(old)(*arguments, **options)
        except (TypeError, ValueError) as error:
            raise _refusal(old.name, f"Keras 2 cannot call it as Keras 3 does: {_short(error)}") from error

    def _graph(self, old: Any, inputs: Sequence[Any]) -> Any:
        known = {id(theirs): ours for theirs, ours in zip(_flat(old.inputs), inputs, strict=True)}
        for operation in old.operations:
            if type(operation).__name__ == "InputLayer":
                continue
            for node in operation._inbound_nodes:
                if any(id(tensor) not in known for tensor in node.input_tensors):
                    continue  # a call outside of this model
                arguments = [_replaced(one, known) for one in node.arguments.args]
                options = {k: _replaced(v, known) for k, v in node.arguments.kwargs.items() if v is not None}
                if not hasattr(operation, "get_weights"):
                    raise _refusal(operation.name, f"{type(operation).__name__} is an operation, and no layer")
                made = _flat(self._call(operation, arguments, options))
                known.update({id(tensor): one for tensor, one in zip(node.output_tensors, made, strict=True)})
        # Outputs with names go by position in Keras 2, in the order that Keras 3 flattens them to.
        made = [known[id(tensor)] for tensor in old.outputs]
        return made if len(made) > 1 or isinstance(old.output, (list, tuple)) else made[0]

    def _layer(self, old: Any) -> Any:
        if id(old) not in self._made:
            self._made[id(old)] = old, self._built(old)
        return self._made[id(old)][1]

    def _built(self, old: Any) -> Any:
        import tf_keras

        name = type(old).__name__
        known = getattr(tf_keras.layers, name, None)
        if known is None:
            raise _refusal(old.name, f"Keras 2 has no {name}")
        try:
            config = {**_config(known, old.get_config(), old.name), "name": self._name(old.name)}
            # `from_config` makes the layers within a layer; of others it may want what only a built one has.
            return known.from_config(config) if _INNER & config.keys() else known(**config)
        except (TypeError, ValueError, KeyError) as error:
            raise _refusal(old.name, f"Keras 2 cannot make a {name} of it: {_short(error)}") from error

    def _name(self, wanted: str) -> str:
        """Layers of different models within one may have one name."""
        name, number = wanted, 0
        while name in self._names:
            number += 1
            name = f"{wanted}_{number}"
        self._names.add(name)
        return name


def _config(known: type, config: Mapping[str, Any], layer: str) -> dict[str, Any]:
    """The options as Keras 2 takes them. What it does not know may be left out where it is off, and is refused else."""
    taken = _options(known)
    found: dict[str, Any] = {}
    for key, value in config.items():
        if key.endswith("_initializer"):
            continue  # the weights are copied
        if key in taken:
            found[key] = _plain(value, layer)
        elif key not in _IDLE and value not in (None, False):
            raise _refusal(layer, f"{known.__name__} has no {key} in Keras 2 (it is {value!r})")
    return found


def _options(known: type) -> set[str]:
    bases = [base for base in known.__mro__ if "__init__" in vars(base)]
    named = {name for base in bases for name in inspect.signature(base.__init__).parameters}  # type: ignore[misc]  # looked at, not called
    return (named | _TAKEN) - {"self", "args", "kwargs"}


def _plain(value: Any, layer: str) -> Any:
    """Dtype policies by their name; layers within a layer with their own options in order."""
    import tf_keras

    if not isinstance(value, Mapping) or "class_name" not in value:
        return value
    name, config = value["class_name"], value.get("config")
    if name == "DTypePolicy":
        return config["name"] if isinstance(config, Mapping) else config
    if name.endswith("DTypePolicy"):
        raise _refusal(layer, f"its dtype is of the kind {name}, which Keras 2 has not")
    inner = getattr(tf_keras.layers, name, None)
    if inner is not None and isinstance(config, Mapping):
        return {"class_name": name, "config": _config(inner, config, layer)}
    return value


def _replaced(value: Any, known: Mapping[int, Any]) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_replaced(one, known) for one in value)
    return known.get(id(value), value)


def _flat(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _bare(name: str) -> str:
    return name.partition(":")[0]


def _check_equal(old: Any, new: Any) -> None:
    feeds = [_drawn(one, seed) for seed, one in enumerate(_flat(old.inputs))]
    named = dict(zip(new.input_names, feeds, strict=True))
    by_name = type(old).__name__ != "Sequential" and isinstance(old.input, Mapping)
    theirs = old(named if by_name else feeds if len(feeds) > 1 else feeds[0], training=False)
    ours = new(feeds if len(feeds) > 1 else feeds[0], training=False)
    for one, other in zip(_answers(theirs), _answers(ours), strict=True):
        wanted, made = np.asarray(one, np.float64), np.asarray(other, np.float64)
        if wanted.shape != made.shape or np.abs(wanted - made).max() > _TOLERANCE * max(1.0, np.abs(wanted).max()):
            raise UnsupportedModel("its layers make other numbers in Keras 2 than in Keras 3", hint=_HINT)


def _answers(made: Any) -> list[Any]:
    return [made[name] for name in sorted(made)] if isinstance(made, Mapping) else _flat(made)


def _drawn(tensor: Any, seed: int) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    shape = [2, *(_UNKNOWN if dim is None else dim for dim in tensor.shape[1:])]
    drawn = rng.uniform(0, 1, shape) if "float" in str(tensor.dtype) else rng.integers(0, 2, shape)
    return drawn.astype(str(tensor.dtype))


def _refusal(layer: str, reason: str) -> TfoptError:
    return UnsupportedModel(f"cannot be carried over to Keras 2: {reason}", where=f"layer {layer}", hint=_HINT)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
