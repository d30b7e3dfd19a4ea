"""Mark: the same input, recipe, samples and seed give byte-identical artifacts, from separate processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import tfopt
from benchmarks.report import print_table
from tfopt.store.digest import digest_files

DEMO = Path(tfopt.__file__).parent / "demo"
MANIFEST = "assets.extra/tfopt.json"


def main() -> None:
    rows = []
    for recipe in ("exact", "int8", "prune-int8"):
        with tempfile.TemporaryDirectory() as directory:
            first, second = (_artifacts(recipe, Path(directory) / seed, seed) for seed in ("1", "2"))
        differing = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
        rows.append([recipe, str(len(first)), ", ".join(differing) or "none"])
    print_table("Two runs in two processes", ["recipe", "files", "files that differ"], rows)


def _artifacts(recipe: str, out: Path, hash_seed: str) -> dict[str, str]:
    """Digests of a fresh run's files; the manifest holds seconds, so it is left out."""
    command = [sys.executable, "-m", "tfopt", "compress", str(DEMO / "fashion_cnn"), str(out), "--recipe", recipe]
    command += ["--data", str(DEMO / "fashion_mnist.npz"), "--max-drop", "100"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return {name: digest for name, digest in digest_files(out).items() if name != MANIFEST}


if __name__ == "__main__":
    main()
