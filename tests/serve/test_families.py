"""Prometheus' text, as TensorFlow Serving's exporter prints it."""

from __future__ import annotations

import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tfopt.serve.families import MOST_CELLS, OTHER, Counter, Gauge, Histogram, exponential, page


def test_counter() -> None:
    counter = Counter(":test:path:total", "name")
    counter.add(("abc",), 2)
    counter.add(("Abc",))
    text = '# TYPE :test:path:total counter\n:test:path:total{name="Abc"} 1\n:test:path:total{name="abc"} 2\n'
    assert page(iter([counter])) == text
    assert counter.total() == 3


def test_gauge() -> None:
    gauge = Gauge(":test:path:gauge", ("x", "y"), lambda: {("abc", "def"): 5, ("b", "c"): 0.25})
    assert list(gauge.lines())[1:] == [':test:path:gauge{x="abc",y="def"} 5', ':test:path:gauge{x="b",y="c"} 0.25']


def test_histogram() -> None:
    histogram = Histogram(":test:path:histogram", ("status",), exponential(1, 2, 10))
    for value in (2, 20, 200):
        histogram.add(("good",), value)
    lines = list(histogram.lines())
    assert lines[0] == "# TYPE :test:path:histogram histogram"
    below = [line.rpartition(" ")[2] for line in lines[1:12]]
    assert below == ["0", "0", "1", "1", "1", "2", "2", "2", "3", "3", "3"]
    assert lines[1].startswith(':test:path:histogram_bucket{status="good",le="1"} ')
    assert lines[11:] == [
        ':test:path:histogram_bucket{status="good",le="+Inf"} 3',
        ':test:path:histogram_sum{status="good"} 222',
        ':test:path:histogram_count{status="good"} 3',
    ]


def test_limits_have_six_digits() -> None:
    lines = list(Histogram(":h", (), exponential(10, 1.8, 33)).lines())
    assert lines == ["# TYPE :h histogram"], "what nobody has counted has no lines"
    histogram = Histogram(":h", (), exponential(10, 1.8, 33))
    histogram.add((), 0.5)
    limits = [line.partition('le="')[2].partition('"')[0] for line in histogram.lines() if "_bucket" in line]
    assert limits[:6] == ["10", "18", "32.4", "58.32", "104.976", "188.957"]
    assert len(limits) == 34 and limits[-2:] == ["1.47476e+09", "+Inf"]


@pytest.mark.parametrize("value", ['"abc\\"', "two\nlines", "\\n", "ünïcode", "}{,=", ""])
def test_any_label_is_read_back(value: str) -> None:
    counter = Counter(":count", "name")
    counter.add((value,), 7)
    (family,) = text_string_to_metric_families(page(iter([counter])))
    (sample,) = family.samples
    assert sample.labels == {"name": value} and sample.value == 7


def test_the_number_of_labels_is_bounded() -> None:
    counter, histogram = Counter(":c", "a", "b"), Histogram(":h", ("a",), (1.0,))
    for number in range(MOST_CELLS + 50):
        counter.add((str(number), "x"))
        histogram.add((str(number),), 1.0)
    assert f':c{{a="{OTHER}",b="{OTHER}"}} 50' in list(counter.lines())
    assert f':h_count{{a="{OTHER}"}} 50' in list(histogram.lines())
    assert counter.total() == MOST_CELLS + 50


def test_nothing_is_lost_between_threads() -> None:
    counter, histogram = Counter(":c"), Histogram(":h", (), (1.0,))

    def count() -> None:
        for _ in range(5000):
            counter.add(())
            histogram.add((), 0.5)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(counter.lines())[1] == ":c{} 40000"
    assert list(histogram.lines())[-2:] == [":h_sum{} 20000", ":h_count{} 40000"]
