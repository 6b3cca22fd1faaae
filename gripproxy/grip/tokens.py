"""Grip-Sig and publisher tokens: JSON Web Tokens that carry an issuer and an expiry, nothing else.

A key knows its one algorithm from its content, and a token is only ever checked with that algorithm: what the token
says of itself cannot turn a public key into a secret.
"""

import base64
import binascii
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from jwt.algorithms import HMACAlgorithm

from gripproxy.errors import AuthError

# Seconds that the clocks of a signer and a verifier may differ. Few: a token lives 600 s or more in every library.
LEEWAY = 5.0
# Seconds a token of ours is good for, as Pushpin's and pypubcontrol's are.
LIFETIME = 3600
# RFC 7518 3.3: an RSA key of 2048 bits or larger MUST be used.
_RSA_BITS = 2048


class _HmacSha256(HMACAlgorithm):
    """HS256 for keys that :class:`Key` has already checked.

    PyJWT warns of secrets under 32 bytes and looks for disguised public keys at each call; "changeme" is what half of
    the GRIP world signs with, and the second check is done once, when the key is made.
    """

    def prepare_key(self, key: str | bytes) -> bytes:
        return key.encode() if isinstance(key, str) else key

    def check_key_length(self, key: bytes) -> str | None:
        return None


_JWS = jwt.PyJWS(algorithms=["HS256", "ES256", "RS256"])
_JWS.unregister_algorithm("HS256")
_JWS.register_algorithm("HS256", _HmacSha256(HMACAlgorithm.SHA256))


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A secret (HS256) or a PEM key, EC P-256 (ES256) or RSA (RS256); a private one signs, a public one only verifies.

    Raises: ValueError when the content is empty or is no key that GRIP knows; the text never shows the content.
    """

    content: bytes
    algorithm: str = field(init=False)
    _private: Any = field(init=False, compare=False)
    _public: Any = field(init=False, compare=False)

    def __post_init__(self) -> None:
        content = self.content.strip()
        if content.startswith(b"-----BEGIN"):
            private, public = _load_pem(content)
            algorithm = "ES256" if isinstance(public, EllipticCurvePublicKey) else "RS256"
        else:
            private = public = _check_secret(self.content)
            algorithm = "HS256"
        object.__setattr__(self, "algorithm", algorithm)
        object.__setattr__(self, "_private", private)
        object.__setattr__(self, "_public", public)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Key":
        """The key in raw bytes: PEM if they begin as PEM does, else a secret.

        Raises: ValueError
        """
        return cls(content)

    @classmethod
    def from_text(cls, text: str) -> "Key":
        """The key as a configuration writes it: PEM, ``base64:...``, ``hex:...``, else the text itself is the secret.

        Raises: ValueError
        """
        kind, separator, rest = text.partition(":")
        if not separator or kind not in _DECODERS:
            return cls(text.encode("utf-8", "surrogateescape"))
        try:
            content = _DECODERS[kind](rest)
        except ValueError:
            raise ValueError(f"the key is not valid {kind}") from None
        return cls(content)

    @property
    def can_sign(self) -> bool:
        """Whether the key can make tokens, and not only verify them."""
        return self._private is not None

    def __repr__(self) -> str:
        return f"Key({self.algorithm})"


def sign(key: Key, issuer: str, now: float, lifetime: int = LIFETIME) -> str:
    """A token with exactly the claims ``iss`` and ``exp``, the latter a whole number of seconds after the epoch.

    More claims (iat, nbf, aud) make one library or another refuse it.

    Raises: ValueError when the key is a public one.
    """
    if not key.can_sign:
        raise ValueError("a public key cannot sign")
    claims = json.dumps({"iss": issuer, "exp": int(now) + lifetime}, separators=(",", ":")).encode()
    return _JWS.encode(claims, key._private, algorithm=key.algorithm)


def verify(keys: Sequence[Key], token: str, now: float, issuer: str | None) -> float:
    """Check that one of the keys signed the token, that it has not expired and, unless None, its issuer.

    Returns the token's expiry. A Grip-Sig is checked without issuer, as Pushpin does for an upstream proxy.

    Raises: AuthError with status 401; 403 when the token is good but of another issuer.
    """
    claims = _claims(keys, token)
    expiry = _seconds(claims, "exp")
    if expiry is None:
        raise AuthError("the token has no exp")
    if now >= expiry + LEEWAY:
        raise AuthError("the token has expired")
    not_before = _seconds(claims, "nbf")
    if not_before is not None and now < not_before - LEEWAY:
        raise AuthError("the token is not valid yet")
    if issuer is not None and claims.get("iss") != issuer:
        raise AuthError(f"the token's iss is not {issuer!r}", 403)
    return expiry


def claimed_issuer(token: str) -> str | None:
    """The ``iss`` that a token gives itself: nothing to trust, only good for choosing the keys to check it with."""
    try:
        claims = json.loads(_JWS.decode_complete(token, options={"verify_signature": False})["payload"])
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) else None


class Signer:
    """Signs Grip-Sig for one issuer; requests of the same second share a token, as each would read the same.

    Raises: ValueError when the key is a public one.
    """

    __slots__ = ("_issuer", "_key", "_lifetime", "_second", "_token")

    def __init__(self, key: Key, issuer: str, lifetime: int = LIFETIME) -> None:
        if not key.can_sign:
            raise ValueError("a public key cannot sign")
        self._key = key
        self._issuer = issuer
        self._lifetime = lifetime
        self._second: int | None = None
        self._token = ""

    @property
    def issuer(self) -> str:
        """The ``iss`` of the tokens."""
        return self._issuer

    @property
    def algorithm(self) -> str:
        """The ``alg`` of the tokens."""
        return self._key.algorithm

    def token(self, now: float) -> str:
        """A token made in this second. Signing costs 16 microseconds, more with ES256 and RS256."""
        second = int(now)
        if second != self._second:
            self._token = sign(self._key, self._issuer, now, self._lifetime)
            self._second = second
        return self._token


def _load_pem(content: bytes) -> tuple[Any, Any]:
    try:
        if b" PRIVATE KEY-----" in content:
            private = load_pem_private_key(content, None)
            public: Any = private.public_key()
        else:
            private, public = None, load_pem_public_key(content)
    except TypeError:
        raise ValueError("the PEM key is encrypted; it must not have a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the PEM text is not a private or public key") from None
    if isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1):
        assert private is None or isinstance(private, EllipticCurvePrivateKey)
    elif isinstance(public, RSAPublicKey):
        assert private is None or isinstance(private, RSAPrivateKey)
        if public.key_size < _RSA_BITS:
            raise ValueError(f"the RSA key has {public.key_size} bits, at least {_RSA_BITS} are needed")
    else:
        raise ValueError("the PEM key is neither RSA nor an EC key on P-256")
    return private, public


def _check_secret(content: bytes) -> bytes:
    """Refuse what PyJWT refuses as a secret: nothing, and public keys in other clothes (DER, SSH, JWK)."""
    if not content:
        raise ValueError("the key is empty")
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(content)
    except jwt.InvalidKeyError:
        raise ValueError("the key is a public key or JWK in a form that is not PEM") from None
    return content


def _claims(keys: Sequence[Key], token: str) -> dict[str, Any]:
    for key in keys:
        try:
            payload = _JWS.decode_complete(token, key._public, algorithms=[key.algorithm])["payload"]
            claims = json.loads(payload)
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
            continue  # maybe of another key: keys are rotated by accepting both for a while
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise AuthError("the token is malformed") from None
        if not isinstance(claims, dict):
            raise AuthError("the token is malformed")
        return claims
    raise AuthError("the token is not signed with a key of this realm")


def _seconds(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    try:
        if not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    except OverflowError:  # JSON's integers have no end
        pass
    raise AuthError(f"the token's {name} is not a number")


def _from_base64(text: str) -> bytes:
    """Base64 of either alphabet, with or without padding and line ends: keys are copied by hand."""
    compact = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


_DECODERS = {"base64": _from_base64, "hex": bytes.fromhex}
