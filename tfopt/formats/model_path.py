"""Is there a model at a path? Answered without TensorFlow, so that a wrong path is told at once."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from tfopt.errors import InvalidModel, NotFound, UnsupportedModel

SAVED_MODEL = "saved_model.pb"
_TEXT = "saved_model.pbtxt"
_CHUNKS = "saved_model.cpb"
#: What people take for a SavedModel because Keras saves it too.
_KERAS = (".keras", ".h5", ".hdf5")
WHAT_IS_A_SAVED_MODEL = (
    "a SavedModel is a directory with a saved_model.pb, as tf.saved_model.save and Keras' model.export write it"
)


def check_there(path: Path, expected: str | None = None) -> None:
    """Raise NotFound when nothing is at `path`, with a name beside it that is nearly the same; else with `expected`."""
    if not path.exists():
        near = _nearest_beside(path)
        hint = f"did you mean {near}?" if near else expected
        raise NotFound("there is no such file or directory", where=str(path), hint=hint)


def saved_model_file(path: Path) -> Path:
    """The file that holds the SavedModel at `path`, in the order of TensorFlow's loader.

    Raises NotFound when nothing is there, InvalidModel for what is no SavedModel, UnsupportedModel for one in chunks.
    """
    check_there(path, WHAT_IS_A_SAVED_MODEL)
    if path.is_file():
        hint = "export it with Keras: model.export(DIRECTORY)" if path.suffix in _KERAS else WHAT_IS_A_SAVED_MODEL
        raise InvalidModel("is a file, not a SavedModel", where=str(path), hint=hint)
    for file in (path / SAVED_MODEL, path / _TEXT):
        if file.is_file():
            return file
    if (path / _CHUNKS).is_file():
        what = f"is written in chunks ({_CHUNKS}), which tfopt does not read yet"
        raise UnsupportedModel(what, where=str(path), hint="save it without experimental_image_format")
    raise InvalidModel(f"holds no {SAVED_MODEL}", where=str(path), hint=_below(path) or WHAT_IS_A_SAVED_MODEL)


def version_hint(path: Path) -> str | None:
    """For a directory of versions: the highest of them."""
    entries = path.iterdir() if path.is_dir() else ()
    numbers = [int(entry.name) for entry in entries if entry.name.isdecimal()]
    return f"it holds versions, give one: {path / str(max(numbers))}" if numbers else None


def _below(path: Path) -> str | None:
    """Where the model may be that was meant: a version, or a model in the directory."""
    model = next((file.parent for file in sorted(path.glob(f"*/{SAVED_MODEL}"))), None)
    return version_hint(path) or (f"it holds models, give one, such as {model}" if model else None)


def _nearest_beside(path: Path) -> Path | None:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:  # not even the parent is there
        return None
    close = get_close_matches(path.name, names, n=1)
    return path.with_name(close[0]) if close else None
