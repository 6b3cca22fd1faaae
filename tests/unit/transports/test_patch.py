"""`body-patch`: the held body, changed by a published JSON Patch."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.transports.patch import PatchError, patch_body

REPLACE = [{"op": "replace", "path": "/a", "value": 2}]


@pytest.mark.parametrize(
    ("body", "patch", "expected"),
    [
        (b'{"a":1}', REPLACE, b'{"a":2}'),
        (b'{"a": 1}\n', REPLACE, b'{"a":2}\n'),
        (b'{"a": 1}\r\n', REPLACE, b'{"a":2}\r\n'),
        (b"[]", [{"op": "add", "path": "/-", "value": "x"}], b'["x"]'),
        (b'{"a":1}', [], b'{"a":1}'),
    ],
)
def test_a_patch_changes_the_body_and_keeps_its_line_end(body: bytes, patch: list[Any], expected: bytes) -> None:
    assert expected == patch_body(body, patch)


@pytest.mark.parametrize(
    ("body", "patch"),
    [
        (b"not JSON", REPLACE),
        (b"", REPLACE),
        (b"{}", REPLACE),
        (b"{}", ["x"]),
        (b"{}", [{"op": "nothing", "path": ""}]),
        (b"[1]", [{"op": "remove", "path": "/x"}]),
        (b'{"a":1}', [{"op": "test", "path": "/a", "value": 2}]),
    ],
)
def test_a_patch_that_does_not_fit_is_an_error(body: bytes, patch: list[Any]) -> None:
    with pytest.raises(PatchError):
        patch_body(body, patch)


def test_a_patch_cannot_make_much_of_little() -> None:
    """Each copy of everything into itself doubles it; the same that says nothing much is done."""
    copies = [{"op": "copy", "from": "", "path": f"/{number}"} for number in range(64)]
    assert len(patch_body(b"{}", copies[:8])) < 10_000
    with pytest.raises(PatchError, match="copies more than"):
        patch_body(b"{}", copies)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["op", "path", "value", "from"]), inner)
    ),
    max_leaves=8,
)


@given(st.binary(max_size=20), st.lists(JSON, max_size=3))
def test_any_body_and_patch_fit_or_are_an_error(body: bytes, patch: list[Any]) -> None:
    try:
        patch_body(body, patch)
    except PatchError:
        pass
