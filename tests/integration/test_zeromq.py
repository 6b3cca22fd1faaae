"""The ZeroMQ inputs over real sockets: pubcontrol, plain pyzmq, and messages that are none.

What the command socket and the statistics tell is in tests/conformance.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tnetstring
import zmq
from gripcontrol import GripPubControl, HttpStreamFormat
from pubcontrol import Item, ZmqPubControlClient

from tests.integration.conftest import ROOT, Proxy
from tests.integration.processes import Processes
from tests.integration.streams import LIMIT, Stream, holding_backend
from tests.ports import free_port

CONFIG = """
[control]
max_body = 100000

[limits]
subscription_linger = 0.2

[realms.other]
max_item = 1000

[[routes]]
backends = ["{backend}"]
realm = "other"

[[routes]]
path = "/elsewhere"
backends = ["{backend}"]

[zeromq]
realm = "other"
"""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A running proxy and its ZeroMQ addresses."""

    proxy: Proxy
    pull: str = ""
    sub: tuple[str, ...] = ()
    command: str = ""
    stats: str = ""
    ipc_file_mode: str = ""


def start(processes: Processes, backend: str, *, sub_connect: bool = False, **addresses: Any) -> Inputs:
    listen, control = free_port(), free_port()
    config = processes.folder / "gripproxy.toml"
    settings = {"sub_connect": sub_connect, **addresses}
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    config.write_text(CONFIG.format(backend=backend) + lines)
    command = [sys.executable, "-m", "gripproxy", "run", "--config", str(config)]
    ours = ["--listen", f"127.0.0.1:{listen}", "--control", f"127.0.0.1:{control}"]
    process = processes.start("proxy", *command, *ours, environment={"PYTHONPATH": str(ROOT)}, ports=[listen, control])
    process.wait_for_output("clients on")
    return Inputs(Proxy(f"http://127.0.0.1:{listen}", f"http://127.0.0.1:{control}", process), **addresses)


def free_address() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def backend() -> Iterator[str]:
    with holding_backend() as url:
        yield url


@pytest.fixture(scope="module")
def inputs(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inputs]:
    folder = tmp_path_factory.mktemp("zeromq")
    with Processes(folder) as processes:
        sub = (free_address(), f"ipc://{folder}/sub")
        yield start(processes, backend, pull=free_address(), sub=sub, command=free_address())


@pytest.fixture
def hold(inputs: Inputs) -> Iterator[Callable[[str], Stream]]:
    """Holds a stream: `hold(path)`, whose last part is the channel."""
    streams: list[Stream] = []

    def begin(path: str) -> Stream:
        streams.append(Stream(inputs.proxy.url + path))
        return streams[-1]

    yield begin
    for stream in streams:
        stream.close()


