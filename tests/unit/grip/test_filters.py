"""The named filters: who is skipped, what content becomes, and what a filter that cannot be applied says."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.errors import FilterError
from gripproxy.grip.fields import Fields
from gripproxy.grip.filters import (
    HTTP_FILTER_BODY_MAX,
    HTTP_FILTERS,
    Scope,
    compile_filters,
    http_outcome,
    http_request,
    render,
)
from gripproxy.grip.item import HttpStream, Item


def scope(
    meta: dict[str, str] | None = None, channels: tuple[str, ...] = (), last_ids: dict[str, str] | None = None
) -> Scope:
    """A subscriber's scope with these parts."""
    return Scope(meta or {}, frozenset(channels), last_ids or {})


def item(**meta: str) -> Item:
    """An item with this meta."""
    return Item("c", stream=HttpStream("send", b""), meta=meta)


# --- delivery


@pytest.mark.parametrize(
    ("name", "item_meta", "meta", "channels", "expected"),
    [
        ("skip-self", {"sender": "alice"}, {"user": "alice"}, (), True),
        ("skip-self", {"sender": "bob"}, {"user": "alice"}, (), False),
        ("skip-self", {}, {"user": "alice"}, (), False),
        ("skip-self", {"sender": "alice"}, {}, (), False),
        ("skip-self", {"sender": ""}, {"user": ""}, (), False),
        ("skip-users", {"skip_users": "bob, alice"}, {"user": "alice"}, (), True),
        ("skip-users", {"skip_users": "alice"}, {"user": "alice"}, (), True),
        ("skip-users", {"skip_users": "alice2,bob"}, {"user": "alice"}, (), False),
        ("skip-users", {"skip_users": ",,"}, {"user": ""}, (), False),
        ("skip-users", {}, {"user": "alice"}, (), False),
        ("skip-users", {"skip_users": "alice"}, {}, (), False),
        ("require-sub", {"require_sub": "room"}, {}, ("lobby", "room"), False),
        ("require-sub", {"require_sub": "room"}, {}, ("lobby",), True),
        ("require-sub", {"require_sub": ""}, {}, (), False),
        ("require-sub", {}, {}, (), False),
        ("build-id", {"sender": "alice"}, {"user": "alice"}, (), False),
        ("no-such-filter", {"sender": "alice"}, {"user": "alice"}, (), False),
    ],
)
def test_delivery_filters(
    name: str, item_meta: dict[str, str], meta: dict[str, str], channels: tuple[str, ...], expected: bool
) -> None:
    assert expected == compile_filters((name,)).drops(item(**item_meta), scope(meta, channels))


def test_one_filter_of_several_is_enough_to_drop() -> None:
    filters = compile_filters(("skip-self", "require-sub"))
    assert filters.drops(item(require_sub="x", sender="bob"), scope({"user": "alice"}))


# --- content

LAST_IDS = {"events-a": "5", "grün": "é", "food\\fruit(type)": "apples"}


@pytest.mark.parametrize(
    ("meta", "content", "expected"),
    [
        ({"id_format": "x"}, b"no directives \xff", b"no directives \xff"),
        ({"id_format": "C3PO"}, b"The ID is %I.", b"The ID is C3PO."),
        ({"id_format": "C3PO", "id_encoding": "hex"}, b"The ID is %I.", b"The ID is 4333504f."),
        ({"id_format": "x", "id_encoding": "hex"}, b"The ID is %(R2D2)I.", b"The ID is 52324432."),
        ({"id_format": "x"}, b"%(a\\)b\\\\c)I", b"a)b\\c"),
        ({"id_format": "x"}, b"%()I", b"x"),
        ({"id_format": "x"}, b"hello 100%%", b"hello 100%"),
        ({"id_format": "%(events-a)s"}, b"id: %I\n\nid: %I\n", b"id: 5\n\nid: 5\n"),
        ({"id_format": "a:%(events-a)s,b:%(gr\u00fcn)s 10%%"}, b"%I", "a:5,b:é 10%".encode()),
        ({"id_format": "%(food\\\\fruit(type\\))s"}, b"%I", b"apples"),
        ({"id_format": "%(missing)s"}, b"nothing asks for it %(1)I", b"nothing asks for it 1"),
    ],
)
def test_build_id(meta: dict[str, str], content: bytes, expected: bytes) -> None:
    filters = compile_filters(("build-id",))
    assert expected == filters.content(content, scope(meta, last_ids=LAST_IDS))
    assert expected == filters.response(content, scope(meta, last_ids=LAST_IDS))


