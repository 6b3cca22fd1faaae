"""Reading the configuration again: whole or not at all, one at a time, with an answer for everybody who asked."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gripproxy import reload as reloading
from gripproxy.changes import Outcome
from gripproxy.config.source import Source
from gripproxy.metrics import Metrics
from gripproxy.reload import STOPPING, Reload
from gripproxy.resolved import Resolved, resolve_config
from tests.unit.certificate_files import NOW, write_certificate

KEY = b"random" * 6
BEGIN = '[[routes]]\nbackends = "http://a"\n'
DEBUG = "debug = true\n" + BEGIN


class House:
    """A file, what reads it again, and what was taken of it."""

    def __init__(self, folder: Path, text: str = BEGIN) -> None:
        self.file = folder / "config.toml"
        self.file.write_text(text)
        self.source = Source(self.file, {}, {})
        start = resolve_config(self.source.read(), KEY)
        self.taken: list[Resolved] = []
        self.told: list[str] = []
        self.metrics = Metrics()
        self.clock = 1000.0
        self.reload = Reload(
            self.source, start, KEY, self.taken.append, self.metrics, lambda: self.clock, self.told.append
        )

    def counts(self) -> dict[Any, int]:
        return {name: count for name, count in self.metrics.reloads.items() if count}

    async def ask(self, text: str | None = None) -> Outcome:
        if text is not None:
            self.file.write_text(text)
        return await self.reload.ask("SIGHUP")


def run(house: House, test: Callable[[], Awaitable[None]]) -> None:
    async def inside() -> None:
        task = asyncio.create_task(house.reload.run())
        try:
            await test()
        finally:
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(asyncio.wait_for(inside(), 10))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records if "gripproxy" in record.name]


def test_what_has_changed_is_taken_and_told(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def test() -> None:
        house.clock = 2000.0
        outcome = await house.ask(BEGIN + 'prefix = "p"\n[limits]\nunsent = 7000000\n')
        assert Outcome("applied", f"Reloaded: {changes}.") == outcome

    changes = "routes: 0 added, 1 changed, 0 removed; limits.unsent"
    run(house, test)
    (taken,) = house.taken
    assert taken is house.reload.current
    assert (7_000_000, ["p"]) == (taken.config.limits.unsent, [route.prefix for route in taken.routes])
    assert ({"applied": 1}, 2000.0) == (house.counts(), house.metrics.config_read)
    assert [f"INFO reloaded after SIGHUP: {changes}"] == lines(caplog)
    assert ["RELOADING=1", "READY=1"] == [state.partition("\n")[0] for state in house.told]


def test_the_same_again_changes_nothing(house: House) -> None:
    async def test() -> None:
        house.clock = 2000.0
        assert Outcome("unchanged", "Reloaded: nothing to change.") == await house.ask(BEGIN + "# a comment\n")

    run(house, test)
    assert ([], {"unchanged": 1}, 2000.0) == (house.taken, house.counts(), house.metrics.config_read)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BEGIN + "[limits]\nunsnt = 7\n", "limits.unsnt: there is no such setting; did you mean 'unsent'?"),
        (BEGIN + "[realms.a]\nkey = 'hex:x'\n", "realms.a.key: the key is not valid hex"),
        (BEGIN + "[log", "is not TOML: "),
        ("", "routes: there is none"),
    ],
)
def test_with_a_fault_everything_goes_on_as_before(
    house: House, caplog: pytest.LogCaptureFixture, text: str, reason: str
) -> None:
    before = house.reload.current

    async def test() -> None:
        outcome = await house.ask(text)
        assert "refused" == outcome.result
        assert outcome.text.startswith(f"{house.file}: {reason}")
        assert "applied" == (await house.ask(DEBUG)).result

    run(house, test)
    assert (1, {"refused": 1, "applied": 1}) == (len(house.taken), house.counts())
    assert before is not house.reload.current
    error = next(line for line in lines(caplog) if line.startswith("ERROR "))
    assert error.startswith(f"ERROR not reloaded after SIGHUP, everything goes on as before: {house.file}: {reason}")


def test_a_fault_of_ours_is_no_end_either(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    async def test() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(reloading, "applicable", fail)
            assert Outcome("refused", "a fault of the proxy: RuntimeError") == await house.ask()
        assert "unchanged" == (await house.ask()).result

    run(house, test)


def test_what_needs_a_restart_is_named_each_time(house: House, caplog: pytest.LogCaptureFixture) -> None:
    text = '[server]\nlisten = ":1"\nbacklog = 5\n[control]\nmax_body = 5\n' + BEGIN

    async def test() -> None:
        said = "A restart is needed for server.listen, server.backlog."
        assert Outcome("applied", f"Reloaded: control.max_body. {said}") == await house.ask(text)
        assert Outcome("unchanged", f"Reloaded: nothing to change. {said}") == await house.ask(text)

    run(house, test)
    assert ("127.0.0.1:7999",) == house.taken[0].config.server.listen
    warning = "WARNING a restart is needed for what has changed of server.listen, server.backlog"
    assert [warning, warning] == [line for line in lines(caplog) if line.startswith("WARNING")]


def test_new_doubts_are_said_and_old_ones_are_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    weak = '[realms.{}]\nkey = "changeme"\n'
    house = House(tmp_path, BEGIN + weak.format("a"))

    async def test() -> None:
        await house.ask(BEGIN + weak.format("a") + weak.format("b"))

    run(house, test)
    assert [
        "WARNING realms.b: no route is of this realm, so nobody can be subscribed in it",
        "WARNING realms.b: the key 'changeme' is known to everyone",
    ] == lines(caplog)


def test_a_renewed_certificate_is_a_change(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    door = write_certificate(tmp_path / "door.pem", ["a"])
    house = House(tmp_path, '[server]\ncertificate = "door.pem"\n' + BEGIN)
    house.clock = NOW.timestamp()

    async def test() -> None:
        write_certificate(tmp_path / "door.pem", ["a"], 86_000)
        assert Outcome("applied", f"Reloaded: files: {door}.") == await house.ask()

    run(house, test)
    assert "expires in 0 days" in lines(caplog)[-1]


def test_all_who_ask_at_one_time_share_a_reading_and_later_ones_get_another(house: House) -> None:
    """A reading may be past what has changed since."""

    async def test() -> None:
        first, second = house.reload.ask("SIGHUP"), house.reload.ask("SIGHUP")
        assert first is second
        while not house.told:
            await asyncio.sleep(0)
        house.file.write_text(DEBUG)
        assert "applied" in [(await asked).result for asked in (first, house.reload.ask("SIGHUP"))]
        assert house.reload.current.config.debug

    run(house, test)


def test_who_asks_when_it_stops_is_told_so(house: House) -> None:
    async def test() -> None:
        task = asyncio.create_task(house.reload.run())
        before = house.reload.ask("SIGHUP")
        await asyncio.sleep(0)
        under_way = house.reload.ask("SIGHUP")
        task.cancel()
        await asyncio.wait([task])
        assert [STOPPING] * 3 == [await asked for asked in (before, under_way, house.reload.ask("SIGHUP"))]

    asyncio.run(test())


# --- watching


class Watched(House):
    """Looks at its files all the time, and counts the looks."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "[server]\nwatch = true\n" + BEGIN)
        self.looks = 0
        look = self.source.look

        def count() -> Any:
            self.looks += 1
            return look()

        self.source.look = count  # type: ignore[method-assign]

    async def looked(self, times: int = 5) -> None:
        until = self.looks + times
        while self.looks < until:
            await asyncio.sleep(0)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(reloading, "POLL", 0.0)
    return Watched(tmp_path)


