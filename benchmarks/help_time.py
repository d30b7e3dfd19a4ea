"""Mark: `tfopt --help` answers within 0.35 s."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.report import print_table

RUNS = 15


def main() -> None:
    rows = [_row("python -c pass", ["-c", "pass"]), _row("tfopt --help", ["-m", "tfopt", "--help"])]
    print_table("Time to answer, whole processes", ["command", "median", "slowest", "runs"], rows)


def _row(name: str, arguments: list[str]) -> list[str]:
    seconds = sorted(_run(arguments) for _ in range(RUNS))
    return [name, f"{statistics.median(seconds):.3f} s", f"{seconds[-1]:.3f} s", str(RUNS)]


def _run(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
