"""`tfopt model-server`: the same server under tensorflow_model_server's flags."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

import typer

from tfopt import __version__


def model_server(context: typer.Context) -> int:
    """Serve models under tensorflow_model_server's flags, as a drop-in for it.

    The flags are TensorFlow Serving's, so they are read by its rules: `serve.settings.flags` describes them.
    """
    arguments = context.args
    if "--help" in arguments or "-h" in arguments:
        from tfopt.serve.settings.flag_help import help_text

        print(help_text(), end="")
        return 0
    from tfopt.serve.settings.flag_parser import parse_flags

    flags = parse_flags(arguments)
    if flags.is_on("version"):
        print(_versions())
        return 0
    from tfopt.errors import TfoptError
    from tfopt.serve.logs import LogFormat, LogLevel, log_on_stderr

    kind, level = _choice(LogFormat, flags.text("tfopt_log_format")), _choice(LogLevel, flags.text("tfopt_log_level"))
    with log_on_stderr(kind, level, access=flags.is_on("tfopt_access_log")):
        from tfopt.serve.model_server import run_model_server
        from tfopt.serve.refusals import told

        try:
            run_model_server(flags)
        except TfoptError as error:
            # On stdout, as tensorflow_model_server has it, beside the line on stderr that every command ends with.
            print(f"Failed to start server. Error: {told(error)[0].value}: {error}", flush=True)
            raise
    return 0


_Choice = TypeVar("_Choice", bound=Enum)


def _choice(known: type[_Choice], text: str) -> _Choice:
    from tfopt.errors import UsageError, nearest

    values = {each.value: each for each in known}
    if text not in values:
        raise UsageError(f"{text!r} is no {known.__name__[3:].lower()} of the log", hint=nearest(text, values))
    return values[text]


def _versions() -> str:
    """In the words of tensorflow_model_server, without importing what they are the versions of."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        library = version("tensorflow")
    except PackageNotFoundError:
        library = "not installed"
    return f"TensorFlow ModelServer: tfopt {__version__}\nTensorFlow Library: {library}"
