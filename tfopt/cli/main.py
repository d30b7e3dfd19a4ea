"""The command line's frame: registers the commands, and turns errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from tfopt import __version__
from tfopt.cli import (
    bench,
    compress,
    demo,
    inspect,
    model_server,
    passes,
    predict,
    publish,
    recipes,
    serve,
    train,
    versions,
)
from tfopt.errors import INTERRUPTED_EXIT_CODE, OutputError, TfoptError

#: The base of all usage errors; typer exports only a subclass of it.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="tfopt",
    help="Make a trained TensorFlow model smaller and faster, prove it is still the same, publish and serve it.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 2 usage, 3-16 see docs/reference/exit-codes.md, 130 interrupted.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tfopt {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error. Works anywhere.")] = False,
) -> None:
    """Options before the command."""


for _module in (inspect, compress, train, bench, publish, serve, predict, passes, recipes, demo):
    _name = _module.__name__.rpartition(".")[2]
    _command = getattr(_module, _name)
    # Given as it is: typer would cut a summary that it takes from the docstring.
    app.command(_name, short_help=_command.__doc__.partition("\n")[0])(_command)
#: Its flags are TensorFlow Serving's, which it reads by itself.
app.command(
    "model-server",
    short_help="Serve models under tensorflow_model_server's flags.",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)(model_server.model_server)
app.add_typer(versions.app, name="versions", short_help=versions.app.info.help)


def run() -> None:
    """The `tfopt` program. One rim for all errors: nothing above prints a traceback unless `--debug` asks for it."""
    _open_streams()
    debug = "--debug" in sys.argv[1:]
    sys.exit(main([argument for argument in sys.argv[1:] if argument != "--debug"], debug=debug))


def main(arguments: list[str], *, debug: bool = False) -> int:
    """Run one command and give its exit code; without a command, show the help."""
    try:
        status = app(arguments or ["--help"], prog_name="tfopt", standalone_mode=False)
        sys.stdout.flush()
    except TfoptError as error:
        return _fail(error, str(error), error.exit_code, debug)
    except _UsageError as error:
        return _fail(error, _usage(error), 2, debug)
    except (KeyboardInterrupt, typer.Abort) as error:
        return _fail(error, "interrupted", INTERRUPTED_EXIT_CODE, debug)
    except OSError as error:
        return _fail(error, _system(error), OutputError.exit_code, debug)
    except Exception as error:  # noqa: BLE001 - the rim: what gets here is a bug, told in one line
        hint = "this is a bug in tfopt; run again with --debug and report what it prints"
        return _fail(error, f"{type(error).__name__}: {error}; {hint}", 1, debug)
    if status == INTERRUPTED_EXIT_CODE:  # typer has caught Ctrl-C while a command ran
        print("tfopt: interrupted", file=sys.stderr)
    return status if isinstance(status, int) else 0


def _open_streams() -> None:
    """What the shell has closed (`2>&-`) goes nowhere: talk for a closed stderr would end on stdout."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open to the end


def _system(error: OSError) -> str:
    """What the system refused; without a file's name it was a write to stdout, such as a full disk behind it."""
    return f"{error.filename or 'standard output'}: {error.strerror or error}"


def _usage(error: BaseException) -> str:
    message = " ".join(str(getattr(error, "format_message", lambda: error)()).split()).replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "tfopt"
    return f"{message.rstrip('.')}; see `{command} --help`"


def _fail(error: BaseException, message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    print(f"tfopt: {' '.join(message.split())}", file=sys.stderr)
    return code