@pytest.mark.parametrize(
    ("meta", "content", "problem"),
    [
        ({}, b"", "build-id: no sub meta 'id_format'"),
        ({"id_format": "x", "id_encoding": "base64"}, b"", "build-id: unsupported encoding: base64"),
        ({"id_format": "%(b)s"}, b"%I", "failed to render ID: No such variable 'b' at position 4 at position 1"),
        ({"id_format": "%s"}, b"%I", "failed to render ID: Directive 's' requires argument at position 1"),
        ({"id_format": "%I"}, b"%I", "failed to render ID: Unknown directive 'I' at position 1"),
        ({"id_format": "x"}, b"a%s", "build-id: Unknown directive 's' at position 2"),
        ({"id_format": "x"}, b"a%(b)%", "build-id: Unknown directive '%' at position 5"),
        ({"id_format": "x"}, b"100%", "build-id: Expected directive after '%' at position 3"),
        ({"id_format": "x"}, b"5% or", "build-id: Unknown directive ' ' at position 2"),
        ({"id_format": "x"}, b"%(", "build-id: Expected character after '(' at position 1"),
        ({"id_format": "x"}, b"%(abc", "build-id: Unterminated field starting at position 1"),
        ({"id_format": "x"}, b"%(abc\\", "build-id: Unterminated field starting at position 1"),
        ({"id_format": "x"}, b"%(abc)", "build-id: Expected directive after ')' at position 5"),
    ],
)
def test_build_id_errors(meta: dict[str, str], content: bytes, problem: str) -> None:
    with pytest.raises(FilterError) as caught:
        compile_filters(("build-id",)).content(content, scope(meta, last_ids={"a": "1"}))
    assert problem in str(caught.value)


def test_an_id_needs_the_last_ids_that_its_format_names() -> None:
    filters = compile_filters(("build-id",))
    assert b"1" == filters.response(b"%(1)I", scope({"id_format": "%(a)s"}))
    assert b"fixed" == filters.response(b"%I", scope({"id_format": "fixed"}))
    with pytest.raises(FilterError, match="failed to render ID: No such variable 'a'"):
        filters.response(b"%I", scope({"id_format": "%(a)s"}))


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"hello %(user)s", b"hello alice"), (b"%%%(empty)s%%", b"%%"), (b"\xff", b"\xff"), (b"%(gr\xc3\xbcn)s", b"x")],
)
def test_var_subst(content: bytes, expected: bytes) -> None:
    meta = {"user": "alice", "empty": "", "grün": "x"}
    assert expected == compile_filters(("var-subst",)).content(content, scope(meta))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"%(x)s", "var-subst: No such variable 'x' at position 4"),
        (b"%(\xff)s", "var-subst: No such variable '\ufffd' at position 4"),
        (b"%s", "var-subst: Directive 's' requires argument at position 1"),
        (b"%()s", "var-subst: Directive 's' requires argument at position 3"),
        (b"%I", "var-subst: Unknown directive 'I' at position 1"),
    ],
)
def test_var_subst_errors(content: bytes, problem: str) -> None:
    with pytest.raises(FilterError) as caught:
        compile_filters(("var-subst",)).content(content, scope())
    assert problem == str(caught.value)


def test_a_template_cannot_make_much_of_little() -> None:
    """Content of a publisher's times meta of a backend's: neither is large, and both are a tenant's."""
    meta = {"long": "x" * 10_000, "id_format": "x" * 10_000}
    for name, directive in (("var-subst", b"%(long)s"), ("build-id", b"%I"), ("build-id", b"%(text)I")):
        filters = compile_filters((name,))
        assert filters.content(directive * 50, scope(meta))
        if directive != b"%(text)I":
            with pytest.raises(FilterError, match=f"{name}: directives put in more than"):
                filters.content(directive * 1000, scope(meta))


def test_content_filters_run_in_the_order_of_the_subscription() -> None:
    meta = {"id_format": "x", "user": "%I"}
    assert compile_filters(("var-subst", "build-id")).content(b"%(user)s", scope(meta, last_ids={"a": "1"})) == b"x"
    with pytest.raises(FilterError, match="build-id: Unknown directive 's'"):
        compile_filters(("build-id", "var-subst")).content(b"%(user)s", scope(meta))


def test_only_build_id_touches_the_response() -> None:
    assert compile_filters(("var-subst", "skip-self")).response(b"%(user)s", scope()) == b"%(user)s"


@given(st.binary() | st.text("%()sI\\a").map(str.encode))
def test_any_template_is_rendered_or_refused(template: bytes) -> None:
    with suppress(FilterError):
        render(template, lambda directive, argument: directive + (argument or b""))


@given(st.binary())
def test_escaped_content_comes_back(content: bytes) -> None:
    assert content == render(content.replace(b"%", b"%%"), lambda directive, argument: b"?")


# --- the compiled filters


def test_unknown_filters_are_ignored() -> None:
    assert not compile_filters(("nothing", "of-this"))
    assert not compile_filters(())


@pytest.mark.parametrize("name", ["skip-self", "skip-users", "require-sub", "build-id", "var-subst", *HTTP_FILTERS])
def test_known_filters_count(name: str) -> None:
    assert compile_filters((name,))


def test_content_names_are_those_that_aim_at_message_content() -> None:
    filters = compile_filters(("http-modify", "skip-self", "var-subst", "http-check", "unknown", "build-id"))
    assert ("http-modify", "var-subst", "build-id") == filters.content_names
    assert ("http-modify", "http-check") == filters.http_names


