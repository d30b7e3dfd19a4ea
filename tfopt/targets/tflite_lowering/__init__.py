"""Grids as TensorFlow's TFLite converter reads them."""
