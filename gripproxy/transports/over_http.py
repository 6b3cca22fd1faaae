"""WebSocket-over-HTTP: the short loop around `grip.websocket.Session`.

The session says what to POST and what to do; nothing waits while it has nothing to say, so an idle client costs no
task. A batch's answer is worked off in one turn of the loop.
"""

import asyncio
import logging
from collections.abc import Callable

from gripproxy.backend import Backend, Request
from gripproxy.errors import BackendError
from gripproxy.grip.commands import Accept, BadControl, Close, Command, Control, Disconnect, Reject, Send
from gripproxy.grip.commands import Request as SessionRequest
from gripproxy.grip.events import Event
from gripproxy.grip.fields import Fields, field, pack_fields, text, unpack_fields
from gripproxy.grip.websocket import RETRIED, Session
from gripproxy.routes import Route, log_extra
from gripproxy.targets import Target
from gripproxy.transports.holds import History
from gripproxy.transports.websocket import FRAME_HEAD_MAX, WebSocketHold

log = logging.getLogger("gripproxy.websocket")

# Bytes that the client has not taken, above which the backend is not asked for more; Pushpin's.
UNSENT_MAX = 200_000

# Seconds until a client that has not taken enough is looked at again.
UNSENT_WAIT = 0.2

_DISCONNECT = Event("DISCONNECT")

# Status codes by which nobody means to refuse a WebSocket, though they do: a view answered that does not know of them.
_NO_REFUSALS = frozenset((*range(200, 300), 405))


