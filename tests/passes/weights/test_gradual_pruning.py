"""Masks that grow during training: how many go when, and which."""

from __future__ import annotations

import numpy as np
import pytest

from tests.passes.decided import IMAGE, conv, model_of
from tfopt.passes.weights.gradual_pruning import GradualPruning, Growth
from tfopt.passes.weights.held import held_weights
from tfopt.passes.weights.mask_selection import MaskSelection
from tfopt.passes.weights.sparsity import Matrix

STEPS = 101


def growing(growth: Growth = "polynomial", begun: float = 0.0, **options: object) -> GradualPruning:
    """Over two convolutions of 3x3x4x4 weights, done at step 50."""
    chosen = {"sparsity": None, "scope": "layer", "block": "1x1", "pattern": None, **options}
    selection = MaskSelection.of(**chosen)  # type: ignore[arg-type]  # as tests write them
    graph = model_of(IMAGE + conv("a", "x") + conv("bb", "a"), "%bb").graph
    layouts = {weight.name: Matrix.of(weight.layer) for weight in held_weights(graph)}
    return GradualPruning(selection, layouts, growth, begun, until=0.5)


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(3, 3, 4, 4)).astype(np.float32) for name in ("a_w", "bb_w")}


def zeros(schedule: GradualPruning, step: int) -> float:
    return float(np.mean([~mask for mask in schedule.masks(step, STEPS, weights()).values()]))


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (10, 0.8 * 0.488), (25, 0.7), (50, 0.8), (90, 0.8)])
def test_the_share_grows_as_the_paper_has_it(step: int, share: float) -> None:
    assert zeros(growing(sparsity=0.8), step) == pytest.approx(share, abs=0.005)


def test_a_constant_schedule_takes_all_at_once() -> None:
    assert zeros(growing("constant", sparsity=0.8), 0) == pytest.approx(0.8, abs=0.005)


def test_a_model_that_was_pruned_goes_on_from_there() -> None:
    assert zeros(growing(sparsity=0.8, begun=0.5), 0) == pytest.approx(0.4, abs=0.005)


def test_masks_change_for_the_last_time_before_they_are_settled() -> None:
    schedule = growing(sparsity=0.8)
    due = [step for step in range(STEPS) if schedule.is_due(step, STEPS)]
    assert due[0] == 0 and due[-1] == 50
    assert not schedule.is_settled(50, STEPS) and schedule.is_settled(51, STEPS)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_training_ends_with_all_zeros(steps: int) -> None:
    schedule = growing(sparsity=0.8)
    last = max(step for step in range(steps) if schedule.is_due(step, steps))
    masks = schedule.masks(last, steps, weights())
    assert np.mean([~mask for mask in masks.values()]) == pytest.approx(0.8, abs=0.005)
    assert schedule.is_settled(steps, steps)


def test_a_pattern_grows_from_the_smallest_of_what_goes_in_the_end() -> None:
    schedule, held = growing(pattern="2:4"), weights()
    half, whole = (schedule.masks(step, STEPS, held)["a_w"] for step in (10, 60))
    kept = whole.transpose(0, 1, 3, 2).reshape(-1, 4).sum(axis=1)
    assert set(kept) == {2}
    assert (half | ~whole).sum() > (~whole).sum() and not (~half & whole).any()
    gone, coming = np.abs(held["a_w"])[~half], np.abs(held["a_w"])[half & ~whole]
    assert gone.max() <= coming.min()


def test_what_became_larger_comes_back() -> None:
    schedule, held = growing(sparsity=0.5), weights()
    place = tuple(np.argwhere(~schedule.masks(50, STEPS, held)["a_w"])[0])
    held["a_w"][place] = 9.0
    assert schedule.masks(50, STEPS, held)["a_w"][place]


def test_blocks_go_whole() -> None:
    mask = growing(sparsity=0.5, scope="global", block="1x4").masks(60, STEPS, weights())["a_w"]
    blocks = mask.reshape(-1, 4).sum(axis=1)
    assert set(blocks) == {0, 4}


def test_layers_compete_by_what_stays_of_them() -> None:
    """One of other scale does as before; one whose weights are few large ones and nothing loses the nothing first."""
    held = weights()
    held["bb_w"] *= 100
    schedule = growing(sparsity=0.5, scope="global")
    assert np.mean(schedule.masks(60, STEPS, held)["a_w"]) == pytest.approx(0.5, abs=0.06)
    held["bb_w"][:, :, 1:] *= 1e-3
    masks = schedule.masks(60, STEPS, held)
    assert not masks["bb_w"][:, :, 1:].any() and masks["a_w"].mean() > 0.7
