"""Random programs of TensorFlow ops: what a property test may throw at the exact passes.

A program is drawn op by op. Each op runs at once on numbers, so that the next one can be drawn to fit the shapes that
there are, and is put into a graph with unknown dims beside it.
"""

from __future__ import annotations

from tests.programs.drawing import Feeds, programs

__all__ = ["Feeds", "programs"]