Connect = Callable[..., Any]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes a ZeroMQ socket that ends with the test: `connect(kind, address, is_binding=False)`."""
    sockets: list[zmq.Socket[bytes]] = []

    def make(kind: int, address: str, is_binding: bool = False) -> zmq.Socket[bytes]:
        made = context.socket(kind)
        sockets.append(made)
        made.setsockopt(zmq.SNDTIMEO, int(LIMIT * 1000))
        made.setsockopt(zmq.RCVTIMEO, int(LIMIT * 1000))
        made.bind(address) if is_binding else made.connect(address)
        return made

    with zmq.Context() as context:
        yield make
        for one in sockets:
            one.close(linger=0)


def wait_for(xpub: Any, news: bytes) -> None:
    """Receives what an XPUB socket is told until it is this: 1 (first subscriber) or 0 (none), and a channel."""
    while xpub.recv() != news:
        pass


def as_bytes(value: Any) -> Any:
    if isinstance(value, dict):
        return {name.encode(): as_bytes(element) for name, element in value.items()}
    return value.encode() if isinstance(value, str) else value


def item(content: str, channel: str | None = None) -> dict[str, Any]:
    plain: dict[str, Any] = {"formats": {"http-stream": {"content": content}}}
    return plain if channel is None else {**plain, "channel": channel}


def as_json(plain: dict[str, Any]) -> bytes:
    return b"J" + json.dumps(plain).encode()


def as_typed(plain: dict[str, Any]) -> bytes:
    return b"T" + as_typed_without_letter(plain)


def as_typed_without_letter(plain: dict[str, Any]) -> bytes:
    return bytes(tnetstring.dumps(as_bytes(plain)))


CODINGS = [as_json, as_typed, as_typed_without_letter]


@pytest.mark.parametrize("encode", CODINGS)
def test_a_held_stream_receives_what_is_pushed(
    encode: Callable[[dict[str, Any]], bytes],
    inputs: Inputs,
    hold: Callable[[str], Stream],
    connect: Connect,
) -> None:
    stream = hold("/pushed")
    push = connect(zmq.PUSH, inputs.pull)
    for number in range(200):
        push.send(encode(item(f"{number}\n", "pushed")))

    assert [b"%d\n" % number for number in range(200)] == [stream.line() for _ in range(200)]


@pytest.mark.parametrize("encode", CODINGS)
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_a_publisher_learns_of_subscribers_and_reaches_them(
    transport: str,
    encode: Callable[[dict[str, Any]], bytes],
    inputs: Inputs,
    hold: Callable[[str], Stream],
    connect: Connect,
) -> None:
    channel = f"{transport}-{encode.__name__}"
    early = hold(f"/early-{channel}")
    xpub = connect(zmq.XPUB, inputs.sub[transport == "ipc"])
    # Of channels that had subscribers before it connected, it learns too.
    wait_for(xpub, f"\1early-{channel}".encode())
    stream = hold(f"/{channel}")
    wait_for(xpub, f"\1{channel}".encode())
    xpub.send_multipart([channel.encode(), encode(item("x\n"))])
    xpub.send_multipart([channel.encode(), encode(item("y\n", "ignored"))])
    xpub.send_multipart([f"early-{channel}".encode(), encode(item("z\n"))])

    assert [b"x\n", b"y\n", b"z\n"] == [stream.line(), stream.line(), early.line()]

    stream.close()
    wait_for(xpub, f"\0{channel}".encode())


def test_subscriptions_of_other_realms_are_not_told(
    inputs: Inputs, hold: Callable[[str], Stream], connect: Connect
) -> None:
    xpub = connect(zmq.XPUB, inputs.sub[0])
    hold("/first")
    hold("/elsewhere/channel")
    hold("/last")
    told = [xpub.recv()]
    while told[-1] != b"\1last":
        told.append(xpub.recv())

    assert (True, False) == (b"\1first" in told, b"\1channel" in told)


GARBAGE = [
    b"",
    b"J",
    b"J{}",
    b"J[1]",
    b"T",
    b"hello",
    b"999999999:,",
    b"J" + b"[" * 50_000,
    as_json({"channel": "garbage", "formats": {}}),
    as_json(item("x" * 1001, "garbage")),  # above the realm's max_item
    as_typed(item("x", "garbage"))[:-1],
    as_typed({"channel": 1}),
]


def test_garbage_is_dropped_and_logged(inputs: Inputs, hold: Callable[[str], Stream], connect: Connect) -> None:
    stream = hold("/garbage")
    push, xpub = connect(zmq.PUSH, inputs.pull), connect(zmq.XPUB, inputs.sub[0])
    for data in GARBAGE:
        push.send(data)
    push.send(as_json(item("x\n", "")))
    push.send(as_json(item("x\n")))
    push.send_multipart([as_json(item("x\n", "garbage")), b""])
    push.send(as_json(item("pushed\n", "garbage")))
    assert b"pushed\n" == stream.line()

    wait_for(xpub, b"\1garbage")
    for data in GARBAGE:
        xpub.send_multipart([b"garbage", data])
    for parts in ([b"garbage"], [b"garbage", as_json(item("x\n")), b""], [b"garbage\xff", as_json(item("x\n"))]):
        xpub.send_multipart(parts)
    xpub.send_multipart([b"garbage", as_json(item("published\n"))])

    assert b"published\n" == stream.line()
    output = inputs.proxy.process.output()
    assert 1 <= output.count("zeromq.pull: dropped a message: ") <= 10
    assert 1 <= output.count("zeromq.sub: dropped a message: ") <= 10
    assert "Traceback" not in output


def test_a_message_above_the_limit_costs_its_publisher_the_connection(
    inputs: Inputs, hold: Callable[[str], Stream], connect: Connect
) -> None:
    stream = hold("/large")
    large = connect(zmq.PUSH, inputs.pull)
    large.send(as_json(item("x" * 100_000, "large")))
    push = connect(zmq.PUSH, inputs.pull)
    push.send(as_json(item("y\n", "large")))

    assert b"y\n" == stream.line()


def test_what_is_not_zeromq_at_all_does_no_harm(
    inputs: Inputs, hold: Callable[[str], Stream], connect: Connect
) -> None:
    stream = hold("/http")
    host, _, port = inputs.pull.removeprefix("tcp://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
    push = connect(zmq.PUSH, inputs.pull)
    push.send(as_json(item("x\n", "http")))

    assert b"x\n" == stream.line()


def test_pubcontrol_pushes(inputs: Inputs, hold: Callable[[str], Stream]) -> None:
    stream = hold("/pubcontrol")
    client = ZmqPubControlClient(None, push_uri=inputs.pull)
    client.publish("pubcontrol", Item(HttpStreamFormat("text\n"), id="1"), blocking=True)
    client.publish("pubcontrol", Item(HttpStreamFormat(b"\xff\x00\n"), id="2", prev_id="1"), blocking=True)

    assert [b"text\n", b"\xff\x00\n"] == [stream.line(), stream.line()]
    client.close()


def test_gripcontrol_finds_the_inputs_by_the_command_socket(inputs: Inputs, hold: Callable[[str], Stream]) -> None:
    stream = hold("/gripcontrol")
    grip = GripPubControl({"control_zmq_uri": inputs.command})
    grip.publish("gripcontrol", Item(HttpStreamFormat("x\n")), blocking=True)

    assert b"x\n" == stream.line()
    grip.close()


def test_gripcontrol_publishes_to_channels_with_subscribers_alone(
    inputs: Inputs, hold: Callable[[str], Stream]
) -> None:
    changes: list[tuple[str, str]] = []
    grip = GripPubControl(
        {"control_zmq_uri": inputs.command, "require_subscribers": True},
        sub_callback=lambda change, channel: changes.append((change, channel)),
    )

    def wait_for(change: tuple[str, str]) -> None:
        limit = time.monotonic() + LIMIT
        while change not in changes:
            assert time.monotonic() < limit, changes
            time.sleep(0.01)

    stream = hold("/required")
    wait_for(("sub", "required"))
    grip.publish("required", Item(HttpStreamFormat("x\n")), blocking=True)
    grip.publish("nobody", Item(HttpStreamFormat("y\n")), blocking=True)
    assert b"x\n" == stream.line()

    stream.close()
    wait_for(("unsub", "required"))
    grip.close()


def command(*arguments: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "gripproxy", "publish", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_pushes(inputs: Inputs, hold: Callable[[str], Stream]) -> None:
    stream = hold("/shell")

    assert (0, "Sent\n", "") == command("shell", "x", "--zmq", inputs.pull)
    assert (0, "Sent\n", "") == command("shell", "y", GRIP_URL=inputs.pull)
    assert [b"x\n", b"y\n"] == [stream.line(), stream.line()]


def test_the_command_says_that_nobody_is_there() -> None:
    address = free_address()
    code, output, error = command("shell", "x", "--zmq", address)

    assert (1, "") == (code, output)
    assert error.startswith(f"Error: {address}: nobody took it in 10 s; is the proxy running, ")


def bind_again(connect: Connect, address: str) -> Any:
    """Binds to where a socket has just been closed, which ZeroMQ does in a thread of its own."""
    limit = time.monotonic() + LIMIT
    while True:
        try:
            return connect(zmq.XPUB, address, is_binding=True)
        except zmq.ZMQError:
            assert time.monotonic() < limit
            time.sleep(0.01)


def test_the_proxy_connects_to_publishers(processes: Processes, backend: str, connect: Connect) -> None:
    """And again when a publisher was away, with all of its subscriptions."""
    addresses = free_address(), free_address()
    first, second = (connect(zmq.XPUB, address, is_binding=True) for address in addresses)
    inputs = start(processes, backend, sub=addresses, sub_connect=True)
    with closing(Stream(f"{inputs.proxy.url}/a")) as stream:
        for xpub in (first, second):
            assert b"\1a" == xpub.recv()
            xpub.send_multipart([b"a", as_json(item("x\n"))])
            assert b"x\n" == stream.line()
        first.close(linger=0)
        again = bind_again(connect, addresses[0])
        assert b"\1a" == again.recv()
        again.send_multipart([b"a", as_json(item("y\n"))])

        assert b"y\n" == stream.line()


def test_channels_of_the_start_of_another_are_not_mixed_up(
    inputs: Inputs, hold: Callable[[str], Stream], connect: Connect
) -> None:
    """ZeroMQ's subscriptions are for all that begins alike."""
    short, long = hold("/prefix"), hold("/prefix-long")
    xpub = connect(zmq.XPUB, inputs.sub[0])
    wait_for(xpub, b"\1prefix-long")
    for channel in (b"prefix-long", b"prefix-other", b"prefix"):
        xpub.send_multipart([channel, as_json(item(channel.decode() + "\n"))])

    assert [b"prefix\n", b"prefix-long\n"] == [short.line(), long.line()]


