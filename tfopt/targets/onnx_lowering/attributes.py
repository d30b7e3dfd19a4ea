"""Attributes of a node under their own types; TensorFlow's defaults where a graph leaves them out."""

from __future__ import annotations

from tfopt.ir import Node


def text(node: Node, name: str, default: str = "") -> str:
    value = node.attrs.get(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


def flag(node: Node, name: str, default: bool = False) -> bool:
    return bool(node.attrs.get(name, default))


def number(node: Node, name: str, default: float) -> float:
    value = node.attrs.get(name, default)
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} of {node.name} is no number")
    return float(value)


def integer(node: Node, name: str, default: int = 0) -> int:
    return int(number(node, name, default))


def integers(node: Node, name: str) -> tuple[int, ...]:
    """Empty where the attribute is left out."""
    values = node.attrs.get(name, ())
    if not isinstance(values, tuple):
        raise TypeError(f"{name} of {node.name} is no list")
    return tuple(value for value in values if isinstance(value, int))
