"""Ask a model server: ours, or TensorFlow Serving. Standard library and numpy only."""

from tfopt.client.client import Client

__all__ = ["Client"]
