"""``gripproxy publish``: hands one item to a control door, as a backend would.

It knows the door only by its protocol, so it works with any GRIP proxy. Content that is for people gets the newline
that a terminal expects in the HTTP formats, and none in WebSocket messages, as Pushpin's tool does it.
"""

import base64
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from gripproxy.config import parse_endpoint
from gripproxy.door import SHOWN_MAX, TIMEOUT, fail, make_tls, parse_door, post

DEFAULT_CONTROL = "http://127.0.0.1:5561"

HTTP_RESPONSE, HTTP_STREAM, WS_MESSAGE = "http-response", "http-stream", "ws-message"

# What to wait for; the door's words.
QUEUED, WRITTEN = "queued", "written"


@dataclass(frozen=True, slots=True)
class Content:
    """What the command line says about an item's content; ``body`` is None for an item without one."""

    body: bytes | None
    action: str
    is_binary: bool
    is_patch: bool
    has_eol: bool
    code: int | None
    reason: str | None
    fields: tuple[tuple[str, str], ...]

    def text(self, ending: str = "") -> str:
        """Return the content as text. Raises: MistakeError when it is not UTF-8."""
        try:
            return (self.body or b"").decode() + ending
        except UnicodeDecodeError as error:
            fail(f"the content is not UTF-8 at byte {error.start}; give --binary")


def http_response(content: Content) -> dict[str, Any] | None:
    """Return the http-response member of an item."""
    if content.action != "send":
        return {"action": content.action} if content.action == "hint" else None
    member: dict[str, Any] = {"code": content.code} if content.code is not None else {}
    if content.reason is not None:
        member["reason"] = content.reason
    if content.fields:
        member["headers"] = [list(field) for field in content.fields]
    if content.is_patch:
        member["body-patch"] = parse_patch(content.text())
    elif content.is_binary:
        member["body-bin"] = base64.b64encode(content.body or b"").decode()
    else:
        member["body"] = content.text("\n" if content.has_eol else "")
    return member


def http_stream(content: Content) -> dict[str, Any] | None:
    """Return the http-stream member of an item."""
    if content.is_patch:
        return None
    if content.action != "send":
        return {"action": content.action}
    if content.is_binary:
        return {"content-bin": base64.b64encode(content.body or b"").decode()}
    return {"content": content.text("\n" if content.has_eol else "")}


def ws_message(content: Content) -> dict[str, Any] | None:
    """Return the ws-message member of an item."""
    if content.is_patch:
        return None
    if content.action != "send":
        member: dict[str, Any] = {"action": content.action}
        if content.action == "close":
            member |= {"code": content.code} if content.code is not None else {}
            member |= {"reason": content.reason} if content.reason is not None else {}
        return member
    if content.is_binary:
        return {"content-bin": base64.b64encode(content.body or b"").decode()}
    return {"content": content.text()}


FORMATS: dict[str, Callable[[Content], dict[str, Any] | None]] = {
    HTTP_RESPONSE: http_response,
    HTTP_STREAM: http_stream,
    WS_MESSAGE: ws_message,
}


def parse_patch(text: str) -> list[Any]:
    """Return a JSON Patch, a list of operations. Raises: MistakeError"""
    try:
        patch = json.loads(text)
    except ValueError as error:
        fail(f"--patch: the content is not JSON: {error}")
    if not isinstance(patch, list):
        fail("--patch: the content is not a list of operations (RFC 6902)")
    return patch


def build_item(
    channel: str,
    formats: tuple[str, ...],
    content: Content,
    *,
    item_id: str | None = None,
    prev_id: str | None = None,
    meta: dict[str, str] | None = None,
    no_seq: bool = False,
) -> dict[str, Any]:
    """Return an item in GRIP's JSON. Raises: MistakeError when no format can carry the content."""
    members = {name: FORMATS[name](content) for name in formats or tuple(FORMATS)}
    there = {name: member for name, member in members.items() if member is not None}
    if not there:
        what = "a patch" if content.is_patch else f"action {content.action}"
        fail(f"{what} cannot be sent as {', '.join(members)}")
    item: dict[str, Any] = {"channel": channel, "formats": there}
    if item_id is not None:
        item["id"] = item_id
    if prev_id is not None:
        item["prev-id"] = prev_id
    if meta:
        item["meta"] = meta
    if no_seq:
        item["no-seq"] = True
    return item


