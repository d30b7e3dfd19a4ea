"""The list of recipe steps, and what other packages add to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tfopt.errors import UsageError
from tfopt.ir.text import parse
from tfopt.passes import registry
from tfopt.passes.base import Step
from tfopt.passes.registry import BUILTIN, steps

PASS = '''
from tfopt.passes.base import Finding, Outcome, graph_pass

@graph_pass(exact=False)
def {name}(graph, *, factor: float = 2.0):
    """Do nothing, from {package}."""
    return Outcome(graph, (Finding("x", False, f"factor {{factor}}"),))
'''

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install("acme", "do_nothing")` puts a distribution on sys.path whose entry point names that pass."""

    def installed(package: str, name: str, *, code: str = PASS, target: str | None = None) -> None:
        site = tmp_path / package
        info = site / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        module = f"{package.replace('-', '_')}_passes"
        (site / f"{module}.py").write_text(code.format(name=name, package=package))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[tfopt.passes]\n{name} = {module}:{target or name}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.syspath_prepend(str(site))

    steps.cache_clear()
    yield installed
    steps.cache_clear()


def test_every_built_in_step_is_there_in_order() -> None:
    assert tuple(steps())[: len(BUILTIN)] == BUILTIN
    for name, step in steps().items():
        assert isinstance(step, Step) and step.name == name
        assert step.summary


def test_every_module_of_a_pass_is_listed() -> None:
    """A pass that nobody lists cannot be asked for."""
    folder = Path(registry.__file__).parent
    decorated = {
        p.stem for p in folder.glob("*.py") if "\n@graph_pass" in p.read_text() or "\n@target_step" in p.read_text()
    }
    assert decorated == set(BUILTIN)


def test_a_pass_of_another_package_is_a_step(install: Install) -> None:
    install("acme-passes", "acme_nothing")
    step = steps()["acme_nothing"]
    assert (step.kind, step.exact, step.summary) == ("pass", False, "Do nothing, from acme-passes")
    assert step.options["factor"].default == 2.0
    graph = parse("graph { %x = Placeholder() -> float32[] inputs %x }")
    outcome = step.run(graph, {"factor": 3.0})
    assert outcome.graph is graph
    assert outcome.findings[0].message == "factor 3.0"


def test_one_name_from_two_packages_names_both(install: Install) -> None:
    install("acme-one", "acme_same")
    install("acme-two", "acme_same")
    with pytest.raises(
        UsageError, match=r"two packages define the pass acme_same: acme-(one|two) and acme-(one|two)"
    ) as e:
        steps()
    assert "acme-one" in str(e.value) and "acme-two" in str(e.value)
    assert e.value.hint and "uninstall" in e.value.hint


def test_a_name_of_ours_from_another_package_names_both(install: Install) -> None:
    install("acme-late", "remove_dead")
    with pytest.raises(UsageError, match="two packages define the pass remove_dead: tfopt and acme-late"):
        steps()


@pytest.mark.parametrize(
    ("code", "target", "words"),
    [
        ("def {name}(graph): return graph", None, "the entry point acme_odd of acme-odd is no pass of that name"),
        (
            PASS.replace("def {name}", "def other"),
            "other",
            "the entry point acme_odd of acme-odd is no pass of that name",
        ),
        (
            "import a_package_that_is_not_there",
            None,
            "the pass acme_odd of acme-odd cannot be imported: No module named",
        ),
        ("nothing = 1", None, "the pass acme_odd of acme-odd cannot be imported: .*no attribute"),
    ],
)
def test_what_is_no_pass_names_its_package(install: Install, code: str, target: str | None, words: str) -> None:
    install("acme-odd", "acme_odd", code=code, target=target)
    with pytest.raises(UsageError, match=words):
        steps()
