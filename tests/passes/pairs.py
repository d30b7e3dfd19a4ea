"""Read tests/passes/<pass>.txt: what a pass makes of a graph, in the graph's text form.

    # what the case shows
    with sparsity=0.25 scope=global        options, where they are not the defaults
    graph { ... }
    =>
    graph { ... }                          or `unchanged`: the very object that went in
    left %bn: has 2 readers                findings that must be among those the pass gives (words from the message)
    done %conv: folded

For a pass over a whole model each graph has its signatures above it, the outputs in the graph's order:

    signature serving_default: image=%x, size=%n -> logits=%y

Graphs are compared as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  makes numpy know bfloat16
import yaml

from tfopt.ir.graph import Model, Signature, SignatureInput, SignatureOutput
from tfopt.ir.text import parse, to_text


@dataclass(frozen=True)
class Pair:
    step: str
    title: str
    line: int
    options: Mapping[str, Any]
    before: Model
    after: Model | None
    findings: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        return f"{self.step}:{self.line}-{re.sub(r'[^a-z0-9]+', '-', self.title.lower()).strip('-')}"


def read_pairs(path: Path) -> list[Pair]:
    text = path.read_text(encoding="utf-8")
    starts = [match.start() for match in re.finditer(r"^# ", text, re.MULTILINE)]
    blocks = zip(starts, [*starts[1:], len(text)], strict=True)
    return [_pair(path.stem, text[start:end], text.count("\n", 0, start) + 1) for start, end in blocks]


def model_text(model: Model) -> str:
    """A model in the form of the pairs."""
    return "".join(f"{line}\n" for line in _signature_lines(model)) + to_text(model.graph, None)


_MODEL = r"(?:signature [^\n]*\n)*graph .*?^\}\n"
_BLOCK = re.compile(
    rf"# (?P<title>[^\n]*)\n(?:with (?P<options>[^\n]*)\n)?(?P<before>{_MODEL})=>\n"
    rf"(?P<after>{_MODEL}|unchanged\n)(?P<findings>(?:(?:left|done) %[^\n]*\n)*)\s*",
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
        _model(found["before"]),
        None if found["after"] == "unchanged\n" else _model(found["after"]),
        tuple(findings),
    )


def _model(text: str) -> Model:
    start = text.index("graph {")
    graph = parse(text[start:])
    positions = iter(range(len(graph.outputs)))
    signatures = {}
    for key, inputs, outputs in re.findall(r"signature (\S+): (.*) -> (.*)", text[:start]):
        fed = {name: SignatureInput(node, graph[node].outputs[0]) for name, node in _entries(inputs)}
        fetched = {name: SignatureOutput(next(positions), graph[node].outputs[0]) for name, node in _entries(outputs)}
        signatures[key] = Signature(fed, fetched)
    return Model(graph, signatures)


def _entries(text: str) -> list[tuple[str, str]]:
    return re.findall(r"([^\s=]+)=%([^\s,]+)", text)


def _signature_lines(model: Model) -> Iterator[str]:
    for key, signature in model.signatures.items():
        inputs = ", ".join(f"{name}=%{entry.node}" for name, entry in signature.inputs.items())
        fetched = ((name, model.graph.outputs[entry.position]) for name, entry in signature.outputs.items())
        yield f"signature {key}: {inputs} -> {', '.join(f'{name}={value}' for name, value in fetched)}"
