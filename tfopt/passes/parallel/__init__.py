"""Linear layers of one tensor side by side, by what becomes of their results."""