@pytest.mark.parametrize(
    ("names", "content_filters", "expected"),
    [
        ((), None, True),
        ((), (), True),
        ((), ("build-id",), False),
        (("build-id", "skip-self"), None, True),
        (("build-id", "skip-self"), ("build-id",), True),
        (("build-id", "skip-self"), (), False),
        (("var-subst", "build-id"), ("build-id", "var-subst"), False),
    ],
)
def test_content_filters_of_an_item_must_equal_those_of_the_subscription(
    names: tuple[str, ...], content_filters: tuple[str, ...] | None, expected: bool
) -> None:
    assert expected == compile_filters(names).accepts(content_filters)


# --- requests


@pytest.mark.parametrize(("name", "body"), [("http-check", b""), ("http-modify", b"hello")])
def test_http_request(name: str, body: bytes) -> None:
    fields = (
        (b"Sub-Meta", '{"url":"/check","user":"é"}'.encode()),
        (b"Pub-Meta", b'{"sender":"a\\nb"}'),
        (b"Grip-Last", b"a; last-id=1"),
        (b"Grip-Last", b"b; last-id=2"),
    )
    subscriber = scope({"url": "/check", "user": "é"}, last_ids={"a": "1", "b": "2"})
    assert ("/check", fields, body) == http_request(name, b"hello", item(sender="a\nb"), subscriber)


def test_http_request_needs_a_url() -> None:
    with pytest.raises(FilterError, match="http-check: missing url value"):
        http_request("http-check", b"", item(), scope({"url": ""}))


@pytest.mark.parametrize(
    ("name", "status", "fields", "expected"),
    [
        ("http-check", 200, (), b"old"),
        ("http-check", 204, (), b"old"),
        ("http-check", 200, ((b"ACTION", b"drop"),), None),
        ("http-modify", 200, (), b"new"),
        ("http-modify", 204, (), b"old"),
        ("http-modify", 204, ((b"Action", b"drop"),), None),
        ("http-modify", 200, ((b"Action", b"keep"),), b"new"),
    ],
)
def test_http_outcome(name: str, status: int, fields: Fields, expected: bytes | None) -> None:
    assert expected == http_outcome(name, b"old", status, fields, b"new")


@pytest.mark.parametrize("status", [201, 302, 400, 500])
def test_http_outcome_of_other_statuses_is_an_error(status: int) -> None:
    with pytest.raises(FilterError, match=f"http-check: unexpected network request status: code={status}"):
        http_outcome("http-check", b"old", status, ((b"Action", b"drop"),), b"")


def test_http_outcome_bounds_the_content() -> None:
    body = b"x" * HTTP_FILTER_BODY_MAX
    assert body == http_outcome("http-modify", b"", 200, (), body)
    with pytest.raises(FilterError, match="http-modify: network response exceeded 100000 bytes"):
        http_outcome("http-modify", b"", 200, (), body + b"x")


# --- conversations


def talk(names: tuple[str, ...], content: bytes, *replies: tuple[int, Fields, bytes], **meta: str) -> bytes | None:
    """Let filters ask; return what they end with."""
    conversation = compile_filters(names).conversation(content, item(**meta), scope({"url": "/x", "user": "alice"}))
    waiting = list(replies)
    try:
        next(conversation)
        while True:
            conversation.send(waiting.pop(0))
    except StopIteration as stop:
        assert [] == waiting
        result: bytes | None = stop.value
        return result


@pytest.mark.parametrize(
    ("names", "replies", "expected"),
    [
        ((), (), b"%(user)s"),
        (("var-subst",), (), b"alice"),
        (("http-check",), ((200, (), b"new"),), b"%(user)s"),
        (("http-check",), ((200, ((b"Action", b"drop"),), b""),), None),
        (("http-modify",), ((200, (), b"new"),), b"new"),
        (("http-modify",), ((204, (), b""),), b"%(user)s"),
        (("http-modify", "var-subst"), ((200, (), b"to %(user)s"),), b"to alice"),
        (("var-subst", "http-modify"), ((200, (), b"to %(user)s"),), b"to %(user)s"),
        (("http-check", "http-modify"), ((204, (), b""), (200, (), b"new")), b"new"),
        (("http-check", "http-modify"), ((200, ((b"Action", b"drop"),), b""),), None),
        (("unknown", "http-check"), ((204, (), b""),), b"%(user)s"),
    ],
)
def test_filters_act_one_after_the_other(
    names: tuple[str, ...], replies: tuple[tuple[int, Fields, bytes], ...], expected: bytes | None
) -> None:
    assert expected == talk(names, b"%(user)s", *replies)


def test_what_is_dropped_before_asks_nobody() -> None:
    assert talk(("skip-self", "http-check"), b"", sender="alice") is None


def test_what_is_asked_is_what_the_filters_before_have_made() -> None:
    filters = compile_filters(("var-subst", "http-modify"))
    conversation = filters.conversation(b"%(user)s", item(), scope({"url": "/x", "user": "alice"}))
    assert b"alice" == next(conversation)[2]


def test_a_reply_that_says_nothing_is_an_error() -> None:
    with pytest.raises(FilterError, match="code=500"):
        talk(("http-check",), b"", (500, (), b""))
