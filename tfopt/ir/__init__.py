"""The model in the middle. Nothing in here knows TensorFlow or protobuf; numpy at most."""

from tfopt.ir.graph import Asset, Graph, Model, Node, Signature, SignatureInput, SignatureOutput, Value
from tfopt.ir.types import DType, Shape, Tensor, TensorType

__all__ = [
    "Asset",
    "DType",
    "Graph",
    "Model",
    "Node",
    "Shape",
    "Signature",
    "SignatureInput",
    "SignatureOutput",
    "Tensor",
    "TensorType",
    "Value",
]
