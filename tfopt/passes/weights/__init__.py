"""The weights of layers by themselves: which layers hold them, which of them go, how few numbers tell the others."""
