"""A configuration that is read again, and the files that it is made of."""

import os
from pathlib import Path

import pytest

from gripproxy.config.reader import stamp_of
from gripproxy.config.source import Source
from gripproxy.errors import ConfigError

TOML = """
[server]
certificate = "door.pem"
[realms.a]
key = "file:a.key"
[[routes]]
backends = "http://a"
ca = "ca.pem"
"""
FILES = {"config.toml": TOML, "door.pem": "1", "a.key": "2", "ca.pem": "3", "env.key": "4"}


@pytest.fixture
def source(tmp_path: Path) -> Source:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    variables = {"GRIPPROXY__REALMS__A__SIG_KEY": "file:env.key", "GRIPPROXY__LOG__LEVEL": "debug"}
    return Source(tmp_path / "config.toml", variables, {"server.listen": "127.0.0.1:1"})


def names(source: Source) -> set[str]:
    return {Path(path).name for path in source.stamps}


def test_the_file_is_read_again_behind_the_same_variables_and_options(source: Source, tmp_path: Path) -> None:
    assert "debug" == source.read().log.level
    (tmp_path / "config.toml").write_text(TOML + 'prefix = "p"\n[log]\njson = true\n')
    again = source.read()
    assert ("debug", True, "p") == (again.log.level, again.log.json, again.routes[0].prefix)
    assert ("127.0.0.1:1",) == again.server.listen


def test_the_environment_is_that_of_the_start() -> None:
    variables = {"GRIPPROXY__LOG__LEVEL": "debug"}
    source = Source(None, variables, {"backend": "http://a"})
    variables["GRIPPROXY__LOG__LEVEL"] = "error"
    assert "debug" == source.read().log.level


def test_every_file_is_stamped(source: Source) -> None:
    source.read()
    assert set(FILES) == names(source)
    assert source.stamps == source.look()


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_that_is_written_has_another_stamp(source: Source, tmp_path: Path, name: str) -> None:
    source.read()
    (tmp_path / name).write_text(FILES[name] + "\n# longer")
    now = source.look()
    assert [name] == [Path(path).name for path in now if now[path] != source.stamps[path]]


def test_a_file_of_the_same_size_and_time_in_its_place_has_another_stamp(tmp_path: Path) -> None:
    """As with `cp --preserve`, or a folder of Kubernetes in which a link leads elsewhere."""
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        os.utime(tmp_path / name / "file", (1, 1))
    link = tmp_path / "link"
    link.symlink_to("a")
    before = stamp_of(link / "file")
    other = tmp_path / "other"
    other.symlink_to("b")
    other.replace(link)
    assert before != stamp_of(link / "file")
    assert before is not None


@pytest.mark.parametrize("path", ["/nowhere/at/all", "a\0b"])
def test_what_is_not_there_has_no_stamp(path: str) -> None:
    assert stamp_of(path) is None


def test_a_missing_file_is_waited_for_too(source: Source, tmp_path: Path) -> None:
    """The one that is missing, so that its coming is seen."""
    (tmp_path / "a.key").unlink()
    with pytest.raises(ConfigError, match="there is no file"):
        source.read()
    assert source.stamps[str(tmp_path / "a.key")] is None
    (tmp_path / "a.key").write_text("2")
    assert source.look() != source.stamps


def test_without_a_file_there_is_nothing_to_look_at() -> None:
    source = Source(None, {}, {"backend": "http://a"})
    source.read()
    assert {} == source.look()
