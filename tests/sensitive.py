"""The bundled network with one layer that integers harm."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tfopt
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.graph import Model
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe

DEMO = Path(tfopt.__file__).parent / "demo"
#: The layer that is harmed, and the one that it reads.
HARMED, READ = "fashion_cnn_1/block3_1/convolution", "fashion_cnn_1/block2_1/convolution"


def sabotaged(size: float = 200.0) -> Model:
    """Half of the channels that one layer reads are twins of the others, and its weights for the two are `size` times
    its largest apart from what they were, one up and one down: in float that cancels, on a grid that holds
    such weights nothing of the others is left."""
    model = run_pipeline(read_saved_model(DEMO / "fashion_cnn"), load_recipe("exact")).model
    graph, editor = model.graph, Editor(model.graph)
    for value in (graph[READ].inputs[1], *graph[f"{READ}/BiasAdd_1"].inputs[1:]):
        array = np.array(graph.producer(value).tensor.array)
        array[..., array.shape[-1] // 2 :] = array[..., : array.shape[-1] // 2]
        editor.update(graph.producer(value).with_attrs(value=Tensor(array)))
    weight = graph.producer(graph[HARMED].inputs[1])
    array = np.array(weight.tensor.array)
    half, far = array.shape[2] // 2, size * np.abs(array).max()
    array[:, :, :half] += far
    array[:, :, half:] -= far
    editor.update(weight.with_attrs(value=Tensor(array)))
    return model.with_graph(editor.finish())
