"""Where samples come from, as `--data` names it: PLACE[,OPTION=VALUE...], and SIGNATURE= before it where needed.

| place | what it is |
|---|---|
| `samples.npz`, `samples.npy` | arrays by input name; one array for a model with one input |
| `train.tfrecord`, `train-*.tfrecord.gz`, a directory of them | tf.train.Example, features by input name |
| `tf_serving_warmup_requests` | TensorFlow Serving's recorded requests |
| `photos/`, `cat.jpg` | images, in the order of their paths |
| `module.py:function`, `package.module:function` | what the function returns or yields |

Options of every place: `limit=N` takes the first N. The others are those of images (`tfopt.data.images`) and of
examples (`tfopt.data.examples`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tfopt.data.images import IMAGE_OPTIONS
from tfopt.errors import InvalidSamples, NotFound, UsageError, nearest

_OPTIONS = ("limit", "map", *IMAGE_OPTIONS)


@dataclass(frozen=True, slots=True)
class Source:
    """One place with its options; `text` is how it was written."""

    text: str
    place: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return Path(self.place)

    @property
    def name(self) -> str:
        return self.path.name or self.place

    @property
    def limit(self) -> int | None:
        """Raises InvalidSamples when it is no positive number."""
        text = self.options.get("limit")
        if text is None:
            return None
        if not text.isdecimal() or int(text) == 0:
            raise InvalidSamples(f"limit={text}: not a number of samples", where=self.text)
        return int(text)

    def at_most(self, count: int | None) -> Source:
        """The same place, of which no more than the first `count` samples are wanted. Raises InvalidSamples."""
        if count is None or (self.limit is not None and self.limit <= count):
            return self
        return replace(self, options={**self.options, "limit": str(count)})

    def check_options(self, *known: str) -> None:
        """Raise InvalidSamples for an option that means nothing for this kind of place."""
        for name in self.options:
            if name not in ("limit", *known):
                hint = f"it takes {', '.join(('limit', *known))}"
                raise InvalidSamples(
                    f"the option {name} does not go with this kind of samples", where=self.text, hint=hint
                )


def parse_source(text: str | Path) -> Source:
    """A path that exists is taken as it is, commas and all. Raises InvalidSamples for an option that nobody knows."""
    whole = str(text)
    if "," not in whole or Path(whole).exists():
        return Source(whole, whole)
    place, *parts = whole.split(",")
    options = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or name not in _OPTIONS:
            hint = nearest(name, _OPTIONS) or f"options: {', '.join(_OPTIONS)}"
            raise InvalidSamples(f"{part!r} is no option of samples (NAME=VALUE)", where=whole, hint=hint)
        options[name] = value
    return Source(whole, place, options)


def split_name(source: str) -> tuple[str | None, str]:
    """The signature that stands before a place, or None, and the place. A path that exists is taken as it is."""
    key, equals, place = source.partition("=")
    named = bool(equals) and not Path(source).exists() and "," not in key
    return (key, place) if named else (None, source)


def by_signature(sources: Iterable[str | Path], signatures: Collection[str], main: str) -> dict[str, str]:
    """Each source by the signature it is for: `score=scores.npz` for `score`, one without a name for `main`.

    Raises UsageError for two sources of one signature, NotFound for a name that is none.
    """
    found: dict[str, str] = {}
    for source in map(str, sources):
        key, place = split_name(source)
        if key is not None and key not in signatures:
            hint = nearest(key, signatures) or f"signatures: {', '.join(signatures)}"
            raise NotFound(f"the model has no signature {key}", where=f"--data {source}", hint=hint)
        target = main if key is None else key
        if target in found:
            what = f"two sources of samples for the signature {target}"
            raise UsageError(what, where=f"--data {source}", hint="name a signature: --data SIGNATURE=SOURCE")
        found[target] = place
    return found