def push(endpoint: str, message: bytes) -> None:
    """Hand an item to a ZeroMQ PULL socket, which takes it or not without a word.

    Raises: click.ClickException when nobody is there.
    """
    try:
        parse_endpoint(endpoint)
    except ValueError as error:
        fail(f"the ZeroMQ address {error}")
    try:
        import zmq
    except ImportError as error:
        fail(f"--zmq needs pip install 'gripproxy[zmq]' ({error})")
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        # Nothing waits for a connection that may never be, and the end waits for what is under way.
        socket.immediate = True
        socket.sndtimeo = socket.linger = int(TIMEOUT * 1000)
        try:
            socket.connect(endpoint)
            socket.send(b"J" + message)
        except zmq.Again:
            reason = f"nobody took it in {TIMEOUT:g} s; is the proxy running, with this address as zeromq.pull?"
            raise click.ClickException(f"{endpoint}: {reason}") from None
        except zmq.ZMQError as error:
            raise click.ClickException(f"{endpoint}: {error.strerror}") from error


def describe_receipt(text: str) -> str:
    """Return a door's receipt of one item as a line for people. Raises: click.ClickException when it is none."""
    try:
        receipt = json.loads(text)
        item = receipt["items"][0]
        receivers = ", ".join(f"{number} {name}" for name, number in item["receivers"].items())
        late = "; not all is written yet" if receipt["timed_out"] else ""
        return f"{item['result']}: {receivers}{late}"
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise click.ClickException("the door gives no receipts; it answered: " + text[:SHOWN_MAX]) from error


def read_content(argument: str | None, action: str) -> bytes | None:
    """Return the bytes that the argument stands for: itself, a file (``@PATH``), or standard input (``-``)."""
    if action != "send":
        if argument is not None:
            fail(f"--{action} takes no content")
        return None
    if argument is None:
        fail("give CONTENT, @FILE, - for standard input, --close or --hint")
    if argument == "-":
        return sys.stdin.buffer.read()
    if argument.startswith("@"):
        try:
            return Path(argument[1:]).read_bytes()
        except OSError as error:
            fail(f"{argument[1:]}: {error.strerror}")
    return argument.encode("utf-8", "surrogateescape")


def parse_pairs(texts: tuple[str, ...], separator: str, option: str) -> tuple[tuple[str, str], ...]:
    """Split ``name=value`` or ``Name: value``. Raises: MistakeError"""
    pairs = []
    for text in texts:
        name, found, value = text.partition(separator)
        if not found or not name.strip():
            fail(f"{option}: {text!r} is not NAME{separator}VALUE")
        pairs.append((name.strip(), value.strip() if separator == ":" else value))
    return tuple(pairs)


