"""Train the weights of a model until they make of samples what a teacher makes of them.

`train` is one way forward: batches, steps, an evaluation now and then on samples that are kept aside, and the best
weights in the end. What decides about masks meanwhile is a `Schedule`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from math import isfinite, isnan
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfopt.data import Samples
from tfopt.learn import checkpoints
from tfopt.learn.checkpoints import Progress, State
from tfopt.learn.feeding import Batch, Feed, altered, batch_size, rows
from tfopt.learn.lesson import Lesson, Part, Trained
from tfopt.learn.workbench import Workbench
from tfopt.passes.needs.teaching import STEPS, Plan, Schedule, Score
from tfopt.words import Tell

#: Bytes of what the teacher says that are remembered; beyond that it is asked again.
_REMEMBERED: Final = 1 << 29
#: Steps between evaluations where the clock alone decides how many there are.
_STEPS_APART: Final = 100
_MOST_APART: Final = 1000
_JUDGED_AT_ONCE: Final = 64
#: Between two checkpoints lies this many times what writing one takes.
_WRITTEN_APART: Final = 50


def train(lesson: Lesson, plan: Plan, *, schedule: Schedule | None = None, tell: Tell = lambda _: None) -> Trained:
    """The best weights that this plan finds. With `plan.checkpoint` it goes on from where a training of the same lesson
    was left, and comes to the same weights as one that never stopped.

    A loss that is no number ends it, and the best weights before are given. Raises OutputError when a checkpoint cannot
    be written (the one before is kept), UsageError for one of another training, and what TensorFlow makes of a model
    that it cannot differentiate.
    """
    masked = [weight.name for weight in lesson.weights if weight.layer is not None] if schedule is not None else []
    with Workbench(lesson, plan, masked) as bench:
        return _Training(lesson, plan, schedule, bench, tell).run()


class _Training:
    def __init__(self, lesson: Lesson, plan: Plan, schedule: Schedule | None, bench: Workbench, tell: Tell) -> None:
        self._lesson = lesson
        self._plan = plan
        self._schedule = schedule
        self._bench = bench
        self._tell = tell
        self._pupils = [_Pupil(part, plan, bench) for part in lesson.parts]
        examples = max(len(pupil) for pupil in self._pupils)
        self._total = plan.total(examples)
        self._apart = min(max(1, (self._total or _STEPS_APART * plan.evaluations) // plan.evaluations), _MOST_APART)
        self._state = State(Progress())
        self._fingerprint = checkpoints.fingerprint(lesson, plan, schedule) if plan.checkpoint else ""
        self._next_save = 0.0
        self._placed = -1

    def run(self) -> Trained:
        if not self._goes_on():
            self._begin()
        progress = self._state.progress
        begun, begun_at = time.monotonic() - progress.seconds, progress.step
        with ExitStack() as feeding:
            batches = [
                feeding.enter_context(pupil.feed.ahead(_turns(progress.step, number, len(self._pupils))))
                for number, pupil in enumerate(self._pupils)
            ]
            while progress.ended is None:
                self._step(progress, batches)
                progress.seconds = time.monotonic() - begun
                self._look(progress)
        if progress.step > begun_at:
            self._save()
        return self._trained()

    def _goes_on(self) -> bool:
        """From the checkpoint, if there is one."""
        found = checkpoints.load(self._plan.checkpoint, self._fingerprint) if self._plan.checkpoint else None
        if found is None:
            return False
        self._state = found
        for group in ("trained", "first", "second", "masks"):
            self._bench.write(group, found.arrays.get(group, {}))
        if self._plan.seconds is None:
            self._placed = found.progress.step - 1
        self._tell(f"going on behind step {found.progress.step}")
        return True

    def _begin(self) -> None:
        """Before the first step. A place that cannot be written to is found here, and not after the work."""
        progress, score = self._state.progress, self._judged()
        progress.before = progress.after = score
        self._state.arrays["best"] = self._bench.read("trained")
        if self._schedule is None:
            progress.best_loss = score[0]
        if isnan(score[0]):
            progress.failed = True
            progress.ended = "the loss was nan before the first step"
        else:
            self._save()

    def _step(self, progress: Progress, batches: Sequence[Any]) -> None:
        if self._schedule is not None:
            self._mask(self._schedule, self._place(progress))
        turn = progress.step % len(self._pupils)
        batch: Batch = next(batches[turn])
        loss = self._pupils[turn].step(batch, self._rate(progress), progress.step + 1)
        progress.step += 1
        if not isfinite(loss):
            self._fail(progress, loss)

    def _mask(self, schedule: Schedule, place: int) -> None:
        """What the schedule decides on the way from the last step's place to this one's."""
        passed = range(self._placed + 1, place + 1)
        if any(schedule.is_due(each, self._steps) for each in passed):
            self._bench.write("masks", _numbers(schedule, place, self._steps, self._bench))
        self._placed = max(self._placed, place)

    def _place(self, progress: Progress) -> int:
        """How far training is, in steps of all that there are: by the clock where that ends it sooner."""
        by_steps = progress.step if self._total else 0
        return max(by_steps, int(self._by_time(progress) * self._steps))

    def _by_time(self, progress: Progress) -> float:
        return progress.seconds / self._plan.seconds if self._plan.seconds else 0.0

    def _rate(self, progress: Progress) -> float:
        by_steps = progress.step / self._total if self._total else 0.0
        return replace(self._plan, steps=self._steps).rate(max(by_steps, self._by_time(progress)))

    @property
    def _steps(self) -> int:
        return self._total or STEPS

    def _fail(self, progress: Progress, loss: float) -> None:
        progress.failed = True
        progress.ended = f"the loss of step {progress.step} was {loss}"

    def _look(self, progress: Progress) -> None:
        """Evaluate when it is time to, and decide whether to go on."""
        if progress.ended is None:
            out_of_time = self._plan.seconds is not None and progress.seconds >= self._plan.seconds
            done = self._total is not None and progress.step >= self._total
            if done or out_of_time:
                progress.ended = "all steps were done" if done else f"{self._plan.seconds:g} seconds had passed"
            if progress.ended is not None or progress.step % self._apart == 0:
                self._evaluate(progress)
        if self._plan.checkpoint and time.monotonic() >= self._next_save:
            self._save()

    def _evaluate(self, progress: Progress) -> None:
        score = self._judged()
        self._tell(f"step {progress.step}: loss {score[0]:.4g}, agreement {score[1]:.2%}")
        if not isfinite(score[0]):
            self._fail(progress, score[0])
            return
        if self._schedule is not None and not self._schedule.is_settled(self._placed + 1, self._steps):
            return
        if score[0] < progress.best_loss:
            progress.best_loss, progress.best, progress.stale, progress.after = score[0], progress.step, 0, score
            self._state.arrays["best"] = self._bench.read("trained")
            self._state.arrays["best_masks"] = self._bench.read("masks")
            return
        progress.stale += 1
        if self._plan.patience is not None and progress.stale >= self._plan.patience and progress.ended is None:
            progress.ended = f"{progress.stale} evaluations in a row brought nothing better"

    def _judged(self) -> tuple[float, float]:
        scores = [pupil.judged() for pupil in self._pupils]
        return sum(score[0] for score in scores), min(score[1] for score in scores)

    def _save(self) -> None:
        if self._plan.checkpoint is None:
            return
        begun = time.monotonic()
        for group in ("trained", "first", "second", "masks"):
            self._state.arrays[group] = self._bench.read(group)
        checkpoints.save(self._plan.checkpoint, self._fingerprint, self._state)
        now = time.monotonic()
        self._next_save = now + max(self._plan.checkpoint_seconds, _WRITTEN_APART * (now - begun))

    def _trained(self) -> Trained:
        progress, arrays = self._state.progress, self._state.arrays
        masks = {name: array != 0 for name, array in arrays.get("best_masks", self._bench.read("masks")).items()}
        best = {}
        for weight in self._lesson.weights:
            array = arrays["best"][weight.name]
            if weight.name in masks:
                array = np.where(masks[weight.name], array, np.float32(0))
            best[weight.name] = array if weight.grid is None or weight.grid.dynamic else weight.grid.snapped(array)
        return Trained(
            best,
            masks,
            Score(*progress.before),
            Score(*progress.after),
            progress.step,
            progress.best,
            progress.seconds,
            progress.ended or "",
            progress.failed,
        )


def _numbers(schedule: Schedule, step: int, steps: int, bench: Workbench) -> dict[str, NDArray[np.float32]]:
    made = schedule.masks(step, steps, bench.read("trained"))
    return {name: np.asarray(mask, np.float32) for name, mask in made.items()}


def _turns(step: int, number: int, parts: int) -> int:
    """How many batches of part `number` are before this step, when parts take turns."""
    return (step + parts - 1 - number) // parts


class _Pupil:
    """One part of the lesson on the bench, with what the teacher said where that is remembered."""

    def __init__(self, part: Part, plan: Plan, bench: Workbench) -> None:
        moved, mixed = altered(part.samples, plan.augment)
        size = batch_size(part.samples, plan.batch_size)
        self._part = part
        self._bench = bench
        self.feed = Feed(part.samples, size, plan.seed, moved, mixed)
        self._said = None if self.feed.alters else _said(part, part.samples, bench, size)
        self._said_of_kept = _said(part, part.kept, bench, batch_size(part.kept, _JUDGED_AT_ONCE))

    def __len__(self) -> int:
        return self._part.samples.count

    def step(self, batch: Batch, rate: float, number: int) -> float:
        labels = None if self._part.labels is None else self._part.labels[batch.places]
        expected = [] if self._said is None else [array[batch.places] for array in self._said]
        return self._bench.step(self._part.key, batch.inputs, expected, labels, rate, number)

    def judged(self) -> tuple[float, float]:
        """Loss and agreement over the kept samples."""
        loss = agreement = 0.0
        count = 0
        for places in _chunks(self._part.kept, _JUDGED_AT_ONCE):
            expected = [] if self._said_of_kept is None else [array[places] for array in self._said_of_kept]
            one, alike = self._bench.judge(self._part.key, rows(self._part.kept, places), expected, None)
            loss, agreement = loss + one * len(places), agreement + alike * len(places)
            count += len(places)
        return loss / count, agreement / count


def _chunks(samples: Samples, wanted: int) -> list[NDArray[np.int64]]:
    size = batch_size(samples, wanted)
    whole = samples.count - samples.count % samples.batching.block
    return [np.arange(start, min(start + size, whole)) for start in range(0, whole, size)]


def _said(part: Part, samples: Samples, bench: Workbench, size: int) -> list[NDArray[Any]] | None:
    """What the teacher says to all samples; None where that is too much to remember, or not row by row."""
    said = bench.expected(part.key, rows(samples, np.arange(size)))
    fits = sum(array.nbytes for array in said) / size * samples.count <= _REMEMBERED
    if not fits or samples.batching.whole or any(array.ndim == 0 or len(array) != size for array in said):
        return None
    chunks = [bench.expected(part.key, rows(samples, places)) for places in _chunks(samples, size)]
    return [np.concatenate(arrays) for arrays in zip(*chunks, strict=True)]
