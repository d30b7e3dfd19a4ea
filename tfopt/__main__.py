"""The `tfopt` program: `python -m tfopt`, and the console script."""

import sys


def run() -> None:
    """Ctrl-C while the commands are still being imported is told as anywhere else."""
    try:
        from tfopt.cli.main import run as command_line
    except KeyboardInterrupt:
        print("tfopt: interrupted", file=sys.stderr)
        sys.exit(130)
    command_line()


if __name__ == "__main__":
    run()
