"""Where ops take elements from and put them: axes, windows, slices, rows."""
