"""`tfopt versions`: what is in service, and what was or will be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tfopt.store import Store

app = typer.Typer(
    help="List the versions of a published model; roll back, promote, label and delete them.",
    rich_markup_mode=None,
    epilog="Servers that poll the base path, tfopt's and TensorFlow Serving, follow by themselves.",
)

Base = Annotated[Path, typer.Argument(metavar="BASE/NAME", help="The model's base path.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def list_(base: Base, json: Json = False) -> None:
    """List all versions: the latest is what servers serve, held ones are out of service.

    \b
    Examples:
      tfopt versions list models/cnn
      tfopt versions list models/cnn --json
    """
    from tfopt.store import Store

    _show(Store(base), json)


def promote(
    base: Base, number: Annotated[int, typer.Argument(help="The version to serve.")], json: Json = False
) -> None:
    """Make a version the latest: bring it back if it is held, and hold every higher one.

    \b
    Examples:
      tfopt versions promote models/cnn 3
    """
    from tfopt.store import Store

    store = Store(base)
    store.promote(number)
    _warn_of_labels(store)
    _show(store, json)


def rollback(base: Base, json: Json = False) -> None:
    """Hold the latest version, so that the one before it is served again.

    \b
    Examples:
      tfopt versions rollback models/cnn
    """
    from tfopt.store import Store

    store = Store(base)
    store.rollback()
    _warn_of_labels(store)
    _show(store, json)


def label(
    base: Base,
    name: Annotated[str, typer.Argument(metavar="LABEL", help="Such as stable or canary.")],
    number: Annotated[int | None, typer.Argument(help="The version that it points at.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the label.")] = False,
    json: Json = False,
) -> None:
    """Let a label point at a version in service, or remove it.

    \b
    Examples:
      tfopt versions label models/cnn stable 3
      tfopt versions label models/cnn canary --remove
    """
    from tfopt.errors import UsageError
    from tfopt.store import Store

    if remove == (number is not None):
        raise UsageError("give the version that the label points at, or --remove")
    store = Store(base)
    store.label(name, number)
    _show(store, json)


def delete(
    base: Base,
    numbers: Annotated[list[int] | None, typer.Argument(help="The versions to delete.")] = None,
    keep: Annotated[
        int | None,
        typer.Option(metavar="N", help="Delete all but the newest N; the latest and labelled ones stay too."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Delete even the latest or a labelled version.")] = False,
    json: Json = False,
) -> None:
    """Delete versions for good. Their numbers are not given again.

    \b
    Examples:
      tfopt versions delete models/cnn 1 2
      tfopt versions delete models/cnn --keep 3
    """
    from tfopt.cli.output import say
    from tfopt.errors import UsageError
    from tfopt.store import Store

    if (keep is None) == (not numbers) or (keep is not None and force):
        raise UsageError("give the versions to delete, with --force if need be, or --keep N")
    store = Store(base)
    deleted = store.keep_newest(keep) if keep is not None else store.delete(*numbers or (), force=force)
    say(f"deleted: {', '.join(map(str, deleted)) or 'none'}")
    _show(store, json, deleted=list(deleted))


for _command in (list_, promote, rollback, label, delete):
    # Given as it is: typer would cut a summary that it takes from the docstring.
    app.command(_command.__name__.rstrip("_"), short_help=(_command.__doc__ or "").partition("\n")[0])(_command)


def _show(store: Store, json: bool, **more: Any) -> None:
    """The state after the command: the same document for all of them."""
    from tfopt.cli.output import emit_json, out, say
    from tfopt.report.versions_table import to_dict, unmet_notes, versions_table

    latest, versions = store.latest(), store.versions()
    if not versions and (models := _models_below(store.base)):
        say(f"note: there are no versions here, but models that have some: {', '.join(models)}")
    if json:
        emit_json({**to_dict(store.base, latest, versions), **more})
    else:
        out().print(versions_table(latest, versions))
        for note in unmet_notes(versions):
            say(f"note: {note}")


def _models_below(base: Path) -> list[str]:
    """Base paths in a directory that is none itself."""
    from tfopt.store import Store

    return [str(path) for path in sorted(base.iterdir()) if path.is_dir() and Store(path).versions()]


def _warn_of_labels(store: Store) -> None:
    from tfopt.cli.output import say

    for entry in store.versions():
        if entry.held and entry.labels:
            say(f"note: {', '.join(entry.labels)} still points at version {entry.number}, which is out of service")
