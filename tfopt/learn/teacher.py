"""Teaching: which samples of which signatures a student is trained on, by whom, and what is said of it in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tfopt.data import Samples
from tfopt.errors import InvalidSamples, UsageError
from tfopt.ir.frames import unmasked
from tfopt.ir.graph import Graph, Model
from tfopt.ir.types import Tensor
from tfopt.learn.lesson import Lesson, Part, Trained
from tfopt.learn.lifting import Weight, trainable
from tfopt.learn.objective import hints, targets
from tfopt.learn.students import matched
from tfopt.learn.training import train
from tfopt.passes.base import Finding
from tfopt.passes.needs.teaching import FEWEST, Aim, Plan, Schedule, Taught, check_plan
from tfopt.passes.weights.held import with_tensors
from tfopt.targets.fake_quant import with_fake_quant
from tfopt.words import Tell, counted

#: One of so many samples is kept to see how far the training has come, up to this number.
_KEPT, _MOST_KEPT = 8, 500
#: Weights left alone that findings name.
_NAMED: Final = 20


@dataclass(frozen=True, eq=False)
class SampleTeaching:
    """`passes.teaching.Teaching` over samples by signature. `labels` are the classes of the `main` signature's; `read`
    reads a model of the user's own."""

    samples: Mapping[str, Samples]
    main: str
    read: Callable[[Path], Model]
    labels: NDArray[np.int64] | None = None
    tell: Tell = field(default=lambda _: None)

    def teach(self, student: Model, teacher: Model, plan: Plan, aim: Aim, schedule: Schedule | None = None) -> Taught:
        """As `Teaching.teach` says."""
        check_plan(plan, aim)
        found = trainable(unmasked(student.graph))
        if not found.weights:
            reasons = "; ".join(sorted({finding.message for finding in found.left}))
            raise UsageError(f"the model has no weights that can be trained{': ' * bool(reasons)}{reasons}")
        lesson = self._lesson(student, teacher, found.weights, plan, aim)
        trained = train(lesson, plan, schedule=schedule, tell=self.tell)
        model = student if trained.best == 0 else student.with_graph(_with(student.graph, found.weights, trained))
        kept = sum(part.kept.count for part in lesson.parts)
        findings = (_told(trained, kept, plan, schedule), *found.left[:_NAMED])
        return Taught(model, trained.before, trained.after, trained.steps, findings)

    def student(self, path: str, like: Model) -> tuple[Model, tuple[Finding, ...]]:
        """As `Teaching.student` says."""
        return matched(self.read(Path(path)), like, path)

    def _lesson(self, student: Model, teacher: Model, weights: tuple[Weight, ...], plan: Plan, aim: Aim) -> Lesson:
        rounded = with_fake_quant(student.with_graph(unmasked(student.graph)))
        original = with_fake_quant(teacher.with_graph(unmasked(teacher.graph)))
        parts = tuple(self._parts(rounded, original, plan, aim))
        if not parts:
            hint = "give some hundred as --data: a model cannot be taught by random inputs"
            raise InvalidSamples("there are no samples to teach with", hint=hint)
        return Lesson(rounded, original, weights, parts, aim)

    def _parts(self, student: Model, teacher: Model, plan: Plan, aim: Aim) -> Iterator[Part]:
        for key in _distinct(student, self.samples):
            samples = self.samples[key]
            if samples.count < FEWEST:
                what = f"the signature {key} has {counted(samples.count, 'sample')} to teach with"
                raise InvalidSamples(what, hint=f"give {FEWEST} or more, better some thousand; none needs a label")
            if plan.replicas > 1 and (samples.batching.size or samples.batching.whole):
                raise UsageError(f"replicas share a batch, and that of the signature {key} is of a fixed size")
            within = hints(student, teacher, key, aim.hints) if aim.hints_weight else ()
            wanted = (*targets(student, teacher, key, aim.loss), *within)
            taught, kept = _parted(samples, plan.seed)
            labels = self.labels if samples is self.samples.get(self.main) and aim.labels_weight else None
            yield Part(
                key,
                wanted,
                samples.take(taught),
                samples.take(kept),
                None if labels is None else labels[taught],
            )


def _parted(samples: Samples, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Those to train on, and those to see by how far it has come; each a whole number of blocks."""
    block = samples.batching.block
    blocks = np.random.default_rng([seed, 2]).permutation(samples.count // block)
    kept = max(1, min(len(blocks) // _KEPT, _MOST_KEPT // block))
    places = (blocks[:, None] * block + np.arange(block)).astype(np.int64)
    return np.sort(places[kept:].ravel()), np.sort(places[:kept].ravel())


def _distinct(model: Model, samples: Mapping[str, Samples]) -> list[str]:
    """One of each group of signatures that compute the same of the same real samples."""
    found: dict[object, str] = {}
    for key, signature in model.signatures.items():
        if key in samples and samples[key].source != "synthetic":
            fed = sorted((name, entry.node) for name, entry in signature.inputs.items())
            made = sorted((name, model.graph.outputs[entry.position]) for name, entry in signature.outputs.items())
            found.setdefault((id(samples[key]), *fed, *made), key)
    return list(found.values())


def _with(graph: Graph, weights: tuple[Weight, ...], trained: Trained) -> Graph:
    """The graph, and every function in it, with what was trained; a payload that was one is one."""
    tensors = {id(weight.tensor): Tensor(trained.weights[weight.name], weight.tensor.dtype) for weight in weights}
    return with_tensors(graph, tensors)


def _told(trained: Trained, kept: int, plan: Plan, schedule: Schedule | None) -> Finding:
    before, after = trained.before, trained.after
    went = (
        f"loss {before.loss:.3g} -> {after.loss:.3g}, agreement {before.agreement:.2%} -> {after.agreement:.2%} on "
        f"{counted(kept, 'sample')} kept from training; {counted(trained.steps, 'step')} of {plan.batch_size} in "
        f"{trained.seconds:.0f} s, best behind step {trained.best}; {trained.ended}"
    )
    if trained.failed and not trained.steps:
        why = "one of the two models answers some samples with what is no number: leave these out"
        return Finding("training", False, f"{trained.ended}, so there was none: {why}")
    if trained.failed:
        return Finding("training", False, f"{went}: it was stopped there, try a lower learning_rate")
    if trained.best == 0 and schedule is not None:
        reason = "the weights stay as they were, since no zeros were in place for good when it ended: give it more time"
        return Finding("training", False, f"{reason}; {went}")
    if trained.best == 0:
        return Finding("training", False, f"nothing was better than before, so the weights stay as they were; {went}")
    return Finding("training", True, went)
