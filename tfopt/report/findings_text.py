"""What each pass did and what it left alone, and why, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tfopt.passes.base import Finding
from tfopt.report.names import shortened, without_nodes

#: Nodes that a terminal shows of those that have a reason in common.
_NAMED = 3


def findings_text(found: Mapping[str, Sequence[Finding]], *, width: int | None = None) -> str:
    """A paragraph for each pass that has something to say; what holds for several nodes is said once.

    `width` is that of a terminal: long names are cut there, and of many nodes a few are named. None tells all.
    """
    lines: list[str] = []
    for step, findings in found.items():
        if findings:
            lines += [f"{step}:", *_paragraph(findings, width)]
    return "\n".join(lines) if lines else "no pass had anything to say"


def _paragraph(findings: Sequence[Finding], width: int | None) -> Iterator[str]:
    groups: dict[tuple[bool, str], list[Finding]] = {}
    for finding in findings:
        message = finding.message if width is None else without_nodes(finding.message)
        groups.setdefault((finding.done, message), []).append(finding)
    longest = None if width is None else max(20, width // 2)
    for (done, common), group in groups.items():
        message = common if len(group) > 1 else group[0].message
        yield shortened(f"  {'did' if done else 'left'} {_nodes(group, width)}: {message}", longest)


def _nodes(group: Sequence[Finding], width: int | None) -> str:
    names = [finding.node for finding in group]
    if len(names) == 1:
        return names[0]
    shown = names if width is None else names[:_NAMED]
    more = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
    return f"{len(names)} ({', '.join(shown)}{more})"
