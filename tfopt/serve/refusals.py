"""What a client is told of an error: one code and one text, whichever face it asked."""

from __future__ import annotations

from tfopt.errors import Code, ExecutionError, RequestError, TfoptError

#: What is told of an error that nobody foresaw.
INTERNAL = "Internal error; the server's log has the details"


def told(error: TfoptError) -> tuple[Code, str]:
    """Of an engine its own words, of all else what is wrong and what to do; never where on this machine."""
    if isinstance(error, ExecutionError):
        return error.status, error.said
    code = error.status if isinstance(error, RequestError) else error.code
    return code, f"{error.what}; {error.hint}" if error.hint else error.what
