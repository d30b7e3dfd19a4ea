"""Mark: repair and distillation of ResNet50 with 512 samples stay under 8 GB.

    python -m benchmarks.structure_memory

Each is a process of its own that runs `tfopt.compress` from the model on disk to the proven result; the figure is the
most memory that it ever held (ru_maxrss). The weights and the 1,024 samples are random; tfopt keeps half of these for
its gate, and the gate is opened wide. Training of a few steps holds what training of many does.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np

import tfopt
from benchmarks.models import resnet50
from benchmarks.report import print_table
from benchmarks.structure_quality import WIDE
from benchmarks.structure_trials import narrower
from tfopt.recipe import parse_recipe

GIGABYTES: Final = 8.0
SAMPLES: Final = 1024
CUT: Final = "prune_channels: {target_macs: 0.5, score: norm}"
STEPS: Final = {
    "cut alone": (CUT,),
    "cut by what its readers lose": narrower(0.5),
    "cut, repaired": (CUT, "repair"),
    "cut, taught for 20 steps": (CUT, "distill: {steps: 20, batch_size: 32}"),
}


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        samples = Path(directory, "samples.npy")
        held = np.lib.format.open_memmap(samples, "w+", np.float32, (SAMPLES, 224, 224, 3))
        rng = np.random.default_rng(0)
        for row in held:
            row[:] = rng.uniform(-1, 1, row.shape)
        held.flush()
        for number, what in enumerate(STEPS):
            rows.append(_row(what, samples, Path(directory, str(number))))
            print("; ".join(rows[-1]), file=sys.stderr, flush=True)
    headings = ["what", "most memory", "minutes", "mark", "met"]
    print_table("Memory of compressing ResNet50 with 512 samples", headings, rows)


def _row(what: str, samples: Path, out: Path) -> list[str]:
    started = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.structure_memory", what, str(samples), str(out)]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
    gigabytes = int(done.stdout) * 1024 / 1e9
    minutes = (time.monotonic() - started) / 60
    met = "yes" if gigabytes < GIGABYTES else "no"
    return [what, f"{gigabytes:.2f} GB", f"{minutes:.1f}", f"< {GIGABYTES:.0f} GB", met]


def child(what: str, samples: str, out: str) -> None:
    """Prints the kilobytes that this process held at most."""
    text = "\n".join(["name: memory", "steps:", "  - include: exact", *(f"  - {step}" for step in STEPS[what])])
    tfopt.compress(resnet50(), Path(out), recipe=parse_recipe(text, what), data=samples, **WIDE)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    main() if len(sys.argv) == 1 else child(*sys.argv[1:])
