"""Run an artifact in a process of its own, where it may crash: `python -m tfopt.runtimes.trial ARTIFACT REQUESTS`.

REQUESTS is a file of warmup requests. Each is run alone, and then all side by side: kernels that write into what
they read have ended the process when something else still read it.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tfopt.formats.serving.warmup import WarmupRequest, read_warmup
from tfopt.processes import end_with_parent
from tfopt.runtimes.load import open_artifact

_SIDE_BY_SIDE: Final = 4


def main() -> None:
    end_with_parent()
    artifact, requests = Path(sys.argv[1]), read_warmup(Path(sys.argv[2]))
    with open_artifact(artifact) as runtime:

        def run(request: WarmupRequest) -> None:
            runtime.run(request.signature, request.inputs)

        for request in requests:
            run(request)
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            list(pool.map(run, requests * _SIDE_BY_SIDE))


if __name__ == "__main__":
    main()
