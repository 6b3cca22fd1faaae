"""Who may publish: what a request's credentials say, checked against the keys of the realm it publishes to.

A realm with keys takes only who knows one of them, wherever they are; a realm without takes everyone on this machine
and nobody else.
"""

import base64
import hmac
from collections.abc import Iterable

from gripproxy.config import Config
from gripproxy.errors import AuthError
from gripproxy.grip.tokens import Key, claimed_issuer, verify

# Good tokens remembered until they expire. Publishers use one for each publish or one an hour: the latter profit.
_REMEMBERED_TOKENS = 1024


def challenge(realm: str) -> str:
    """The WWW-Authenticate field of a 401 answer (RFC 6750)."""
    return f'Bearer realm="{realm}"'


class Publishers:
    """The realms and their keys.

    Raises: ConfigError when a key is none.
    """

    __slots__ = ("_by_issuer", "_expiries", "_realms")

    def __init__(self, configuration: Config) -> None:
        self._realms: dict[str, _Realm] = {}
        for name, realm in configuration.realms.items():
            keys = []
            for text in realm.key:
                try:
                    keys.append(Key.from_text(text))
                except ValueError as error:
                    raise configuration.error(f"realms.{name}.key", str(error)) from None
            self._realms[name] = _Realm(realm.control_iss or name, keys)
        self._by_issuer: dict[str, list[_Realm]] = {}
        for one in self._realms.values():
            self._by_issuer.setdefault(one.issuer, []).append(one)
        # (realm, token) -> expiry, in seconds.
        self._expiries: dict[tuple[str, str], float] = {}

    def become(self, other: "Publishers") -> None:
        """Take the place of these with others, from the next request on; what was remembered of tokens is forgotten."""
        self._realms, self._by_issuer, self._expiries = other._realms, other._by_issuer, {}

    def __contains__(self, realm: object) -> bool:
        return realm in self._realms

    def keys(self, realm: str) -> frozenset[Key]:
        """The keys of a realm now."""
        known = self._realms.get(realm)
        return frozenset(known.keys) if known is not None else frozenset()

    def check(self, realm: str, authorization: str | None, is_loopback: bool, now: float) -> None:
        """Let a publisher through who sent this Authorization field (or the value of Fastly-Key), or raise.

        Good are: a Bearer token signed with a key of the realm and with the realm as issuer; one of the realm's secrets
        itself as Bearer token, as user or password of Basic, or bare. The status is 401 without credentials and with
        bad or expired ones, 403 with those of another realm, for a realm without key from elsewhere, and for a realm
        that does not exist (``realm in publishers`` tells; a door may prefer 404).

        Raises: AuthError
        """
        known = self._realms.get(realm)
        if known is None:
            raise AuthError(f"there is no realm {realm!r}", 403)
        if not known.keys:
            if not is_loopback:
                text = f"the realm {realm!r} has no key, so only loopback is let in; give it one (realms.{realm}.key)"
                raise AuthError(text, 403)
            return
        credentials = (authorization or "").strip()
        if not credentials:
            raise AuthError("credentials are missing")
        expiry = self._expiries.get((realm, credentials))
        if expiry is not None and now < expiry:
            return
        self._check_credentials(realm, known, credentials, now)

    def _check_credentials(self, name: str, realm: "_Realm", credentials: str, now: float) -> None:
        scheme, _, rest = credentials.partition(" ")
        token = rest.strip() if scheme.lower() in ("bearer", "basic") else credentials
        candidates: tuple[str, ...] = () if scheme.lower() == "basic" else (token,)
        if scheme.lower() != "bearer":  # Java's pubcontrol leaves out the word "Basic"
            candidates += _basic(token)
        if realm.knows(candidates):
            return
        if scheme.lower() == "basic" or token.count(".") != 2:
            raise AuthError(f"the credentials are not those of the realm {name!r}")
        try:
            expiry = verify(realm.keys, token, now, realm.issuer)
        except AuthError as error:
            if error.status == 401 and self._is_of_another(realm, token, now):
                raise AuthError(f"the token is of another realm than {name!r}", 403) from None
            raise
        if len(self._expiries) >= _REMEMBERED_TOKENS:
            self._expiries.clear()
        self._expiries[name, credentials] = expiry

    def _is_of_another(self, realm: "_Realm", token: str, now: float) -> bool:
        issuer = claimed_issuer(token)
        for other in self._by_issuer.get(issuer or "", ()):
            try:
                verify(other.keys, token, now, issuer)
            except AuthError:
                continue
            return other is not realm
        return False


class _Realm:
    """A realm's keys, and the forms in which its secrets may come as they are."""

    __slots__ = ("_secrets", "issuer", "keys")

    def __init__(self, issuer: str, keys: list[Key]) -> None:
        self.issuer = issuer
        self.keys = keys
        self._secrets: list[bytes] = []
        for key in keys:
            if key.algorithm == "HS256":  # a PEM key may be public, so knowing it proves nothing
                standard = base64.b64encode(key.content)
                url_safe = base64.urlsafe_b64encode(key.content)
                self._secrets += {key.content, standard, standard.rstrip(b"="), url_safe, url_safe.rstrip(b"=")}

    def knows(self, candidates: Iterable[str]) -> bool:
        """Whether one is a secret of the realm; how long this takes does not tell how much of it is right."""
        is_known = False
        for candidate in candidates:
            given = candidate.encode("utf-8", "surrogateescape")
            for secret in self._secrets:
                is_known |= hmac.compare_digest(given, secret)
        return is_known


def _basic(text: str) -> tuple[str, ...]:
    """User and password of Basic credentials; none if they are malformed.

    Python's pubcontrol sends the text of a bytes object, ``b'dXNlcjpwYXNz'``.
    """
    if text.startswith("b'") and text.endswith("'"):
        text = text[2:-1]
    try:
        user, separator, password = base64.b64decode(text, validate=True).partition(b":")
    except ValueError:
        return ()
    both = (user, password) if separator else ()
    return tuple(part.decode("utf-8", "surrogateescape") for part in both if part)
