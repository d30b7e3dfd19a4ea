"""The rewriter: what changes, and what does not."""

from __future__ import annotations

import numpy as np
import pytest

from tfopt.errors import InvalidModel
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor, reachable, topological
from tfopt.ir.text import parse, to_text
from tfopt.ir.types import DType, Shape, Tensor, TensorType
from tfopt.ir.verify import verify

FLOATS = TensorType(DType.FLOAT32, Shape.of(4))


@pytest.fixture
def graph() -> Graph:
    return parse("""graph {
      %x = Placeholder() -> float32[4]
      %w = Const() {dtype: float32, value: float32[4] splat(2)} -> float32[4]
      %a = Mul(%x, %w) -> float32[4]
      %b = Relu(%a) -> float32[4]
      %c = Neg(%b) -> float32[4]
      inputs %x
      outputs %c
    }""")


def body(graph: Graph) -> list[str]:
    return [line.strip().partition(" -> ")[0] for line in to_text(graph).splitlines()[1:-1]]


def test_an_editor_without_edits_gives_the_graph_back(graph: Graph) -> None:
    editor = Editor(graph)
    editor.update(graph["a"])
    editor.redirect(Value("a"), Value("a"))
    assert not editor.changed
    assert editor.finish() is graph


def test_untouched_nodes_and_weights_are_the_same_objects(graph: Graph) -> None:
    editor = Editor(graph)
    editor.update(graph["a"].with_attrs(note=b"changed"))
    edited = editor.finish()
    assert edited["a"] is not graph["a"]
    assert all(edited[name] is graph[name] for name in ("x", "w", "b", "c"))
    assert np.shares_memory(edited["w"].tensor.array, graph["w"].tensor.array)


def test_constants_are_not_copied(graph: Graph) -> None:
    array = np.arange(4, dtype=np.float32)
    editor = Editor(graph)
    value = editor.constant("k", array)
    editor.update(graph["a"].with_inputs(Value("x"), value))
    held = editor.finish()["k"].tensor.array
    assert np.shares_memory(held, array)
    with pytest.raises(ValueError, match="read-only"):
        held[0] = 1
    array[0] = 7  # the array that was given stays the giver's


def test_redirects_follow_one_another_and_reach_the_outputs(graph: Graph) -> None:
    editor = Editor(graph)
    editor.redirect(Value("c"), Value("b"))
    editor.redirect(Value("b"), Value("a"))
    edited = editor.finish()
    assert edited.outputs == (Value("a"),)
    assert body(edited)[-3:] == ["%a = Mul(%x, %w)", "inputs %x", "outputs %a"]


def test_redirects_in_a_circle_are_refused(graph: Graph) -> None:
    editor = Editor(graph)
    editor.redirect(Value("a"), Value("b"))
    editor.redirect(Value("b"), Value("a"))
    with pytest.raises(ValueError, match="form a circle"):
        editor.finish()


def test_a_node_can_be_put_behind_a_value(graph: Graph) -> None:
    editor = Editor(graph)
    first = editor.add("Abs", "first", [Value("a")], [FLOATS])
    second = editor.add("Exp", "second", [first.value()], [FLOATS])
    editor.redirect(Value("a"), second.value())
    edited = editor.finish()
    verify(edited)
    assert body(edited)[2:6] == ["%a = Mul(%x, %w)", "%first = Abs(%a)", "%second = Exp(%first)", "%b = Relu(%second)"]


def test_a_cycle_is_refused(graph: Graph) -> None:
    editor = Editor(graph)
    editor.update(graph["a"].with_inputs(Value("c"), Value("w")))
    with pytest.raises(ValueError, match="a cycle through"):
        editor.finish()


def test_taken_names_get_a_number(graph: Graph) -> None:
    editor = Editor(graph)
    names = [editor.add("Abs", "a", [Value("x")], [FLOATS]).name for _ in range(2)]
    names.append(editor.constant("a", np.zeros(1)).node)
    assert names == ["a_1", "a_2", "a_3"]


