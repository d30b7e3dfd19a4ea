"""Samples: what a model is calibrated and judged on."""

from tfopt.data.files import load_labels
from tfopt.data.loading import check_sources, load_samples
from tfopt.data.requests import warmup_samples
from tfopt.data.samples import Batching, Samples, batching
from tfopt.data.source import by_signature, split_name
from tfopt.data.splitting import Split, split
from tfopt.data.synthetic import synthetic_samples

__all__ = [
    "Batching",
    "Samples",
    "Split",
    "batching",
    "by_signature",
    "check_sources",
    "load_labels",
    "load_samples",
    "split",
    "split_name",
    "synthetic_samples",
    "warmup_samples",
]
