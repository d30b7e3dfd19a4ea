"""A wrong path is told at once: before TensorFlow is imported, and before minutes of work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tfopt

CNN = str(Path(tfopt.__file__).parent / "demo" / "fashion_cnn")

PROBE = """
import sys
from tfopt.cli.main import main
status = main(sys.argv[1:])
assert "tensorflow" not in sys.modules
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["compress", "absent"], 11, "absent: there is no such file or directory"),
        (["inspect", "absent"], 11, "absent: there is no such file or directory"),
        (["inspect", "absent", "--graph"], 11, "absent: there is no such file or directory"),
        (["inspect", "absent.tflite"], 11, "absent.tflite: there is no such file or directory"),
        (["bench", "absent"], 11, "absent: there is no such file or directory"),
        (["publish", "absent", "base/name"], 11, "absent: there is no such file or directory"),
        (["compress", "/"], 3, "/: holds no saved_model.pb"),
        (["compress", CNN, "out", "--data", "absent.npz"], 6, "absent.npz: no such file"),
        (["compress", CNN, "out", "--data", "serving_default=absent.npz"], 6, "absent.npz: no such file"),
        (["compress", CNN, "out", "--data", "absent.py:feed"], 6, "absent.py: no such file"),
        (["compress", CNN, "out", "--data", CNN, "--labels", "absent.npy"], 6, "absent.npy: no such file"),
        (["compress", CNN, "out", "--labels", CNN], 2, "--labels needs --data"),
        (["compress", CNN, "out", "--recipe", "absent.yaml"], 7, "absent.yaml"),
        (["compress", CNN, "/dev/null/out"], 10, "a part of this path is a file"),
        (["compress", CNN, "out", "--save-recipe", "absent/recipe.yaml"], 10, "make the directory first"),
        (["bench", CNN, "--data", "absent.npz"], 6, "absent.npz: no such file"),
        (["bench", CNN, "--out", "absent/report.json"], 10, "make the directory first"),
        (["bench", CNN, "--out", CNN], 10, "cannot be written: Is a directory"),
    ],
)
def test_it_is_told_before_tensorflow_is_imported(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())