def test_the_proxy_ends_in_order_and_leaves_nothing(
    processes: Processes, backend: str, tmp_path: Path, connect: Connect
) -> None:
    """While messages come in."""
    path = tmp_path / "pull"
    inputs = start(processes, backend, pull=f"ipc://{path}", sub=(free_address(),))
    assert path.is_socket()
    push = connect(zmq.PUSH, inputs.pull)
    push.setsockopt(zmq.SNDTIMEO, 0)
    process = inputs.proxy.process
    for number in range(20_000):
        if number == 10_000:
            process.signal(signal.SIGTERM)
        try:
            push.send(as_json(item("x\n", "a")))
        except zmq.Again:
            pass

    assert 0 == process.wait()
    assert not path.exists()
    assert "Traceback" not in process.output()
    assert "Error" not in process.output()


def test_unix_sockets_have_the_permissions_that_are_set(processes: Processes, backend: str, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("pull", "sub", "command", "stats")]
    pull, sub, command, stats = (f"ipc://{path}" for path in paths)
    start(processes, backend, pull=pull, sub=(sub,), command=command, stats=stats, ipc_file_mode="0660")

    assert [0o660] * 4 == [path.stat().st_mode & 0o777 for path in paths]


def test_an_address_in_use_keeps_the_proxy_from_starting(processes: Processes, backend: str, connect: Connect) -> None:
    address = free_address()
    connect(zmq.PULL, address, is_binding=True)
    with pytest.raises(RuntimeError, match=rf"zeromq: cannot use {address}: Address already in use"):
        start(processes, backend, pull=address)


def test_without_pyzmq_the_proxy_says_how_to_get_it(processes: Processes, backend: str) -> None:
    (processes.folder / "zmq.py").write_text("raise ImportError('hidden')")
    config = processes.folder / "gripproxy.toml"
    config.write_text(CONFIG.format(backend=backend) + 'pull = "tcp://127.0.0.1:1"\n')
    environment = {"PYTHONPATH": f"{processes.folder}:{ROOT}"}
    for command in ("run", "check"):
        arguments = (sys.executable, "-m", "gripproxy", command, "--config", str(config))
        process = processes.start(command, *arguments, environment=environment)

        assert 2 == process.wait()
        assert f"{config}: zeromq: needs pip install 'gripproxy[zmq]' (hidden)\n" == process.output()
