"""Which channels of a graph stand or fall together, and the graph without some of them."""
