"""Marks: who waits is told when the work that was there is done, and not before."""

from collections.abc import Callable

from gripproxy.marks import Marks


def test_a_mark_is_reached_when_what_was_before_it_is_done() -> None:
    told: list[str] = []
    marks: Marks[str] = Marks()

    def tell(name: str) -> Callable[[], None]:
        return lambda: told.append(name)

    marks.add("a", 2, tell("first"))
    marks.add("a", 5, tell("second"))
    marks.add("b", 1, tell("other"))
    marks.count_down("a", 1)
    assert [] == told
    marks.count_down("a", 3)
    assert ["first"] == told
    marks.count_down("a", 1)
    assert (["first", "second"], ["b"]) == (told, list(marks.waiting))
    marks.count_down("b", 1)
    assert (["first", "second", "other"], {}) == (told, marks.waiting)


def test_who_is_told_may_put_another_mark() -> None:
    told: list[str] = []
    marks: Marks[str] = Marks()
    marks.add("a", 1, lambda: marks.add("a", 1, lambda: told.append("again")))
    marks.count_down("a", 1)
    marks.count_down("a", 1)
    assert (["again"], {}) == (told, marks.waiting)
