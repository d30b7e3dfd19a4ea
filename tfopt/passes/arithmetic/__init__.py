"""What sums and products do to numbers, to the last bit or up to rounding."""
