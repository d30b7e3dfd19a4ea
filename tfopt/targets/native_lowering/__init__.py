"""Grids as integer ops of stock TensorFlow: what can be lowered (`plan.py`), the ops (`ops.py`), the walk."""