class OverHttp:
    """The requests of one client's WebSocket."""

    __slots__ = (
        "_backend",
        "_fields",
        "_history",
        "_is_waiting",
        "_origin",
        "_route",
        "_target",
        "_task",
        "answered",
        "failure",
        "hold",
        "session",
        "target",
    )

    def __init__(
        self,
        backend: Backend,
        route: Route,
        target: bytes,
        fields: Fields,
        session: Session,
        history: History,
        origin: str = "",
    ) -> None:
        """``fields`` are those of the client's handshake, which are sent with every request.

        ``origin`` is the absolute URI that the client asked for, where ``target`` is not its path.
        """
        self._backend = backend
        self._history = history
        self._origin = origin
        self._route = route
        self._target = target
        self._fields = pack_fields(fields)
        self._task: asyncio.Task[None] | None = None
        # Whether the task waits for a place, and has no request under way.
        self._is_waiting = False
        # The moment of the answer that is to be obeyed: what it subscribes to is not missed from then on.
        self.answered: int | None = None
        self.session = session
        # The backend that answered last; who comes from the handshake learns from it who accepted.
        self.target: Target | None = None
        # Why the latest request came to nothing, in the words of the metrics.
        self.failure = ""
        self.hold: WebSocketHold | None = None

    @property
    def uri(self) -> str:
        """What the client asked for."""
        if self._origin:
            return self._origin
        fields = unpack_fields(self._fields)
        scheme = "https" if field(fields, b"x-forwarded-proto") in (b"https", b"wss") else "http"
        host = field(fields, b"host") or b""
        return f"{scheme}://{text(host)}{self._target.decode('latin-1')}"

    @property
    def _log_extra(self) -> dict[str, object]:
        """What log records have beside their message; the requests of a client have the id of its handshake."""
        hold, id_fields = self.hold, self._route.id_fields(unpack_fields(self._fields))
        return {**({"route": self._route.id} if hold is None else hold.log_extra), **log_extra(id_fields)}

    async def open(self) -> tuple[Accept, list[Command]] | Reject:
        """Ask the backend whether it accepts the WebSocket; return what it says, and what it wants done then.

        When this is cancelled, because the client is lost or has waited long enough, the question stands all the same:
        a backend that says yes is told that there is no client any more.
        """
        loop = asyncio.get_running_loop()
        while True:
            request = self.session.next_request(loop.time())
            if request is None:
                # The backend put its decision off (an empty answer with Keep-Alive-Interval).
                assert self.session.deadline is not None
                await self._sleep(self.session.deadline - loop.time())
                continue
            asking = loop.create_task(self._ask(request))
            try:
                commands = await asyncio.shield(asking)
            except asyncio.CancelledError:
                self.session.receive(_DISCONNECT)
                self._task = loop.create_task(self._outlive(asking))
                raise
            for index, command in enumerate(commands):
                if isinstance(command, Reject):
                    return command
                if isinstance(command, Accept):
                    return command, commands[index + 1 :]

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.sleep(max(0.0, seconds))
        except asyncio.CancelledError:
            self.receive(_DISCONNECT)
            raise

    async def _outlive(self, asking: asyncio.Task[list[Command]]) -> None:
        try:
            await asking
        finally:
            self._task = None
        self._proceed()

    async def _ask(self, request: SessionRequest) -> list[Command]:
        """POST one request; return what its answer wants done."""
        now = asyncio.get_running_loop().time
        # The backends that are there now, where some of them still take WebSockets in this way.
        self._route = self._backend.current(self._route).part(self._route.targets[0].kind) or self._route
        asked = Request("POST", self._target, unpack_fields(self._fields) + request.fields, request.body)
        try:
            response = await self._backend.fetch(self._route, asked)
            self.answered = self._history.turn
            try:
                with self._history.remembering():
                    body, is_whole = await response.read(self.session.limits.response_size)
            finally:
                response.close()
            self.target = response.target
            if response.status in RETRIED and self.hold is not None:
                self._backend.pass_over(response.target)  # the repetition should meet another one
        except BackendError as error:
            extra = {**self._log_extra, "backend": error.backend}
            log.warning("%s: WebSocket-over-HTTP: %s", self._route.id, error, extra=extra)
            self.failure = error.kind
            return self.session.receive_failure("backend unavailable", error.is_repeatable, now(), error.status)
        if not is_whole:
            # An answer that can't be used: the batch was processed, so it is not sent again.
            self.failure = "error"
            log.warning(
                "%s: WebSocket-over-HTTP: %s sent too many bytes of events",
                self._route.id,
                response.target,
                extra={**self._log_extra, "backend": str(response.target)},
            )
            return self.session.receive_response(500, "", (), b"", now())
        commands = self.session.receive_response(response.status, response.reason, response.fields, body, now())
        for command in commands:
            if isinstance(command, Reject) and command.fault:
                self.failure = "instructions"
                log.warning(
                    "%s: WebSocket-over-HTTP: %s answered OPEN with %s",
                    self._route.id,
                    response.target,
                    command.fault,
                    extra={**self._log_extra, "backend": str(response.target)},
                )
            elif isinstance(command, Reject) and command.status in _NO_REFUSALS:
                log.warning(
                    "%s: WebSocket-over-HTTP: %s answered OPEN with %d and no events; is the view made for WebSockets, "
                    'and websocket = "over-http" right?',
                    self._route.id,
                    response.target,
                    command.status,
                    extra={**self._log_extra, "backend": str(response.target), "status": command.status},
                )
        return commands

    def begin(self) -> None:
        """Go on after the handshake: messages may wait already, and so may a keep-alive."""
        self._proceed()

    # The side of the client

    @property
    def is_full(self) -> bool:
        """Whether as much waits for the backend as may."""
        return self.session.is_full

    def receive(self, event: Event) -> None:
        """Take what the client sent, and POST it when nothing is under way."""
        self.session.receive(event)
        self._proceed()

    def refresh(self) -> None:
        """Ask the backend whether it has something to say."""
        self.session.refresh()
        self._proceed()

    def release(self) -> None:
        """Forget the client, who is gone, once the backend knows all there is to know."""
        if self.session.is_closed:
            self.hold = None  # or only the garbage collector would find the two

    def on_due(self) -> None:
        """Go on where the session wanted to wait."""
        self._proceed()

    def _proceed(self) -> None:
        if self._task is not None and not (self._is_waiting and self.session.has_events):
            return
        loop = asyncio.get_running_loop()
        hold = self.hold
        if hold is not None and not hold.has_closed and hold.unsent > UNSENT_MAX:
            hold.wake_at(loop.time() + UNSENT_WAIT)
            return
        if hold is not None and hold.is_wide:
            hold.narrow()
        if self._task is not None:
            self._task.cancel()  # what the client has to say waits for no place
            self._task, self._is_waiting = None, False
        now = loop.time()
        if not self.session.is_due(now):
            self._wake_later(hold)
        elif hold is not None and not hold.is_over and not self.session.has_events:
            self._is_waiting = True
            self._task = loop.create_task(self._refresh(hold))
        else:
            self._task = loop.create_task(self._converse(self._next_request(now)))

    def _next_request(self, now: float) -> SessionRequest:
        """Return what is due."""
        request = self.session.next_request(now)
        assert request is not None
        if self.hold is not None:
            self.hold.holds.talking += 1
        return request

    def _wake_later(self, hold: WebSocketHold | None) -> None:
        at = self.session.deadline
        if hold is not None:
            hold.wake_at(at)
        elif at is not None:
            # There was no client to hold; the backend said yes.
            asyncio.get_running_loop().call_at(at, self._proceed)

    async def _refresh(self, hold: WebSocketHold) -> None:
        """Ask the backend when there is a place: a publish can want thousands of sessions refreshed."""
        async with hold.holds.refreshing:
            self._is_waiting = False
            await self._converse(self._next_request(asyncio.get_running_loop().time()))

    async def _converse(self, request: SessionRequest) -> None:
        hold = self.hold
        try:
            if hold is not None and hold.is_over:
                # Thousands of clients may leave in one moment; the backend hears of that at its own pace.
                async with hold.holds.parting:
                    commands = await self._ask(request)
            else:
                commands = await self._ask(request)
            self.obey(commands)
            # It may have become full, and the client been stopped, while the request was under way.
            if self.hold is not None and not self.session.is_full:
                self.hold.resume()
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("%s: a fault in a WebSocket conversation", self._route.id, extra=self._log_extra)
            if self.hold is not None:
                self.hold.cut("a fault of the proxy")
        finally:
            self._task = None
            if hold is not None:
                hold.holds.talking -= 1
        if not self.session.is_closed:
            self._proceed()
        elif hold is not None:
            hold.wake_at(None)  # the interval that was agreed upon may be hours, and the timer would keep the two
            if hold.connection is None:
                self.hold = None

    def obey(self, commands: list[Command]) -> None:
        """Do what the session wants done to the client, in order."""
        hold = self.hold
        if hold is None:
            return
        hold.widen(sum(len(command.content) + FRAME_HEAD_MAX for command in commands if type(command) is Send))
        for command in commands:
            _COMMANDS[type(command)](hold, command)
        self.answered = None


def _send(hold: WebSocketHold, command: Send) -> None:
    hold.send(command.type, command.content)


def _control(hold: WebSocketHold, command: Control) -> None:
    hold.obey(command.message)


def _close(hold: WebSocketHold, command: Close) -> None:
    if command.code == 1011:
        hold.fail(command.reason)
    else:
        hold.close(command.code, command.reason)


def _disconnect(hold: WebSocketHold, command: Disconnect) -> None:
    hold.cut(command.reason)


def _bad_control(hold: WebSocketHold, command: BadControl) -> None:
    log.debug("%s: ignored from the backend: %s", hold.route.id, command.reason)


def _nothing(hold: WebSocketHold, command: Command) -> None:
    """Accept and Reject are for the handshake, which is over."""


_COMMANDS: dict[type, Callable[[WebSocketHold, Command], None]] = {
    Send: _send,  # type: ignore[dict-item]  # the key says which
    Control: _control,  # type: ignore[dict-item]
    Close: _close,  # type: ignore[dict-item]
    Disconnect: _disconnect,  # type: ignore[dict-item]
    BadControl: _bad_control,  # type: ignore[dict-item]
    Accept: _nothing,
    Reject: _nothing,
}
