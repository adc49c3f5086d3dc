"""An index is what one would find by looking at all rows."""

from typing import Any

from kube.rowindex import Index


class _Row:
    def __init__(self, **columns: Any) -> None:
        vars(self).update(columns)


def test_rows_are_found_by_what_they_were_added_with() -> None:
    index = Index(("name",), lambda row: (row.name,))
    one, same, other, new = _Row(name="a"), _Row(name="a"), _Row(name="b"), _Row()
    for row in (one, same, other, new):
        index.add(row)
    assert [each.column for each in index.columns] == ["name"]
    assert index.get(("a",)) == [one, same]
    assert index.get(("c",)) == []
    one.name = "c"  # written behind its back
    index.remove(one)
    index.add(one)
    assert (index.get(("a",)), index.get(("c",))) == ([same], [one])
    new.name = "b"
    index.add(new)
    index.remove(other)
    index.remove(other)
    assert index.get(("b",)) == [new]
    index.clear()
    assert index.get(("a",)) == index.get(("b",)) == index.get(("c",)) == []
