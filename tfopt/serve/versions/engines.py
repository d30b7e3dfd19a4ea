"""What the runtimes of a server are opened with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.runtimes.base import Runtime
from tfopt.serve.versions.artifacts import Candidate
from tfopt.serve.versions.heavy import import_heavy


@dataclass(frozen=True)
class Engines:
    """`cores` to compute with. TensorFlow's threads within an op and beside each other are as many, unless told;
    `session_config` is a file with a ConfigProto as text, whose threads are overridden; `tags` name the graph of a
    SavedModel; with `bfloat16` it computes in that where it can. `interpreters` of LiteRT run beside each other in each
    version, by default one a core.
    """

    cores: int
    tags: tuple[str, ...] = ("serve",)
    intra_op: int | None = None
    inter_op: int | None = None
    session_config: Path | None = None
    interpreters: int | None = None
    bfloat16: bool = False

    def open(self, candidate: Candidate, *, under_contract: bool = False) -> Runtime:
        """Raises InvalidModel, UnsupportedModel, UnsafeModel, UnmetRequirement, and MissingExtra for a runtime that is
        not installed. What stands under the contract of a SavedModel takes the shapes that this was tried with."""
        if candidate.engine == "tensorflow":
            return self._tensorflow(candidate)
        if candidate.engine == "onnxruntime":
            return self._onnx(candidate.path)
        return self._litert(candidate.path, under_contract)

    def _tensorflow(self, candidate: Candidate) -> Runtime:
        import_heavy("tfopt.runtimes.tensorflow")
        from tfopt.runtimes.tensorflow import (
            SessionRuntime,
            SessionThreads,
            TensorFlowRuntime,
            read_session_config,
            with_bfloat16,
        )

        threads = SessionThreads(self.intra_op or self.cores, self.inter_op or self.cores)
        config = None if self.session_config is None else read_session_config(self.session_config)
        if self.bfloat16:
            config = with_bfloat16(config)
        if candidate.kind == "graph_def":
            from tfopt.runtimes.frozen_graph import FrozenGraphRuntime

            runtime: SessionRuntime = FrozenGraphRuntime(candidate.path, threads=threads, config=config)
        else:
            runtime = TensorFlowRuntime(candidate.path, threads=threads, tags=self.tags, config=config)
        runtime.keep_short_runs()
        # Of the others it would hold the weights once more for each, whether or not anybody asks.
        if DEFAULT_SIGNATURE in runtime.signatures:
            runtime.prepare(DEFAULT_SIGNATURE)
        return runtime

    def _onnx(self, path: Path) -> Runtime:
        from tfopt.runtimes.onnxruntime import ONNXRuntime

        # As for LiteRT; threads within a run would spin on the cores of the runs beside it.
        return ONNXRuntime(path, threads=1, at_once=self.cores, in_memory=True)

    def _litert(self, path: Path, under_contract: bool) -> Runtime:
        from tfopt.runtimes.litert import LiteRTRuntime

        # One single-threaded interpreter a core serves more requests a second than one interpreter on all cores.
        count = self.interpreters or self.cores
        return LiteRTRuntime(path, threads=1, interpreters=count, enforce_shapes=under_contract)
