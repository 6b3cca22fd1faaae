"""Keys know their algorithm, tokens carry issuer and expiry, and nothing else is believed."""

import base64
import json
import math
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.errors import AuthError
from gripproxy.grip.tokens import LEEWAY, Key, Signer, claimed_issuer, sign, verify

NOW = 1_700_000_000.75
SECRET = Key.from_bytes(b"secret")


def private_pem(key: Any, encryption: Any = None) -> bytes:
    encryption = encryption or serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
SMALL_RSA = rsa.generate_private_key(65537, 1024)


def token(claims: Any, key: bytes = b"secret" * 6, **header: Any) -> str:
    """Make a token of any claims, good for the key "secret" six times."""
    body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return jwt.PyJWS().encode(body, key, algorithm="HS256", headers=header)


LONG_SECRET = Key.from_bytes(b"secret" * 6)


@pytest.mark.parametrize(
    ("content", "algorithm", "can_sign"),
    [
        (b"changeme", "HS256", True),
        (b"\x00\xff", "HS256", True),
        (private_pem(EC), "ES256", True),
        (public_pem(EC), "ES256", False),
        (b"\n  " + public_pem(EC), "ES256", False),
        (private_pem(RSA), "RS256", True),
        (public_pem(RSA), "RS256", False),
        (
            EC.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            ),
            "ES256",
            True,
        ),
    ],
)
def test_a_key_knows_what_it_is(content: bytes, algorithm: str, can_sign: bool) -> None:
    key = Key.from_bytes(content)

    assert (algorithm, can_sign) == (key.algorithm, key.can_sign)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"-----BEGIN RUBBISH-----\n", "not a private or public key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a private or public key"),
        (private_pem(ec.generate_private_key(ec.SECP384R1())), "P-256"),
        (private_pem(ed25519.Ed25519PrivateKey.generate()), "P-256"),
        (private_pem(SMALL_RSA), "1024 bits"),
        (private_pem(EC, serialization.BestAvailableEncryption(b"x")), "passphrase"),
        (b'{"kty": "oct", "k": "c2VjcmV0"}', "JWK"),
        pytest.param(
            EC.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
            "not PEM",
            id="DER",
        ),
        (
            EC.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH),
            "not PEM",
        ),
    ],
)
def test_what_is_no_key_is_refused_with_a_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Key.from_bytes(content)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("secret", b"secret"),
        ("base64:c2VjcmV0", b"secret"),
        ("base64:c2VjcmV0MQ==", b"secret1"),
        ("base64:c2VjcmV0MQ", b"secret1"),
        ("base64:_-8=", b"\xff\xef"),
        ("base64:/+8\n=", b"\xff\xef"),
        ("hex:00ff", b"\x00\xff"),
        ("other:text", b"other:text"),
        ("ключ", "ключ".encode()),
    ],
)
def test_a_key_is_read_as_a_configuration_writes_it(text: str, content: bytes) -> None:
    assert content == Key.from_text(text).content


@pytest.mark.parametrize("text", ["base64:!", "base64:", "base64:A", "hex:f", "hex:", ""])
def test_a_text_that_decodes_to_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="key"):
        Key.from_text(text)


@given(st.binary())
def test_any_bytes_are_a_key_or_refused(content: bytes) -> None:
    try:
        key = Key.from_bytes(content)
    except ValueError:
        return
    assert key.algorithm == "HS256"


@pytest.mark.parametrize("content", [b"verysecret", private_pem(EC)])
def test_a_key_never_shows_its_content(content: bytes) -> None:
    key = Key.from_bytes(content)

    assert f"Key({key.algorithm})" == repr(key) == str(key)


@pytest.mark.parametrize("content", [b"changeme", private_pem(EC), private_pem(RSA)])
def test_a_token_has_exactly_an_issuer_and_a_whole_expiry(content: bytes) -> None:
    """More claims, or a fraction of a second, make one client library or another refuse the signature."""
    key = Key.from_bytes(content)
    made = sign(key, "realm", NOW)

    assert {"alg": key.algorithm, "typ": "JWT"} == jwt.get_unverified_header(made)
    claims = jwt.decode(made, options={"verify_signature": False})
    assert {"iss": "realm", "exp": 1_700_003_600} == claims
    assert isinstance(claims["exp"], int)


@pytest.mark.parametrize(
    ("signing", "verifying"),
    [
        (b"changeme", b"changeme"),
        (private_pem(EC), private_pem(EC)),
        (private_pem(EC), public_pem(EC)),
        (private_pem(RSA), public_pem(RSA)),
    ],
)
def test_what_a_key_signs_its_other_half_verifies(signing: bytes, verifying: bytes) -> None:
    made = sign(Key.from_bytes(signing), "realm", NOW, 60)

    assert 1_700_000_060 == verify([Key.from_bytes(verifying)], made, NOW, "realm")


def test_a_public_key_does_not_sign() -> None:
    with pytest.raises(ValueError, match="public key"):
        sign(Key.from_bytes(public_pem(EC)), "realm", NOW)
    with pytest.raises(ValueError, match="public key"):
        Signer(Key.from_bytes(public_pem(EC)), "realm")


def test_any_of_several_keys_verifies() -> None:
    """Keys are rotated: old and new, of whatever kind, are both good for a while."""
    keys = [Key.from_bytes(public_pem(RSA)), Key.from_bytes(b"old"), Key.from_bytes(b"new")]

    assert verify(keys, sign(keys[2], "realm", NOW), NOW, "realm")


