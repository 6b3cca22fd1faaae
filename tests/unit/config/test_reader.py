"""Values come from a file, the environment or the command line; a wrong one is named by where it came from."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct, field

from gripproxy.config.reader import File, Reader, Secret, SettingError, setting_error, setting_types
from gripproxy.errors import ConfigError


class Inner(Struct, frozen=True, kw_only=True):
    """One of a table or list of tables."""

    needed: str
    keys: tuple[Secret, ...] = ()
    file: File = File("")


class Plain(Struct, frozen=True, kw_only=True):
    """One of each kind of value."""

    text: str = "a"
    number: Annotated[int, Meta(ge=1)] = 1
    seconds: Annotated[float, Meta(gt=0)] = 1.0
    switch: bool = False
    choice: Literal["one", "two"] = "one"
    texts: tuple[str, ...] = ()
    table: dict[str, str] = field(default_factory=dict)
    maybe: Annotated[int, Meta(ge=0)] | None = None

    def __post_init__(self) -> None:
        if self.text == "forbidden":
            raise SettingError("text", "is forbidden")


class Root(Struct, frozen=True, kw_only=True):
    """What the tests read."""

    plain: Plain = field(default_factory=Plain)
    named: dict[str, Inner] = field(default_factory=dict)
    listed: tuple[Inner, ...] = ()
    source: str = ""


def read(tables: Mapping[str, Any], environment: Mapping[str, str] = {}) -> Root:
    reader = Reader(None)
    own = dict(tables)
    reader.put_environment(own, environment, Root)
    return reader.struct(Root, own)


def test_an_empty_table_is_all_defaults() -> None:
    assert Root() == read({})


def test_settings_do_not_include_the_source() -> None:
    assert ["plain", "named", "listed"] == list(setting_types(Root))


def test_tables_become_structs() -> None:
    tables = {
        "plain": {"seconds": 5, "texts": ["b"], "table": {"x": "y"}, "maybe": 0},
        "named": {"x": {"needed": "1"}},
        "listed": [{"needed": "2", "keys": "k"}],
    }

    expected = Root(
        plain=Plain(seconds=5.0, texts=("b",), table={"x": "y"}, maybe=0),
        named={"x": Inner(needed="1")},
        listed=(Inner(needed="2", keys=(Secret("k"),)),),
    )
    assert expected == read(tables)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"plane": {}}, "plane: there is no such setting; did you mean 'plain'?"),
        ({"xyz": {}}, "xyz: there is no such setting"),
        ({"source": "x"}, "source: there is no such setting"),
        ({"plain": {"swich": 1}}, "plain.swich: there is no such setting; did you mean 'switch'?"),
        ({"plain": 5}, "plain: must be a table"),
        ({"plain": {"number": "1"}}, "plain.number: must be a whole number of at least 1, not '1'"),
        ({"plain": {"number": True}}, "plain.number: must be a whole number of at least 1, not True"),
        ({"plain": {"number": 0}}, "plain.number: must be a whole number of at least 1, not 0"),
        ({"plain": {"seconds": 0}}, "plain.seconds: must be a number above 0, not 0"),
        ({"plain": {"seconds": float("inf")}}, "plain.seconds: must be finite, not inf"),
        ({"plain": {"seconds": 1e16}}, "plain.seconds: must be at most 9007199254740992, not 1e+16"),
        ({"plain": {"number": 10**16}}, "plain.number: must be at most 9007199254740992, not 10000000000000000"),
        ({"plain": {"maybe": 10**16}}, "plain.maybe: must be at most 9007199254740992, not 10000000000000000"),
        ({"plain": {"seconds": float("nan")}}, "plain.seconds: must be a number above 0, not nan"),
        ({"plain": {"switch": "yes"}}, "plain.switch: must be true or false, not 'yes'"),
        ({"plain": {"text": 5}}, "plain.text: must be a text, not 5"),
        ({"plain": {"choice": "on"}}, "plain.choice: must be one of one, two, not 'on'"),
        ({"plain": {"choice": []}}, "plain.choice: must be one of one, two, not []"),
        ({"plain": {"texts": 5}}, "plain.texts: must be a list of texts, not 5"),
        ({"plain": {"texts": ["a", 5]}}, "plain.texts[1]: must be a list of texts, not ['a', 5]"),
        ({"plain": {"table": []}}, "plain.table: must be a table of texts"),
        ({"plain": {"maybe": -1}}, "plain.maybe: must be a whole number of at least 0, not -1"),
        ({"plain": {"text": "forbidden"}}, "plain.text: is forbidden"),
        ({"named": []}, "named: must be tables, [named.NAME]"),
        ({"named": {"x": 5}}, "named.x: must be a table"),
        ({"named": {"x": {}}}, "named.x.needed: is missing"),
        ({"named": {"x": {"needed": "", "keys": [5]}}}, "named.x.keys[0]: must be a text"),
        ({"listed": {}}, "listed: must be a list of tables, [[listed]]"),
        (
            {"listed": [{"needed": "1"}, {"nedded": "2"}]},
            "listed[1].nedded: there is no such setting; did you mean 'needed'?",
        ),
        ({"listed": [{"needed": "1", "file": "nowhere"}]}, "listed[0].file: there is no file 'nowhere'"),
    ],
)
def test_a_wrong_value_is_named_by_its_key(tables: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tables)

    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("PLAIN__TEXT", "5", Plain(text="5")),
        ("PLAIN__TEXT", "", Plain(text="")),
        ("plain__text", "b", Plain(text="b")),
        ("PLAIN__NUMBER", "7", Plain(number=7)),
        ("PLAIN__SECONDS", "0.5", Plain(seconds=0.5)),
        ("PLAIN__SECONDS", "7", Plain(seconds=7.0)),
        ("PLAIN__SWITCH", "true", Plain(switch=True)),
        ("PLAIN__SWITCH", "1", Plain(switch=True)),
        ("PLAIN__CHOICE", "two", Plain(choice="two")),
        ("PLAIN__TEXTS", "a, b,", Plain(texts=("a", "b"))),
        ("PLAIN__TEXTS", "", Plain()),
        ("PLAIN__TEXTS", '["a,b"]', Plain(texts=("a,b",))),
        ("PLAIN__TABLE", '{"x": "y"}', Plain(table={"x": "y"})),
        ("PLAIN__MAYBE", "0", Plain(maybe=0)),
        ("PLAIN__MAYBE", "null", Plain()),
        ("PLAIN", '{"text": "b"}', Plain(text="b")),
    ],
)
def test_a_variable_is_read_as_its_setting_needs(variable: str, text: str, expected: Plain) -> None:
    assert expected == read({}, {f"GRIPPROXY__{variable}": text}).plain


def test_variables_override_the_file_and_leave_the_rest() -> None:
    tables = {"plain": {"text": "b", "number": 5}, "listed": [{"needed": "1", "file": ""}]}
    environment = {
        "GRIPPROXY__PLAIN__NUMBER": "6",
        "GRIPPROXY__LISTED__0__NEEDED": "2",
        "GRIPPROXY_PLAIN__TEXT": "not ours",
        "PATH": "/",
    }

    assert Root(plain=Plain(text="b", number=6), listed=(Inner(needed="2"),)) == read(tables, environment)


def test_lists_of_tables_grow_by_index_in_the_order_of_numbers() -> None:
    environment = {f"GRIPPROXY__LISTED__{index}__NEEDED": str(index) for index in reversed(range(12))}

    assert [str(index) for index in range(12)] == [one.needed for one in read({}, environment).listed]


def test_a_whole_table_is_set_before_its_parts() -> None:
    environment = {"GRIPPROXY__LISTED__0__NEEDED": "b", "GRIPPROXY__LISTED": '[{"needed": "a", "keys": ["k"]}]'}

    assert (Inner(needed="b", keys=(Secret("k"),)),) == read({}, environment).listed


@pytest.mark.parametrize(
    ("part", "name"),
    [("MY_REALM", "my-realm"), ("my_realm", "my-realm"), ("NEW", "new"), ("New", "New"), ("OTHER", "Other")],
)
def test_a_name_is_found_whatever_its_case(part: str, name: str) -> None:
    tables = {"named": {"my-realm": {"needed": ""}, "Other": {"needed": ""}}}

    assert "b" == read(tables, {f"GRIPPROXY__NAMED__{part}__NEEDED": "b"}).named[name].needed


def test_keys_in_a_variable_are_one_text_or_json() -> None:
    """A key may hold commas, and any bytes."""
    for text, keys in (("a,b", ("a,b",)), ('["a", "b"]', ("a", "b")), ("a\udcff", ("a\udcff",))):
        environment = {"GRIPPROXY__LISTED__0__NEEDED": "", "GRIPPROXY__LISTED__0__KEYS": text}
        assert keys == read({}, environment).listed[0].keys


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("PLANE", "{}", "there is no setting 'plane'; did you mean 'plain'?"),
        ("PLAIN__TEX", "", "there is no setting 'tex'; did you mean 'text'?"),
        ("", "", "there is no setting ''"),
        ("PLAIN__", "", "there is no setting ''"),
        ("SOURCE", "", "there is no setting 'source'"),
        ("PLAIN__NUMBER", "x", "must be a whole number of at least 1, not 'x'"),
        ("PLAIN__NUMBER", "", "must be a whole number of at least 1, not ''"),
        ("PLAIN__SECONDS", "inf", "must be finite, not 'inf'"),
        ("PLAIN__SECONDS", "nan", "must be a number above 0, not 'nan'"),
        ("PLAIN__SWITCH", "yes", "must be true or false, not 'yes'"),
        ("PLAIN__CHOICE", "x", "must be one of one, two, not 'x'"),
        ("PLAIN__TABLE", "x", "is not JSON: JSON is malformed: invalid character (byte 0)"),
        ("PLAIN__TEXTS", "[", "is not JSON: Input data was truncated"),
        ("PLAIN__TEXT__MORE", "x", "TEXT is not a table"),
        ("LISTED__1__NEEDED", "x", "'1' must be an index up to 0"),
        ("LISTED__X__NEEDED", "x", "'X' must be an index up to 0"),
        ("LISTED__²__NEEDED", "x", "'²' must be an index up to 0"),
        (f"LISTED__{'9' * 5000}__NEEDED", "x", f"'{'9' * 5000}' must be an index up to 0"),
        ("PLAIN__TEXT", "\udcff", "is not UTF-8"),
        ("PLAIN__NUMBER", "1\udcff", "is not UTF-8"),
        ("PLAIN__TEXTS", "a,\udcff", "is not UTF-8"),
        ("PLAIN", "\udcff", "is not UTF-8"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read({}, {f"GRIPPROXY__{variable}": text})

    assert f"environment: GRIPPROXY__{variable}: {message}" == str(caught.value)


@pytest.mark.parametrize("wrong", [{"plain": 5}, {"listed": {}}, {"named": []}])
def test_a_variable_for_what_is_no_table_in_the_file_is_refused(wrong: dict[str, Any]) -> None:
    name = next(iter(wrong)).upper()
    path = {"PLAIN": "TEXT", "LISTED": "0__NEEDED", "NAMED": "X__NEEDED"}[name]
    with pytest.raises(ConfigError, match=f"environment: GRIPPROXY__{name}__{path}: "):
        read(wrong, {f"GRIPPROXY__{name}__{path}": "x"})


PARTS = st.sampled_from(["PLAIN", "NAMED", "LISTED", "TEXT", "NUMBER", "0", "1", "x", "", "KEYS", "NEEDED", "TABLE"])


@given(st.dictionaries(st.lists(PARTS, max_size=4).map("__".join), st.text(max_size=10), max_size=4))
def test_any_environment_is_read_or_refused(environment: dict[str, str]) -> None:
    with contextlib.suppress(ConfigError):
        read({}, {f"GRIPPROXY__{name}": text for name, text in environment.items()})


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from([*setting_types(Plain), "plain", "listed", "named", "needed", "keys", "file", "x"]),
            inner,
            max_size=3,
        ),
    ),
)


@given(st.dictionaries(st.sampled_from(["plain", "listed", "named", "x"]), JSON))
def test_any_tables_are_read_or_refused(tables: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        read(tables)


def test_an_error_is_one_line() -> None:
    assert "FILE: KEY: two lines" == str(setting_error("FILE", "KEY", "two\r\n lines"))


def test_overrides_go_into_tables() -> None:
    reader = Reader(None)
    tables: dict[str, Any] = {"plain": {"text": "b"}}
    reader.put(tables, "plain.number", 7)
    reader.put(tables, "top", 1)

    assert {"plain": {"text": "b", "number": 7}, "top": 1} == tables
    with pytest.raises(ConfigError, match="top: must be a table"):
        reader.put(tables, "top.below", 1)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (b"-----BEGIN X-----\nabc\n-----END X-----\n", "-----BEGIN X-----\nabc\n-----END X-----"),
        (b"  secret\n", "secret"),
        (b"hex:00ff\n", "hex:00ff"),
        (b"\xff", "\udcff"),
    ],
)
def test_a_key_file_is_read_from_beside_the_configuration(tmp_path: Path, content: bytes, key: str) -> None:
    (tmp_path / "realm.key").write_bytes(content)
    inner = Reader(tmp_path / "config.toml").struct(Inner, {"needed": "", "keys": "file:realm.key"})

    assert (key,) == inner.keys


def test_a_file_is_found_from_beside_the_configuration(tmp_path: Path) -> None:
    there = tmp_path / "ca.pem"
    there.touch()
    reader = Reader(tmp_path / "config.toml")

    assert str(there) == reader.struct(Inner, {"needed": "", "file": "ca.pem"}).file
    assert str(there) == reader.struct(Inner, {"needed": "", "file": str(there)}).file


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere", "there is no file"),
        (".", "there is no file"),
        ("empty", "is empty"),
        ("\0", "there is no file"),
        ("a" * 300, "cannot be read: File name too long"),
    ],
)
def test_a_key_file_that_cannot_be_used_is_named(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigError, match=rf"config.toml: keys\[0\]: .*{reason}"):
        Reader(tmp_path / "config.toml").struct(Inner, {"needed": "", "keys": f"file:{name}"})


def test_secrets_are_not_shown() -> None:
    assert "verysecret" not in repr(read({"listed": [{"needed": "", "keys": ["verysecret"]}]}))
    for wrong in (
        {"listed": "verysecret"},
        {"named": {"x": "verysecret"}},
        {"listed": [{"needed": "", "keys": ["verysecret", 5]}]},
    ):
        with pytest.raises(ConfigError) as caught:
            read(wrong)
        assert "verysecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"a = ", "is not TOML: "), (b"\xff", "is not TOML: "), (b"a = 1\na = 2", "is not TOML: ")]
)
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Reader(path).tables()

    assert str(caught.value).startswith(f"{path}: {reason}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("routes", "* localhost:8000", "; of Pushpin's routes, gripproxy import-routes makes it"),
        ("pushpin.conf", "[a]\nb={c}/d", '; docs/configuration.md says what takes its place ("Coming from Pushpin")'),
    ],
)
def test_files_of_pushpin_are_known(tmp_path: Path, name: str, content: str, hint: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        Reader(path).tables()
    assert str(caught.value).endswith(hint)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: No such file"):
        Reader(tmp_path / "nowhere.toml").tables()
