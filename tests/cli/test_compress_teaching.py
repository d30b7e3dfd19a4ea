"""`tfopt compress` with teaching, and what may go wrong in it: one line, the right exit code, nothing lost."""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests import models
from tests.cli.test_compress import Run, error_line, run

__all__ = ["run"]

STEPS = "steps:\n  - prune_magnitude: {sparsity: 0.7}\n"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "images.npz"
    np.savez(path, image=np.random.default_rng(0).standard_normal((256, 8, 8, 3)).astype(np.float32))
    return path


def recipe(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(f"{STEPS}  - {text}\n")
    return path


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def test_it_is_taught_where_the_limits_do_not_hold_and_not_where_they_do(
    run: Run, tmp_path: Path, built: Callable[..., Path], images: Path
) -> None:
    mine = recipe(tmp_path, "until_met: [distill: {steps: 60}]")
    common = ["compress", built(models.classifier), "--recipe", mine, "--data", images, "--json"]
    code, told, err = run(*common[:2], tmp_path / "strict", *common[2:], "--max-drop", "10")
    assert "distill, since agreement with the original" in err
    rows = json.loads(told)["ledger"]
    assert rows[-1]["step"] == "distill" and rows[-1]["seconds"] > 0
    assert rows[-1]["nonzeros"] == rows[-2]["nonzeros"] < rows[0]["nonzeros"]
    assert code in (0, 8)
    code, told, err = run(*common[:2], tmp_path / "loose", *common[2:], "--max-drop", "100")
    assert code == 0, err
    assert "note: distill was not run, since the limits hold" in err
    assert json.loads(told)["ledger"][-1]["seconds"] == 0.0


def test_a_student_that_does_not_fit_is_told(
    run: Run, tmp_path: Path, built: Callable[..., Path], images: Path
) -> None:
    teacher, student = built(models.classifier), built(models.linear)
    code, _, err = run("compress", teacher, tmp_path / "out", "--student", student, "--data", images)
    assert code == 2, err
    assert str(student) in error_line(err) and "input" in error_line(err)
    assert not list(tmp_path.iterdir())


def test_what_cannot_end_well_is_told_before_the_first_step(
    run: Run, tmp_path: Path, built: Callable[..., Path], images: Path
) -> None:
    np.save(tmp_path / "labels.npy", np.full(256, 9))
    mine = recipe(tmp_path, "distill: {labels_weight: 0.5}")
    common = ["compress", built(models.classifier), tmp_path / "out", "--recipe", mine]
    for more, exit_code, told in [
        ([], 6, "distill: it learns from real samples, and none were given"),
        (["--data", images, "--labels", tmp_path / "labels.npy"], 6, "label 9, but the model has 4 classes"),
    ]:
        code, _, err = run(*common, *more)
        assert code == exit_code, err
        assert told in error_line(err)
        assert "prune_magnitude" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.npy", "mine.yaml"]


def test_a_loss_that_is_no_number_ends_the_training_and_keeps_the_best(
    run: Run, tmp_path: Path, built: Callable[..., Path], images: Path
) -> None:
    mine = recipe(tmp_path, "distill: {steps: 40, learning_rate: 1.0e+30}")
    flags = ["--recipe", mine, "--data", images, "--max-drop", "100"]
    code, _, err = run("compress", built(models.classifier), tmp_path / "out", *flags)
    assert code == 0, err
    note = next(line for line in err.splitlines() if line.startswith("note: distill: "))
    assert "the loss of step 2 was nan: it was stopped there, try a lower learning_rate" in note


def start(arguments: Sequence[object], **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tfopt", "compress", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return] # keyword options differ by overload


def test_a_killed_run_goes_on_to_the_very_result(
    run: Run, tmp_path: Path, built: Callable[..., Path], images: Path
) -> None:
    saved = tmp_path / "saved"
    options = f"steps: 3000, patience: null, checkpoint: {saved}"
    mine = recipe(tmp_path, f"distill: {{{options}}}")
    arguments = [built(models.classifier), tmp_path / "out", "--recipe", mine, "--data", images, "--max-drop", "100"]
    process = start(arguments)
    written: set[int] = set()
    while len(written) < 2 and process.poll() is None:  # the first is from before the first step
        written |= {path.stat().st_mtime_ns for path in saved.glob("training.npz")}
        time.sleep(0.01)
    process.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL
    process.communicate()
    assert not (tmp_path / "out").exists()

    code, _, err = run("compress", *arguments)
    assert code == 0, err
    behind = re.search(r"going on behind step (\d+)", err)
    assert behind is not None and 0 < int(behind[1]) < 3000, err

    mine.write_text(mine.read_text().replace(str(saved), str(tmp_path / "other")))
    code, _, err = run("compress", arguments[0], tmp_path / "whole", *arguments[2:])
    assert code == 0, err
    assert "going on" not in err
    assert (tmp_path / "out" / "saved_model.pb").read_bytes() == (tmp_path / "whole" / "saved_model.pb").read_bytes()
    weights = sorted((tmp_path / "out" / "variables").glob("*"))
    assert all(one.read_bytes() == (tmp_path / "whole" / "variables" / one.name).read_bytes() for one in weights)


def test_ctrl_c_while_it_is_taught_leaves_nothing_but_the_checkpoint(
    tmp_path: Path, built: Callable[..., Path], images: Path
) -> None:
    mine = recipe(tmp_path, f"distill: {{seconds: 300, patience: null, checkpoint: {tmp_path / 'saved'}}}")
    process = start([built(models.classifier), tmp_path / "out", "--recipe", mine, "--data", images])
    assert process.stderr is not None
    next(line for line in process.stderr if "] step " in line)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert last_line(err) == "tfopt: interrupted"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.yaml", "saved"]
    assert [path.name for path in (tmp_path / "saved").iterdir()] == ["training.npz"]


def test_a_full_disk_at_a_checkpoint_is_told(tmp_path: Path, built: Callable[..., Path], images: Path) -> None:
    """A limit on file sizes stands for the full disk, as in test_compress_failures.py."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    mine = recipe(tmp_path, f"distill: {{steps: 60, checkpoint: {tmp_path / 'saved'}}}")
    out = tmp_path / "out"
    process = start([built(models.classifier), out, "--recipe", mine, "--data", images], preexec_fn=limit)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 10, err
    assert "training.npz.new" in last_line(err) and "cannot be written" in last_line(err)
    assert not out.exists() and not list((tmp_path / "saved").iterdir())
