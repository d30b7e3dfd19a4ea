"""The public names: light to import, loaded on first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tfopt


@pytest.mark.parametrize("name", tfopt.__all__)
def test_every_public_name_loads(name: str) -> None:
    assert getattr(tfopt, name) is not None
    assert name in dir(tfopt)


def test_a_name_that_is_none_is_told() -> None:
    with pytest.raises(AttributeError, match="no attribute 'squeeze'"):
        _ = tfopt.squeeze


def test_the_import_alone_loads_nothing_heavy() -> None:
    code = "import sys, tfopt; assert not {'numpy', 'tensorflow', 'yaml', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_submodules_do_not_replace_functions() -> None:
    """`tfopt.bench` and `tfopt.publish` are functions, which is why no room has these names."""
    code = (
        "import tfopt, tfopt.measure.bench, tfopt.publisher; assert callable(tfopt.bench) and callable(tfopt.publish)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
