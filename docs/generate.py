"""Write the generated pages of docs/reference, or with --check say which are stale.

What they say comes from the code: the commands' help, the passes' signatures, the recipes' files, the errors' classes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tfopt import errors
from tfopt.passes.registry import steps
from tfopt.recipe import shipped_recipes
from tfopt.report.passes_table import step_text
from tfopt.serve.settings.flag_help import table

REFERENCE = Path(__file__).parent / "reference"
COMMANDS = (
    "inspect",
    "compress",
    "train",
    "bench",
    "publish",
    "versions",
    "serve",
    "model-server",
    "predict",
    "passes",
    "recipes",
    "demo",
)
VERSIONS_COMMANDS = ("list", "promote", "rollback", "label", "delete")
NOTE = "<!-- Written by docs/generate.py. Change the code, then run `make docs`. -->\n"


def cli_page() -> str:
    calls = [[], *([command] for command in COMMANDS)]
    calls += [["versions", command] for command in VERSIONS_COMMANDS]
    parts = ["# Commands\n", "stdout is data, stderr is talk; every command takes `--json`.\n"]
    for call in calls:
        parts.append(f"## {' '.join(['tfopt', *call])}\n\n```\n{_help(call)}\n```\n")
    return "\n".join(parts)


def _help(call: list[str]) -> str:
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-m", "tfopt", *call, "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    return "\n".join(line.rstrip() for line in shown.strip().splitlines())


def passes_page() -> str:
    parts = [
        "# Recipe steps\n",
        "`exact` keeps the outputs up to rounding, `lossy` changes them, `target` writes an artifact.\n",
    ]
    parts += [f"## {name}\n\n```\n{step_text(step)}\n```\n" for name, step in steps().items()]
    return "\n".join(parts)


def recipes_page() -> str:
    parts = ["# Recipes\n", "`tfopt recipes NAME` prints one, ready to be saved and changed.\n"]
    parts += [f"## {name}\n\n```yaml\n{path.read_text().rstrip()}\n```\n" for name, path in shipped_recipes().items()]
    return "\n".join(parts)


def exit_codes_page() -> str:
    rows = [(0, "", "done"), (1, "INTERNAL", "a bug in tfopt: run again with `--debug` and report it")]
    found = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.TfoptError)]
    for error in sorted(found, key=lambda c: c.exit_code):
        if error is not errors.TfoptError:
            rows.append((error.exit_code, error.code.value, f"`{error.__name__}`: {_first_paragraph(error)}"))
    rows.append((errors.INTERRUPTED_EXIT_CODE, "CANCELLED", "interrupted (Ctrl-C); nothing half-written is left"))
    table = [f"| {code} | {name} | {meaning} |" for code, name, meaning in rows]
    head = ["# Exit codes\n", "| exit code | canonical code | meaning |", "|---|---|---|"]
    return "\n".join([*head, *table, ""])


MODEL_SERVER = """# tfopt model-server

`tfopt model-server` takes the place of `tensorflow_model_server`: the same flags, settings files, ports, log lines to
wait for, and what it answers on [REST](serving-rest.md) and [gRPC](serving-grpc.md). `tfopt serve` is the same
server with flags for people.

Flags are read as TensorFlow reads them: `--flag=value`, `--flag` alone for what is true or false, the last one
counts. `--flag value` does as well. Different from TensorFlow Serving:

- what is no flag is an error (exit code 2), where TensorFlow Serving names it and starts all the same;
- `--port=0` without `--grpc_socket_path` is allowed when there is a `--rest_api_port`;
- `Failed to start server. Error: ...` is printed on stdout, as TensorFlow Serving does, and the [exit
  code](exit-codes.md) says what kind of error it was (there: always 255);
- SIGTERM and Ctrl-C finish the requests under way and exit with 0, within `--tfopt_drain_seconds`; TensorFlow Serving
  ends at once, and so does this one at a second signal;
- `logging_config` of a model works, where TensorFlow Serving refuses to start: see
  [monitoring](../how-to/monitoring.md);
- `--enable_batching` reads and checks the parameters; requests are not put into batches yet, and the log says so;
- `--mixed_precision` takes `bfloat16` alone, and a `--tensorflow_session_config_file` that is none ends the start;
- there is no profiler service;
- `--use_alts_credentials` is refused: serving in the open instead would be worse.

A flag that changes nothing here is accepted, and a line in the log says why when it asks for something else than what
is so anyway. Flags that begin with `tfopt_` are tfopt's own.
"""


def model_server_page() -> str:
    return f"{MODEL_SERVER}\n{table()}\n"


def _first_paragraph(error: type) -> str:
    return " ".join((error.__doc__ or "").split("\n\n")[0].split())


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "passes.md": passes_page,
    "recipes.md": recipes_page,
    "exit-codes.md": exit_codes_page,
    "model-server.md": model_server_page,
}


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = []
    for name, page in PAGES.items():
        path, text = REFERENCE / name, NOTE + "\n" + page()
        if check and (not path.exists() or path.read_text() != text):
            stale.append(name)
        elif not check:
            path.write_text(text)
    if stale:
        print(f"stale in docs/reference: {', '.join(stale)}; run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
