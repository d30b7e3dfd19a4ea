"""The help of `tfopt model-server`, and its page in the reference, from the table of flags."""

from __future__ import annotations

from textwrap import wrap

from tfopt.serve.settings.flags import FLAGS, Flag, Value

_WIDTH = 100
_INDENT = " " * 6

_INTRODUCTION = """\
Usage: tfopt model-server --model_base_path=PATH [--flag=value ...]

Serve models as tensorflow_model_server does, with its flags: an existing deployment changes one word.

`--flag` alone turns on what is true or false. A flag that changes nothing here is accepted, and a warning in the log
says why. An unknown one is an error.

Examples:
  tfopt model-server --model_name=half_plus_two --model_base_path=/models/half_plus_two --rest_api_port=8501
  tfopt model-server --port=8500 --rest_api_port=8501 --model_config_file=/models/models.config
"""


def help_text() -> str:
    own = [flag for flag in FLAGS if flag.is_own]
    theirs = [flag for flag in FLAGS if not flag.is_own]
    parts = [_INTRODUCTION, "Flags of tensorflow_model_server:", *map(_entry, theirs)]
    return "\n".join([*parts, "", "Flags of tfopt's own:", *map(_entry, own), ""])


def table() -> str:
    """Markdown: every flag, its type, its default, what it does or why it does nothing."""
    rows = [f"| `--{f.name}` | {f.kind} | {_default(f)} | {f.help} | {_effect(f)} |" for f in FLAGS]
    return "\n".join(["| flag | type | default | | here |", "|---|---|---|---|---|", *rows])


def _entry(flag: Flag) -> str:
    text = f"{flag.help} No effect: {flag.idle}." if flag.idle else flag.help
    lines = wrap(f"{text} Default: {shown(flag.default) or 'none'}.", _WIDTH - len(_INDENT))
    return "\n".join([f"  --{flag.name}", *(_INDENT + line for line in lines)])


def _default(flag: Flag) -> str:
    return f"`{shown(flag.default)}`" if flag.default != "" else ""


def _effect(flag: Flag) -> str:
    return f"no effect: {flag.idle}" if flag.idle else ""


def shown(value: Value) -> str:
    """As it is written on the command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)
