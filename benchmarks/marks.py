"""Print the figures that the README quotes: `make bench`. Needs PyPI once (for models) and Fashion-MNIST.

Two of its tables have scripts of their own that take longer: benchmarks.trust, benchmarks.older_tensorflow.
"""

from __future__ import annotations

from benchmarks import exact_speed, help_time, int8_size, load_memory, pass_overhead, reproducible, serve_start


def main() -> None:
    for script in (exact_speed, int8_size, reproducible, help_time, serve_start, load_memory, pass_overhead):
        script.main()


if __name__ == "__main__":
    main()
