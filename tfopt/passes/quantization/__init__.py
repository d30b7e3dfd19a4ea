"""What `quantize` decides with: which layers, which values, how far their grids reach."""