@click.command("publish")
@click.argument("channel")
@click.argument("content", required=False)
@click.option(
    "--control",
    "--spec",
    "url",
    envvar="GRIP_URL",
    default=DEFAULT_CONTROL,
    metavar="URL",
    show_default=True,
    show_envvar=True,
    help="Control URL, as in GRIP_URL: http://HOST:PORT[/realm/NAME][?iss=..&key=..]; or an address as for --zmq.",
)
@click.option(
    "--zmq", "endpoint", metavar="ADDRESS", help="Push to the proxy's zeromq.pull: tcp://HOST:PORT, ipc:///PATH."
)
@click.option("--realm", metavar="NAME", help="Publish to /realm/NAME/publish/.")
@click.option("--key", help="Sign a token with this key of the realm: text, base64:..., file:PATH or PEM.")
@click.option("--bearer", "-B", metavar="TOKEN", help="Send this token as it is.")
@click.option("--user", "-u", metavar="USER:PASSWORD", help="Send these by Basic authentication.")
@click.option("--id", "item_id", metavar="ID", help="The item's id.")
@click.option("--prev-id", metavar="ID", help="Id of the item before it.")
@click.option("--format", "formats", multiple=True, type=click.Choice(list(FORMATS)), help="Only this format; repeat.")
@click.option("--close", is_flag=True, help="End streams and WebSockets instead of sending.")
@click.option("--hint", is_flag=True, help="Make holds ask the backend again instead of sending.")
@click.option("--code", type=click.IntRange(0, 4999), help="Status of http-response, or code of --close.")
@click.option("--reason", help="Reason of http-response, or of --close.")
@click.option(
    "--header", "-H", "fields", multiple=True, metavar="'NAME: VALUE'", help="Field of http-response; repeat."
)
@click.option("--meta", "-M", "metas", multiple=True, metavar="NAME=VALUE", help="Meta value for filters; repeat.")
@click.option("--sender", metavar="ID", help="The same as --meta sender=ID.")
@click.option("--no-seq", is_flag=True, help="Deliver at once, whatever prev-id says.")
@click.option("--binary", "is_binary", is_flag=True, help="The content is bytes; WebSocket messages become binary.")
@click.option("--patch", "is_patch", is_flag=True, help="The content is a JSON Patch for the held response.")
@click.option("--no-eol", is_flag=True, help="Do not add a newline to HTTP content.")
@click.option(
    "--wait",
    type=click.Choice([QUEUED, WRITTEN]),
    help="Tell how many the item is for: at once, or when it is written to all of them.",
)
@click.option("--json", "is_json", is_flag=True, help="Print what --wait tells as JSON.")
@click.option("--cacert", metavar="FILE", help="PEM file with the authorities that an https door is believed by.")
@click.option("--cert", metavar="FILE", help="PEM file with the certificate to show to an https door.")
@click.option("--cert-key", metavar="FILE", help="PEM file with its private key, if it is not in the same file.")
def publish_command(
    channel: str,
    content: str | None,
    url: str,
    endpoint: str | None,
    realm: str | None,
    key: str | None,
    bearer: str | None,
    user: str | None,
    item_id: str | None,
    prev_id: str | None,
    formats: tuple[str, ...],
    close: bool,
    hint: bool,
    code: int | None,
    reason: str | None,
    fields: tuple[str, ...],
    metas: tuple[str, ...],
    sender: str | None,
    no_seq: bool,
    is_binary: bool,
    is_patch: bool,
    no_eol: bool,
    wait: str | None,
    is_json: bool,
    cacert: str | None,
    cert: str | None,
    cert_key: str | None,
) -> None:
    """Publish CONTENT to CHANNEL.

    CONTENT is the text itself, @FILE, or - for standard input; it goes to all streams, long-polls and WebSockets on the
    channel. Exits with 0 when the item was taken, 1 when it was refused or the door could not be reached, 2 when the
    command is wrong.

    \b
    Examples:
      gripproxy publish news 'It works'
      gripproxy publish news $'data: It works\\n'                  an event, which ends with an empty line
      gripproxy publish news @page.json --format http-response --header 'Content-Type: application/json'
      gripproxy publish news 'It works' --realm headline --key file:headline.key
      gripproxy publish news 'It works' --wait written             says to how many it was written
      gripproxy publish news --close
    """
    if is_json and wait is None:
        fail("--json needs --wait")
    if close and hint:
        fail("--close and --hint exclude each other")
    action = "close" if close else "hint" if hint else "send"
    if is_patch and (is_binary or action != "send"):
        fail("--patch excludes --binary, --close and --hint")
    body = read_content(content, action)
    what = Content(body, action, is_binary, is_patch, not no_eol, code, reason, parse_pairs(fields, ":", "--header"))
    meta = dict(parse_pairs(metas, "=", "--meta")) | ({"sender": sender} if sender is not None else {})
    item = build_item(channel, formats, what, item_id=item_id, prev_id=prev_id, meta=meta, no_seq=no_seq)
    if endpoint is not None or url.startswith(("tcp://", "ipc://")):
        if realm or key or bearer or user:
            fail("ZeroMQ knows no realms and no credentials: leave out --realm, --key, --bearer and --user")
        if wait is not None:
            fail("ZeroMQ knows no answers: leave out --wait")
        push(endpoint or url, json.dumps(item).encode())
        click.echo("Sent")
        return
    door = parse_door(url, realm, key, bearer, user, time.time())
    if wait is not None:
        door = replace(door, query=f"{door.query}&wait={wait}".lstrip("&"))
    tls = make_tls(cacert, cert, cert_key) if door.scheme == "https" else None
    answer = post(door, json.dumps({"items": [item]}).encode(), tls)
    click.echo(answer if wait is None or is_json else describe_receipt(answer))
