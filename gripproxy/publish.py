"""``gripproxy publish``: hands one item to a control door, as a backend would.

It knows the door only by its protocol, so it works with any GRIP proxy. Content that is for people gets the newline
that a terminal expects in the HTTP formats, and none in WebSocket messages, as Pushpin's tool does it.
"""

import base64
import http.client
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import click

from gripproxy.config import parse_endpoint
from gripproxy.grip.tokens import Key, sign

DEFAULT_CONTROL = "http://127.0.0.1:5561"

# Seconds to connect, and for each read; the door answers before it delivers.
TIMEOUT = 10.0

HTTP_RESPONSE, HTTP_STREAM, WS_MESSAGE = "http-response", "http-stream", "ws-message"

# Characters of an unexpected answer that are shown.
SHOWN_MAX = 500


@dataclass(frozen=True, slots=True, repr=False)
class Door:
    """Where a control door is, and the Authorization field it wants, if any."""

    scheme: str
    address: str
    path: str
    query: str
    authorization: str | None


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


class MistakeError(click.ClickException):
    """The command is wrong: one line of error, and exit code 2. What the door refuses has 1, click's own."""

    exit_code = 2


def fail(text: str) -> NoReturn:
    """Leave because of a mistake in the command."""
    raise MistakeError(text)


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


def parse_door(url: str, realm: str | None, key: str | None, bearer: str | None, user: str | None, now: float) -> Door:
    """Read a control URL as the client libraries read GRIP_URL: ``iss`` and ``key`` are for us, not for the door.

    Key and issuer make a token, a key alone is the token itself, and ``user:password@`` is for Basic; what is given
    apart from the URL goes first. Raises: MistakeError
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
    except ValueError as error:
        fail(f"the control URL is not valid: {error}")
    try:
        port = parts.port
    except ValueError:
        fail("the control URL's port is not a number from 0 to 65535")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        fail("the control URL must be http(s)://host[:port][/path]")
    # "+" is one of base64's letters and not a blank here, as in the libraries.
    query = parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True)
    given = dict(reversed(query))
    path = parts.path.rstrip("/")
    if realm is not None:
        path = f"{path.partition('/realm/')[0]}/realm/{quote(realm, safe='')}"
    issuer = realm or given.get("iss") or path.rpartition("/realm/")[2]
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username is not None else None
    if key is not None:
        bearer = bearer or make_token(key, issuer or "default", now)
    elif not (bearer or user) and given.get("key"):
        bearer = make_token(given["key"], given["iss"], now) if given.get("iss") else given["key"]
    rest = [pair for pair in query if pair[0] not in ("iss", "key", "verify-iss", "verify-key")]
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    address = host if port is None else f"{host}:{port}"
    return Door(parts.scheme, address, path + "/publish/", urlencode(rest), authorize(bearer, user or login))


def make_token(key: str, issuer: str, now: float) -> str:
    """Sign a publisher's token; the key is a text, ``base64:...``, PEM, or ``file:PATH`` of one of these."""
    try:
        text = Path(key.removeprefix("file:")).read_text().strip() if key.startswith("file:") else key
        return sign(Key.from_text(text), issuer, now)
    except (OSError, ValueError) as error:
        fail(f"the key cannot be used: {error}")


def authorize(bearer: str | None, user: str | None) -> str | None:
    """Return the value of Authorization: a token, else user and password, else nothing."""
    if bearer:
        value = f"Bearer {bearer}"
    elif user:
        value = "Basic " + base64.b64encode(user.encode()).decode()
    else:
        return None
    if not value.isascii() or not value.isprintable():
        fail("the credentials hold characters that a header field cannot carry")
    return value


def post(door: Door, body: bytes) -> str:
    """Publish, and return what the door says. Raises: click.ClickException unless that is a 2xx."""
    connect = http.client.HTTPSConnection if door.scheme == "https" else http.client.HTTPConnection
    connection = connect(door.address, timeout=TIMEOUT)
    fields = {"Content-Type": "application/json", "Accept": "text/plain, */*;q=0.1", "User-Agent": "gripproxy-publish"}
    if door.authorization is not None:
        fields["Authorization"] = door.authorization
    try:
        connection.request("POST", door.path + (f"?{door.query}" if door.query else ""), body, fields)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        reason: object = error or type(error).__name__
        if isinstance(error, ConnectionRefusedError):
            reason = "connection refused; is the proxy running, and this its control door?"
        raise click.ClickException(f"{door.scheme}://{door.address}: {reason}") from error
    finally:
        connection.close()
    if not 200 <= response.status < 300:
        shown = " ".join(text[:SHOWN_MAX].split()) or response.reason
        raise click.ClickException(f"{door.scheme}://{door.address}{door.path} answered {response.status}: {shown}")
    return text


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
        fail(f"--zmq needs pip install gripproxy[zmq] ({error})")
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
      gripproxy publish news --close
    """
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
        push(endpoint or url, json.dumps(item).encode())
        click.echo("Sent")
        return
    door = parse_door(url, realm, key, bearer, user, time.time())
    click.echo(post(door, json.dumps({"items": [item]}).encode()))