@pytest.mark.parametrize("issuer", ["realm", None])
def test_the_issuer_is_checked_only_if_asked_for(issuer: str | None) -> None:
    assert verify([SECRET], sign(SECRET, "realm", NOW), NOW, issuer)


def test_another_issuer_is_forbidden() -> None:
    with pytest.raises(AuthError, match="iss") as caught:
        verify([SECRET], sign(SECRET, "other", NOW), NOW, "realm")

    assert 403 == caught.value.status


def test_a_token_is_good_until_its_expiry_and_the_leeway() -> None:
    made = token({"iss": "realm", "exp": 1000})

    assert 1000.0 == verify([LONG_SECRET], made, 1000 + LEEWAY - 0.1, None)
    with pytest.raises(AuthError, match="expired"):
        verify([LONG_SECRET], made, 1000 + LEEWAY, None)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 2000},
        {"exp": 2000.5, "iss": ["a"], "aud": "x", "iat": 9999, "sub": 5},
        {"exp": 2000, "nbf": 1000 + LEEWAY},
        {"exp": 2000, "nbf": None},
    ],
)
def test_other_claims_do_not_matter(claims: dict[str, Any]) -> None:
    assert verify([LONG_SECRET], token(claims), 1000, None)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "realm"}, "no exp"),
        ({"exp": None}, "no exp"),
        ({"exp": "2000"}, "exp is not a number"),
        ({"exp": True}, "exp is not a number"),
        ({"exp": math.inf}, "exp is not a number"),
        ({"exp": math.nan}, "exp is not a number"),
        ({"exp": 10**400}, "exp is not a number"),
        ({"exp": 2000, "nbf": "0"}, "nbf is not a number"),
        ({"exp": 2000, "nbf": -(10**400)}, "nbf is not a number"),
        ({"exp": 2000, "nbf": 1000 + LEEWAY + 1}, "not valid yet"),
        ({"exp": -1}, "expired"),
        ([], "malformed"),
        (b"{", "malformed"),
        (b"[" * 100_000, "malformed"),
    ],
)
def test_bad_claims_are_refused_although_signed(claims: Any, reason: str) -> None:
    with pytest.raises(AuthError, match=reason) as caught:
        verify([LONG_SECRET], token(claims), 1000, None)

    assert 401 == caught.value.status


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


GOOD = sign(SECRET, "realm", NOW)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        ".",
        "..",
        "x",
        "a.b.c",
        "ü.b.c",
        "\udcff",
        GOOD[:-2],
        GOOD + "x",
        GOOD + ".",
        sign(Key.from_bytes(b"other"), "realm", NOW),
        f"{part({'alg': 'none'})}.{part({'iss': 'realm', 'exp': 2**40})}.",
        f"{part({'alg': 'HS512'})}.{part({'iss': 'realm', 'exp': 2**40})}.AAAA",
        f"{part({'alg': {}})}.{part({})}.AAAA",
        f"{part({'alg': ['HS256']})}.{part({})}.AAAA",
        f"{part([])}.{part({})}.AAAA",
        f"{base64.urlsafe_b64encode(b'[' * 99_999).decode()}.{part({})}.AAAA",
        token({"exp": 2**40}, crit=["x"], x=1),
    ],
)
def test_what_is_not_signed_is_refused(bad: str) -> None:
    with pytest.raises(AuthError) as caught:
        verify([SECRET, LONG_SECRET], bad, NOW, "realm")

    assert 401 == caught.value.status
    assert "secret" not in str(caught.value)


def test_without_keys_nothing_is_good() -> None:
    with pytest.raises(AuthError):
        verify([], GOOD, NOW, "realm")


@pytest.mark.parametrize("pem", [public_pem(EC), public_pem(RSA)])
def test_a_public_key_is_no_secret(pem: bytes) -> None:
    """The classic confusion of algorithms: HS256 with the text of the public key as its secret."""
    import hashlib
    import hmac

    signed = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'iss': 'realm', 'exp': 2**40})}"
    for secret in (pem, pem.strip()):
        signature = hmac.digest(secret, signed.encode(), hashlib.sha256)
        forged = f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
        with pytest.raises(AuthError):
            verify([Key.from_bytes(pem)], forged, NOW, "realm")


@given(st.text(alphabet='abcE.=_-{"}ü\udcff0', max_size=40))
def test_any_text_is_refused_as_a_token(text: str) -> None:
    with pytest.raises(AuthError):
        verify([SECRET, Key.from_bytes(public_pem(EC))], text, NOW, None)


@given(st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.text(max_size=5), st.floats(), st.integers())))
def test_any_signed_claims_are_good_or_refused(claims: dict[str, Any]) -> None:
    try:
        assert verify([LONG_SECRET], token(claims), 0, None) == claims["exp"]
    except AuthError:
        pass


def test_a_signer_makes_one_token_for_each_second() -> None:
    signer = Signer(SECRET, "realm", 60)
    first = signer.token(1000.0)

    assert first is signer.token(1000.9)
    assert 1060 == verify([SECRET], first, 1000, "realm")
    assert 1061 == verify([SECRET], signer.token(1001.0), 1000, "realm")
    assert ("realm", "HS256") == (signer.issuer, signer.algorithm)


@pytest.mark.parametrize(
    ("text", "issuer"),
    [
        (GOOD, "realm"),
        (sign(Key.from_bytes(b"other"), "other", 0), "other"),
        (token({"iss": 5}), None),
        (token([]), None),
        ("rubbish", None),
    ],
)
def test_the_claimed_issuer_is_read_without_a_key(text: str, issuer: str | None) -> None:
    assert issuer == claimed_issuer(text)
