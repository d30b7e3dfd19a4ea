"""Loops as data: what they carry, how often they run, which rows of a tensor they come by, their bodies elsewhere."""
