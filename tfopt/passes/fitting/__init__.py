"""Weights that make a layer answer as another did, by least squares."""
