"""TensorFlow Serving's settings files, which hold one message as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import text_format

from tfopt.errors import UsageError
from tfopt.formats.serving.schema import POOL


def read_text_message(path: Path, kind: Any) -> Any:
    """The message of class `kind` that a file holds as text.

    Raises UsageError with the file and TensorFlow Serving's words for one that cannot be read or is no such message.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise UsageError(f"cannot be read: {reason}", where=str(path)) from error
    return parse_text_message(text, kind, where=str(path))


def parse_text_message(text: str, kind: Any, where: str) -> Any:
    """As `read_text_message`, of the text itself."""
    try:
        return text_format.Parse(text, kind(), descriptor_pool=POOL)
    except (text_format.ParseError, RecursionError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        what = f"Error parsing text-format {kind.DESCRIPTOR.full_name}: {said}"
        raise UsageError(what, where=where) from error
