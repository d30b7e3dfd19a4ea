"""Mark: 50 versions in 60 s of load on REST and gRPC, and no answer fails, is lost or wrong; the p99 latency meanwhile
stays under twice the quiet one; memory is flat within 5 % over 100 swaps.

`tfopt model-server`'s and `tfopt serve`'s versions are one code; this runs `tfopt serve` in a process of its own and a
client process for each face. Each version multiplies by its own number, so that an answer tells who gave it: it is
wrong unless that version was the newest at some moment while the request was under way. Memory is the process's
resident set, after every tenth swap.

    python -m benchmarks.serve_swaps [seconds] [swaps]
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import print_table
from benchmarks.serve_load import MODEL, WIDTH
from tfopt.store import Store

RATE = 100.0
QUIET = 20.0
#: Seconds after which the newest version must have been taken up, the server's look for new ones included.
TAKEN_UP = 5.0


@dataclass(frozen=True)
class Swap:
    """When version `number`, which multiplies by `factor`, was put in place and when it answered first."""

    factor: int
    published: float
    seen: float


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    swaps = int(sys.argv[2]) if len(sys.argv) > 2 else 50
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for kind, templates in _templates(Path(directory), max(swaps, 100)).items():
            rows += _measured(kind, templates, Path(directory) / f"served-{kind}", seconds, swaps)
            print(f"{kind}: done", file=sys.stderr)
    print_table(
        f"{swaps} versions in {seconds:g} s, {RATE:g} requests a second on each face",
        ["version, face", "requests", "failed", "wrong", "p50 quiet / then", "p99 quiet / then", "ratio of p99"],
        [row for row in rows if len(row) == 7],
    )
    print_table(
        "Resident memory over 100 swaps",
        ["version", "after 10 swaps", "largest after", "after 100", "largest / after 10"],
        [row for row in rows if len(row) == 5],
    )


def _templates(directory: Path, count: int) -> dict[str, list[Path]]:
    """Version directories that multiply by 1, 2, 3, ... by runtime."""
    import tensorflow as tf

    found: dict[str, list[Path]] = {"litert": [], "tensorflow": []}
    for factor in range(1, count + 2):
        module = tf.Module()
        module.weights = tf.Variable(np.full((WIDTH, 256), factor / 256, np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None, WIDTH], tf.float32, "x")])
        def serve(x: Any, module: Any = module) -> dict[str, Any]:
            return {"y": tf.reduce_sum(x @ module.weights, axis=1)}

        saved = directory / "tensorflow" / str(factor)
        tf.saved_model.save(module, str(saved), signatures=serve)
        lite = directory / "litert" / str(factor) / "model.tflite"
        lite.parent.mkdir(parents=True)
        lite.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(saved)).convert())
        found["tensorflow"].append(saved)
        found["litert"].append(lite.parent)
    return found


def _measured(kind: str, templates: list[Path], base: Path, seconds: float, swaps: int) -> Iterator[list[str]]:
    store = Store(base / MODEL)
    _publish(store, templates[0])
    with _server(base / MODEL) as (process, told):
        faces = {"rest": told["url"].removeprefix("http://"), "grpc": told["grpc"]}
        quiet = _under_load(faces, QUIET, lambda: [])[0]
        done: list[Swap] = []
        loaded, done = _under_load(faces, seconds, lambda: _swap(store, templates, faces["rest"], seconds, swaps))
        for face in faces:
            yield [f"{kind}, {face}", *_judged(quiet[face], loaded[face], done)]
        yield [kind, *_memory(store, templates, faces["rest"], process.pid)]


def _under_load(faces: dict[str, str], seconds: float, meanwhile: Any) -> tuple[dict[str, list[Any]], Any]:
    command = [sys.executable, "-m", "benchmarks.serve_load"]
    clients = {
        face: subprocess.Popen([*command, face, address, str(RATE), str(seconds)], stdout=subprocess.PIPE)
        for face, address in faces.items()
    }
    time.sleep(1.5)  # they import numpy and connect
    result = meanwhile()
    return {face: json.loads(client.communicate()[0]) for face, client in clients.items()}, result


def _swap(store: Store, templates: list[Path], address: str, seconds: float, swaps: int) -> list[Swap]:
    done = [Swap(1, 0.0, 0.0)]
    start = time.monotonic()
    for number in range(1, swaps + 1):
        time.sleep(max(0.0, start + number * (seconds - 3) / swaps - time.monotonic()))
        published = time.time()
        _publish(store, templates[number])
        done.append(Swap(number + 1, published, _await(address, number + 1)))
    return done


def _publish(store: Store, template: Path) -> None:
    with store.stage() as staged:
        shutil.copytree(template, staged, dirs_exist_ok=True)
        store.commit(staged)
    for entry in store.versions()[:-2]:
        store.delete(entry.number, force=True)


def _await(address: str, factor: int) -> float:
    """When the newest version answers first."""
    import asyncio

    from benchmarks.serve_load import ROW, rest

    async def wait() -> float:
        ask, close = await rest(address)
        deadline = time.monotonic() + TAKEN_UP
        while round(await ask() / sum(ROW)) != factor:
            if time.monotonic() > deadline:
                raise RuntimeError(f"version {factor} was not taken up in {TAKEN_UP} s")
            await asyncio.sleep(0.02)
        await close()
        return time.time()

    return asyncio.run(wait())


def _judged(quiet: list[Any], loaded: list[Any], swaps: list[Swap]) -> list[str]:
    failed = [row for row in (*quiet, *loaded) if row[3] is not None]
    wrong = [row for row in loaded if row[3] is None and not _right(row, swaps)]
    for row in (*failed[:3], *wrong[:3]):
        print(f"a bad answer: {row}", file=sys.stderr)
    before, then = (np.array([row[1] for row in rows if row[3] is None]) * 1e3 for rows in (quiet, loaded))
    p50, p99 = ((np.percentile(before, q), np.percentile(then, q)) for q in (50, 99))
    return [
        str(len(loaded)),
        str(len(failed)),
        str(len(wrong)),
        f"{p50[0]:.2f} / {p50[1]:.2f} ms",
        f"{p99[0]:.2f} / {p99[1]:.2f} ms",
        f"{p99[1] / p99[0]:.2f}x",
    ]


def _right(row: list[Any], swaps: list[Swap]) -> bool:
    """Was the version that answered the newest one at some moment of the request? It may be from when it was put in
    place, and until its successor had surely been taken up."""
    left, latency, factor = row[0], row[1], round(row[2])
    if abs(row[2] - factor) > 1e-3 or not 1 <= factor <= len(swaps):
        return False
    until = swaps[factor].seen if factor < len(swaps) else float("inf")
    return swaps[factor - 1].published <= left + latency and left <= until


def _memory(store: Store, templates: list[Path], address: str, pid: int) -> list[str]:
    found = []
    for number in range(100):
        factor = number % (len(templates) - 1) + 1
        _publish(store, templates[factor])
        _await(address, factor + 1)
        if number % 10 == 9:
            time.sleep(1)
            found.append(_resident(pid))
    after = found[1:]
    return [*(f"{each / 1e6:.1f} MB" for each in (found[0], max(after), found[-1])), f"{max(after) / found[0]:.3f}x"]


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Rss:"))) * 1024


@contextmanager
def _server(path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    command = [sys.executable, "-m", "tfopt", "serve", str(path), "--port", "0", "--grpc-port", "0", "--json"]
    command += ["--poll-interval", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
