"""Make trained TensorFlow models smaller and faster, prove they are still the same, publish and serve them.

The public names load what they need on first use, so that `import tfopt` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tfopt.client import Client
    from tfopt.compression import CompressResult, compress
    from tfopt.errors import TfoptError
    from tfopt.measure.bench import bench
    from tfopt.measure.compare import compare_reports
    from tfopt.measure.server_bench import bench_servers
    from tfopt.publisher import publish
    from tfopt.serve.server import Server
    from tfopt.training import train

_HOMES = {
    "Client": "tfopt.client",
    "CompressResult": "tfopt.compression",
    "Server": "tfopt.serve.server",
    "TfoptError": "tfopt.errors",
    "bench": "tfopt.measure.bench",
    "bench_servers": "tfopt.measure.server_bench",
    "compare_reports": "tfopt.measure.compare",
    "compress": "tfopt.compression",
    "publish": "tfopt.publisher",
    "train": "tfopt.training",
}

__all__ = [
    "Client",
    "CompressResult",
    "Server",
    "TfoptError",
    "__version__",
    "bench",
    "bench_servers",
    "compare_reports",
    "compress",
    "publish",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tfopt' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
