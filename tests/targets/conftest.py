from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Each importing of TensorFlow costs seconds, so one other process does all that needs one.
_SCRIPT = """
import resource, signal, sys
from pathlib import Path
from tests.targets import test_onnx, test_saved_model, test_tflite
from tfopt.errors import OutputError
out = Path(sys.argv[1])
test_saved_model.write_all(out / "saved_models")
test_tflite.write_all(out / "tflite")
test_onnx.write_all(out / "onnx")
# A limit on file size is refused by the same system calls as a full disk, and needs no privileges.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
for part in ("constants", "variables"):
    try:
        test_saved_model.write_layers(out / "full" / part, variables=part == "variables")
    except OutputError as error:
        print(f"{part}: {error}")
"""


@pytest.fixture(scope="package")
def other_process(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """What another process with another hash seed wrote, and its lines about the disk that it was made to find full."""
    out = tmp_path_factory.mktemp("other-process")
    environment = {**os.environ, "PYTHONHASHSEED": "4", "TMPDIR": str(out)}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(out)], capture_output=True, text=True, cwd=root, env=environment
    )
    assert done.returncode == 0, done.stderr
    return out, done.stdout.splitlines()


def tree(directory: Path) -> dict[str, bytes]:
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}
