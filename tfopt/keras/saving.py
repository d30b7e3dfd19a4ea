"""A trained model of Keras 2 as a SavedModel with the original's signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfopt.errors import UnsupportedModel


@dataclass(frozen=True, eq=False)
class Contract:
    """The original's signatures: names, shapes and dtypes (TensorFlow's TensorSpecs) of inputs, names of outputs."""

    inputs: Mapping[str, Any]
    outputs: Sequence[str]
    keys: Sequence[str]

    @classmethod
    def of(cls, saved_model: str) -> Contract:
        from tfopt.formats.tensorflow import tf

        signatures = tf.saved_model.load(saved_model).signatures
        serving = signatures["serving_default"]
        inputs = serving.structured_input_signature[1]
        return cls(inputs, sorted(serving.structured_outputs, key=_number), sorted(signatures))

    def inputs_of(self, model: Any) -> list[str]:
        """The names of the model's inputs in the signature, in the model's order. Raises UnsupportedModel."""
        names = list(model.input_names)
        if len(names) == len(self.inputs) == 1:
            return list(self.inputs)
        if set(names) != set(self.inputs):
            what = f"its inputs are called {', '.join(names)} in Keras 2, and {', '.join(self.inputs)} in its signature"
            raise UnsupportedModel(what, hint="give every input a name: keras.Input(..., name=...)")
        return names


def save(model: Any, contract: Contract, directory: str) -> None:
    """Write the model. All keys of the contract stand for the one program, as they do in what Keras exports."""
    from tfopt.formats.tensorflow import tf

    order = contract.inputs_of(model)

    def serve(**inputs: Any) -> dict[str, Any]:
        values = [inputs[name] for name in order]
        made = model(values[0] if len(values) == 1 else values, training=False)
        outputs = list(made) if isinstance(made, (list, tuple)) else [made]
        return dict(zip(contract.outputs, outputs, strict=True))

    served = tf.function(serve).get_concrete_function(
        **{name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in contract.inputs.items()}
    )
    module = tf.Module()
    module.model = model
    tf.saved_model.save(module, directory, signatures=dict.fromkeys(contract.keys, served))


def _number(name: str) -> tuple[int, str]:
    """Of `output_10` 10: Keras counts outputs, and names sort otherwise."""
    digits = name.rpartition("_")[2]
    return (int(digits) if digits.isdecimal() else -1), name
