"""What becomes of holds that end, and of those that want something of the backend and go on.

    hold ──┬── Done    its gone link is told, and its connection left to the client's next request
           ├── Replay  the backend is asked the held request again, and answers the client anew
           └── Follow  the next link is asked for, and the stream goes on with it

A filter's question is asked here, too, and whoever doubts that his holds have everything has them ask. A hold itself
never asks: it says what it wants, and is told.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from gripproxy.backend import Backend, Request
from gripproxy.errors import BackendError, FilterError, InstructError
from gripproxy.grip.detection import asked_again
from gripproxy.grip.fields import Fields
from gripproxy.grip.filters import Question, Reply
from gripproxy.grip.instruct import Instruct, is_instruct
from gripproxy.hub import GONE
from gripproxy.links import Links, resolve
from gripproxy.metrics import Metrics
from gripproxy.routes import Route, Routes
from gripproxy.transports import Done, Follow, Outcome, Replay
from gripproxy.transports.client import Client
from gripproxy.transports.held import peer_of
from gripproxy.transports.holds import Hold, Holds
from gripproxy.transports.linked import LinkedStream
from gripproxy.transports.response import ResponseHold
from gripproxy.transports.stream import StreamHold
from gripproxy.transports.websocket import WebSocketHold

log = logging.getLogger("gripproxy.proxy")

# Holds that are told to ask the backend again in one go, and the pause in seconds before the next ones: Pushpin's are
# 10 a second, each for up to 100 equal ones.
REFRESHED_AT_ONCE = 20
REFRESH_PAUSE = 0.1

AnyHold = StreamHold | ResponseHold | WebSocketHold

# Asks a backend for an answer to a client that was held: the client, its route, its request, what it asked for, and
# how many may ask at a time.
AnswerAnew = Callable[[Client, Route, Request, str, asyncio.Semaphore], Awaitable[None]]
# Reads a response's instructions: `Instructs.read`.
Read = Callable[[Route, int, str, Fields, bytes], Instruct]


class Endings:
    """Acts on what the holds of one client door come to."""

    def __init__(self, backend: Backend, routes: Routes, metrics: Metrics, answer_anew: AnswerAnew) -> None:
        self._routes = routes
        self._metrics = metrics
        self._answer_anew = answer_anew
        self._links = Links(backend, routes)
        self._read: Read
        # Set by the server, as the proxy's.
        self.holds: Holds
        # Requests under way; the set keeps them alive.
        self._tasks: set[asyncio.Task[None]] = set()

    def configure(self, read: Read) -> None:
        """Go on by a configuration."""
        self._read = read
        self._links.forget_routes()

    def on_end(self, hold: Hold, outcome: Outcome) -> None:
        """Act on what a hold ended with, or on a link that it wants to have."""
        if isinstance(outcome, Follow):
            assert isinstance(hold, LinkedStream)
            self._start(self._follow(hold, outcome))
            return
        gone_link: str | None = getattr(hold, "gone_link", None)
        if gone_link is not None and isinstance(hold, StreamHold | ResponseHold):
            host = urlsplit(hold.origin).netloc
            self._start(self._links.post_gone(self.holds.history, hold.route, host, gone_link))
        reason = outcome.reason if isinstance(outcome, Done) else "replay"
        self._metrics.disconnects[self._metrics.route_names[hold.route.id], hold.transport_name, reason] += 1
        if isinstance(outcome, Done):
            if getattr(hold, "is_kept", False):
                self.holds.settle(hold)
        elif isinstance(hold, ResponseHold):
            self._start(self._replay(hold, outcome))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        self.holds.talking += 1
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.holds.talking -= 1

    async def _replay(self, hold: ResponseHold, outcome: Replay) -> None:
        """Ask the backend the request of a hold again."""
        client = Client(
            self.holds.server,
            None,
            hold,
            peer=peer_of(hold.connection),
            is_head=hold.is_head,
            is_chunkable=True,
            is_kept=hold.is_kept,
        )
        client.asked, client.route_id = outcome.asked, hold.route.id
        client.cors = hold.cors
        client.id_fields = hold.route.id_fields(hold.request.fields)
        request = hold.request
        asked = replace(request, fields=asked_again(request.fields, outcome.last_ids))
        route = self._routes.current(hold.route, is_whole=True)
        try:
            await self._answer_anew(client, route, asked, hold.origin, self._links.places("replay", route))
        except ConnectionResetError:
            pass
        except Exception:
            log.exception("%s: a replay failed", hold.route.id, extra=client.log_extra)
            client.abort()

    async def _follow(self, hold: LinkedStream, outcome: Follow) -> None:
        """Fetch the next link of a stream, and have the stream go on with it."""
        history, uri = self.holds.history, resolve(hold.uri, outcome.link.uri)
        last_ids, moment = outcome.last_ids, outcome.moment
        try:
            answer = await self._links.fetch(
                history,
                hold.route,
                hold.host,
                uri,
                last_ids,
                moment,
                lambda: hold.transport is not GONE,
                hold.link_fields,
            )
            if is_instruct(answer.fields):
                instruct = self._read(hold.route, answer.status, answer.reason, answer.fields, answer.body)
            else:
                instruct = Instruct(hold=None, body=answer.body)
        except (BackendError, InstructError) as error:
            extra = {**hold.log_extra, "backend": getattr(error, "backend", "")}
            log.warning("%s: next link %s: %s", hold.route.id, uri, error, extra=extra)
            hold.fail(str(error))
            return
        except Exception:
            log.exception("%s: next link %s", hold.route.id, uri, extra=hold.log_extra)
            hold.fail("a fault of the proxy")  # otherwise it would wait for this answer for ever
            return
        hold.advance(instruct, uri, answer.moments)

    def ask(self, hold: Hold, uri: str, question: Question, then: Callable[[Reply | FilterError], None]) -> None:
        """Ask what a hold's filter wants to know; ``then`` is told the reply, or why there is none."""
        self._start(self._ask_filter(hold, uri, question, then))

    async def _ask_filter(
        self, hold: Hold, uri: str, question: Question, then: Callable[[Reply | FilterError], None]
    ) -> None:
        try:
            reply = await self._links.ask_filter(self.holds.history, hold.route, uri, question)
        except BackendError as error:
            then(FilterError(str(error)))
        else:
            then(reply)

    def refresh(self, realm: str | None) -> None:
        """Have all holds of a realm (None: of all) ask the backend whether something was missed, a slice at a time."""
        holds = [hold for hold in self.holds.open if isinstance(hold, AnyHold)]
        holds = [hold for hold in holds if realm is None or hold.route.realm == realm]
        self.refresh_some(holds)

    def refresh_some(self, holds: Sequence[Hold]) -> None:
        """Have these ask their backends, a slice at a time."""
        for hold in holds[:REFRESHED_AT_ONCE]:
            if hold in self.holds.open:
                hold.refresh()
        if len(holds) > REFRESHED_AT_ONCE:
            asyncio.get_running_loop().call_later(REFRESH_PAUSE, self.refresh_some, holds[REFRESHED_AT_ONCE:])
