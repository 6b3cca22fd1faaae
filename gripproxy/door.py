"""A control door as a publisher sees it: where it is, what it is told to believe one, and one request to it.

It is known only by its protocol, so it may be any GRIP proxy's.
"""

import base64
import http.client
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import click

from gripproxy.grip.tokens import Key, sign

# Seconds to connect, and for each read; the door answers before it delivers.
TIMEOUT = 10.0

# Characters of an unexpected answer that are shown.
SHOWN_MAX = 500

# No control door answers with a page, or as a gateway: the client door does, or whatever else listens there.
GATEWAY = (502, 504)


@dataclass(frozen=True, slots=True, repr=False)
class Door:
    """Where a control door is, and the Authorization field it wants, if any."""

    scheme: str
    address: str
    path: str
    query: str
    authorization: str | None


class MistakeError(click.ClickException):
    """The command is wrong: one line of error, and exit code 2. What the door refuses has 1, click's own."""

    exit_code = 2


def fail(text: str) -> NoReturn:
    """Leave because of a mistake in the command."""
    raise MistakeError(text)


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


def make_tls(authorities: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """Return what an https door is asked with; without authorities those of the system are believed."""
    if key and not certificate:
        fail("--cert-key needs --cert")
    try:
        context = ssl.create_default_context(cafile=authorities)
    except OSError as error:
        fail(f"--cacert: {authorities} cannot be used: {error.strerror or error}")
    try:
        if certificate:
            context.load_cert_chain(certificate, key)
    except OSError as error:
        fail(f"--cert: {certificate} cannot be used: {error.strerror or error}")
    return context


def post(door: Door, body: bytes, tls: ssl.SSLContext | None = None) -> str:
    """Publish, and return what the door says. Raises: click.ClickException unless that is a 2xx."""
    connection = (
        http.client.HTTPSConnection(door.address, timeout=TIMEOUT, context=tls)
        if door.scheme == "https"
        else http.client.HTTPConnection(door.address, timeout=TIMEOUT)
    )
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
        elif isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLCertVerificationError):
            reason = f"{reason}; does it speak TLS at all, or is it http://?"
        elif isinstance(error, ConnectionResetError | http.client.BadStatusLine) and tls is None:
            reason = f"{reason}; is this a control door, and without TLS? Else it is https://."
        raise click.ClickException(f"{door.scheme}://{door.address}: {reason}") from error
    finally:
        connection.close()
    if not 200 <= response.status < 300:
        is_page = response.headers.get_content_type() == "text/html"
        shown = " ".join("" if is_page else text[:SHOWN_MAX].split()) or response.reason
        if is_page or response.status in GATEWAY:
            shown += "; is this the control door, or the one for clients?"
        raise click.ClickException(f"{door.scheme}://{door.address}{door.path} answered {response.status}: {shown}")
    return text