def test_what_loses_its_last_reader_goes_and_what_had_none_stays(graph: Graph) -> None:
    unread = Node("unread", "Exp", (Value("b"),), {}, (FLOATS,))
    editor = Editor(Graph((*graph.nodes, unread), graph.inputs, graph.outputs))
    editor.redirect(Value("c"), Value("x"))
    assert body(editor.finish())[:-2] == [
        "%x = Placeholder()",
        "%w = Const() {dtype: float32, value: float32[4] [2.0, 2.0, 2.0, 2.0]}",
        "%a = Mul(%x, %w)",
        "%b = Relu(%a)",
        "%unread = Exp(%b)",
    ]


def test_inputs_targets_and_what_is_waited_for_stay(graph: Graph) -> None:
    late = Node("late", "Abs", (Value("x"),), {}, (FLOATS,), ("a",))
    editor = Editor(Graph((*graph.nodes, late), ("x",), (Value("late"), Value("c")), ("b",)))
    editor.redirect(Value("c"), Value("late"))
    assert [node.name for node in editor.finish()] == ["x", "w", "a", "b", "late"]


def test_a_removed_node_that_is_needed_is_found_by_the_verifier(graph: Graph) -> None:
    editor = Editor(graph)
    editor.remove("w")
    with pytest.raises(InvalidModel, match=r"a \(Mul\) reads %w, which does not exist"):
        verify(editor.finish())


def test_an_added_node_can_be_changed_and_removed_again(graph: Graph) -> None:
    editor = Editor(graph)
    node = editor.add("Abs", "k", [Value("a")], [FLOATS])
    editor.update(node.with_attrs(T=DType.FLOAT32))
    editor.remove(editor.add("Abs", "gone", [Value("a")], [FLOATS]).name)
    editor.redirect(Value("c"), node.value())
    edited = editor.finish()
    assert edited["k"].attrs == {"T": DType.FLOAT32}
    assert "gone" not in edited


def test_order_is_kept_where_it_can_be(graph: Graph) -> None:
    assert topological(graph.nodes) == graph.nodes
    shuffled = (graph["c"], graph["b"], graph["x"], graph["a"], graph["w"])
    assert [node.name for node in topological(shuffled)] == ["x", "w", "a", "b", "c"]


def test_a_long_chain_needs_no_recursion() -> None:
    nodes = [Node("n0", "Placeholder", (), {}, (FLOATS,))]
    nodes += [Node(f"n{i}", "Relu", (Value(f"n{i - 1}"),), {}, (FLOATS,)) for i in range(1, 5000)]
    assert topological(reversed(nodes)) == tuple(nodes)
    assert len(reachable(Graph(tuple(nodes)), ["n4999"])) == 5000


def test_reachable_follows_data_and_control_edges(graph: Graph) -> None:
    late = Node("late", "NoOp", (), {}, (), ("b",))
    assert reachable(Graph((*graph.nodes, late)), ["late"]) == {"late", "b", "a", "x", "w"}


def test_privacy() -> None:
    graph = parse("""graph {
      %x = Placeholder() -> float32[4]
      %once = Relu(%x) -> float32[4]
      %square = Mul(%once, %once) -> float32[4]
      %shown = Relu(%square) -> float32[4]
      %last = Relu(%shown) -> float32[4]
      outputs %shown, %last
    }""")
    assert [graph.is_private(Value(name)) for name in ("once", "square", "shown", "last")] == [
        False,
        True,
        False,
        False,
    ]
    assert graph.is_read(Value("last")) and not graph.is_read(Value("x", 1))


def test_a_tensor_does_not_change_with_the_array_it_was_made_of() -> None:
    tensor = Tensor(np.zeros(2, np.float32))
    assert tensor.type == TensorType(DType.FLOAT32, Shape.of(2))
    assert tensor.nbytes == 8
    assert Tensor(np.array([b"abc", b""], object)).nbytes == 3
    assert Tensor(np.array(["ab"])).dtype is DType.STRING


def test_a_shared_scalar_is_one_constant(graph: Graph) -> None:
    editor = Editor(graph)
    one, again = editor.shared_scalar("one", np.float32(1)), editor.shared_scalar("again", np.float32(1))
    others = [editor.shared_scalar("other", number) for number in (np.float32(-0.0), np.float32(0.0), np.int32(0))]
    assert one == again
    assert len({one, *others}) == 4