def test_a_file_that_changes_is_read_once(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def test() -> None:
        await watched.looked()
        assert [] == watched.taken
        watched.file.write_text("debug = true\n[server]\nwatch = true\n" + BEGIN)
        await watched.looked(10)

    run(watched, test)
    assert ["INFO reloaded after a change of files: debug"] == lines(caplog)


def test_a_file_with_a_fault_is_reported_once_and_its_next_change_is_tried(watched: Watched) -> None:
    async def test() -> None:
        watched.file.write_text("[server]\nwatch = tr")
        await watched.looked(10)
        assert {"refused": 1} == watched.counts()
        watched.file.write_text("debug = true\n[server]\nwatch = true\n" + BEGIN)
        await watched.looked(10)
        assert {"refused": 1, "applied": 1} == watched.counts()

    run(watched, test)


def test_a_file_that_is_being_written_is_waited_for(watched: Watched) -> None:
    """It is read when two looks find the same."""
    source: Any = watched.source
    stamps = [("x", number) for number in (1, 2, 3, 4, 4)]

    def look() -> Any:
        watched.looks += 1
        return {"f": stamps.pop(0)} if stamps else dict(source.stamps)

    async def test() -> None:
        source.look = look
        while stamps:
            assert {} == watched.counts()
            await asyncio.sleep(0)
        await watched.looked(3)
        assert {"unchanged": 1} == watched.counts()

    run(watched, test)


def test_watching_can_be_switched_off_and_on(watched: Watched) -> None:
    async def test() -> None:
        await watched.ask(BEGIN)
        looks = watched.looks
        watched.file.write_text(DEBUG)
        for _ in range(50):
            await asyncio.sleep(0)
        assert looks == watched.looks
        await watched.ask("[server]\nwatch = true\n" + BEGIN)
        await watched.looked()

    run(watched, test)
