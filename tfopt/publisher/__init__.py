"""Publishing: a version that has been loaded and run before it gets its number."""

from tfopt.publisher.publication import Published, publish

__all__ = ["Published", "publish"]
