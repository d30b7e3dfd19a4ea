"""Read tests/passes/<pass>.txt: what a pass makes of a graph, in the graph's text form.

    # what the case shows
    with sparsity=0.25 scope=global        options, where they are not the defaults
    graph { ... }
    =>
    graph { ... }                          or `unchanged`: the very object that went in
    left %bn: has 2 readers                findings that must be among those the pass gives (words from the message)
    done %conv: folded

Graphs are compared as text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tfopt.ir.graph import Graph
from tfopt.ir.text import parse


@dataclass(frozen=True)
class Pair:
    step: str
    title: str
    line: int
    options: Mapping[str, Any]
    before: Graph
    after: Graph | None
    findings: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        return f"{self.step}:{self.line}-{re.sub(r'[^a-z0-9]+', '-', self.title.lower()).strip('-')}"


def read_pairs(path: Path) -> list[Pair]:
    text = path.read_text(encoding="utf-8")
    starts = [match.start() for match in re.finditer(r"^# ", text, re.MULTILINE)]
    blocks = zip(starts, [*starts[1:], len(text)], strict=True)
    return [_pair(path.stem, text[start:end], text.count("\n", 0, start) + 1) for start, end in blocks]


_BLOCK = re.compile(
    r"# (?P<title>[^\n]*)\n(?:with (?P<options>[^\n]*)\n)?(?P<before>graph .*?^\}\n)=>\n"
    r"(?P<after>graph .*?^\}\n|unchanged\n)(?P<findings>(?:(?:left|done) %[^\n]*\n)*)\s*",
    re.MULTILINE | re.DOTALL,
)


def _pair(step: str, block: str, line: int) -> Pair:
    found = _BLOCK.fullmatch(block)
    assert found is not None, f"{step}.txt, line {line}: not of the form that tests/passes/pairs.py describes"
    options = dict(item.split("=", 1) for item in (found["options"] or "").split())
    findings = re.findall(r"(left|done) %(\S+): ([^\n]+)", found["findings"])
    return Pair(
        step,
        found["title"],
        line,
        {key: yaml.safe_load(value) for key, value in options.items()},
        parse(found["before"]),
        None if found["after"] == "unchanged\n" else parse(found["after"]),
        tuple(findings),
    )
