"""Publishers are let through by a key of their realm, in every form that client libraries send, and by nothing else."""

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.auth import Publishers, challenge
from gripproxy.config import Config, Realm, Secret
from gripproxy.errors import AuthError, ConfigError
from gripproxy.grip.tokens import Key, sign

NOW = 1_700_000_000.0
EC = ec.generate_private_key(ec.SECP256R1())
PRIVATE = EC.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC = (
    EC.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
)
BINARY = b"\xff\xfe\x00key\xf0!"

PUBLISHERS = Publishers(
    Config(
        realms={
            "open": Realm(),
            "headline": Realm(key=(Secret("new secret"), Secret("old"))),
            "binary": Realm(key=(Secret("base64:" + base64.b64encode(BINARY).decode()),)),
            "named": Realm(key=(Secret("named"),), control_iss="publisher"),
            "public": Realm(key=(Secret(PUBLIC),)),
        }
    )
)


def bearer(key: bytes, issuer: str, now: float = NOW) -> str:
    return "Bearer " + sign(Key.from_bytes(key), issuer, now)


def basic(user_and_password: bytes) -> str:
    return base64.b64encode(user_and_password).decode()


def status(realm: str, authorization: str | None, is_loopback: bool = False, now: float = NOW) -> int:
    """What a door would answer: 200 when the publisher is let through."""
    try:
        PUBLISHERS.check(realm, authorization, is_loopback, now)
    except AuthError as error:
        return error.status
    return 200


@pytest.mark.parametrize(
    ("realm", "authorization"),
    [
        # signed tokens
        ("headline", bearer(b"new secret", "headline")),
        ("headline", bearer(b"old", "headline")),
        ("headline", bearer(b"old", "headline").replace("Bearer", "bearer ")),
        ("headline", bearer(b"old", "headline").split()[1]),
        ("binary", bearer(BINARY, "binary")),
        ("named", bearer(b"named", "publisher")),
        ("public", bearer(PRIVATE.encode(), "public")),
        # the key itself
        ("headline", "Bearer new secret"),
        ("headline", "Bearer old"),
        ("headline", "old"),
        ("headline", "new secret"),
        ("binary", "Bearer " + base64.b64encode(BINARY).decode()),
        ("binary", "Bearer " + base64.b64encode(BINARY).decode().rstrip("=")),
        ("binary", "Bearer " + base64.urlsafe_b64encode(BINARY).decode()),
        ("binary", "Bearer " + BINARY.decode("utf-8", "surrogateescape")),
        # Basic, whole and broken
        ("headline", "Basic " + basic(b"user:new secret")),
        ("headline", "basic " + basic(b"old:")),
        ("headline", "Basic b'" + basic(b"user:old") + "'"),
        ("headline", basic(b"user:old")),
        ("binary", "Basic " + basic(b"x:" + BINARY)),
        ("binary", "Basic " + basic(b"x:" + base64.b64encode(BINARY))),
    ],
)
def test_whoever_knows_a_key_may_publish(realm: str, authorization: str) -> None:
    assert 200 == status(realm, authorization)
    assert 200 == status(realm, authorization)  # once more, from memory


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "  ",
        "Bearer",
        "Bearer ",
        "Basic",
        "Basic !",
        "Basic b'",
        "Basic b''",
        "Basic " + basic(b"old"),
        "Basic " + basic(b":"),
        "Basic " + basic(b"user:wrong"),
        "Bearer wrong",
        "Bearer a.b.c",
        "Bearer \udcff.ü.\x00",
        "Digest old",
        "Old",
        bearer(b"wrong", "headline"),
        bearer(b"old", "headline", NOW - 4000),
        "Basic " + bearer(b"old", "headline").split()[1],
        PUBLIC,
    ],
)
def test_missing_and_bad_credentials_are_unauthorized(authorization: str | None) -> None:
    """An empty field is what Go's pubcontrol sends without credentials."""
    assert 401 == status("headline", authorization)
    assert 401 == status("headline", authorization, is_loopback=True)


def test_a_public_key_itself_is_no_credential() -> None:
    for form in (PUBLIC, base64.b64encode(PUBLIC.encode()).decode()):
        assert 401 == status("public", "Bearer " + form)
        assert 401 == status("public", "Basic " + basic(b"x:" + form.encode()))


@pytest.mark.parametrize(
    ("realm", "authorization"),
    [
        ("headline", bearer(b"old", "other")),  # the right key with another issuer
        ("headline", bearer(b"named", "publisher")),  # the token of another realm
        ("named", bearer(b"named", "named")),  # the realm's name where control_iss differs
        ("nowhere", bearer(b"old", "headline")),
        ("nowhere", None),
    ],
)
def test_credentials_of_another_realm_are_forbidden(realm: str, authorization: str | None) -> None:
    assert 403 == status(realm, authorization, is_loopback=True)


@pytest.mark.parametrize("authorization", [None, "", "Bearer anything", "rubbish"])
def test_a_realm_without_key_takes_publishes_from_loopback_only(authorization: str | None) -> None:
    for realm in ("open", "default"):
        assert 200 == status(realm, authorization, is_loopback=True)
        assert 403 == status(realm, authorization, is_loopback=False)


def test_a_remembered_token_expires_and_is_of_one_realm() -> None:
    """A good token must stop to be good on time, and must not open another realm for having been seen."""
    authorization = bearer(b"old", "headline")

    assert 200 == status("headline", authorization)
    assert 401 == status("headline", authorization, now=NOW + 3700)
    assert 401 == status("binary", authorization, now=NOW + 3700)
    assert 403 == status("binary", authorization)


def test_the_memory_for_tokens_has_an_end() -> None:
    publishers = Publishers(Config(realms={"a": Realm(key=(Secret("k"),))}))
    for second in range(1500):
        publishers.check("a", bearer(b"k", "a", NOW + second), False, NOW + second)

    assert len(publishers._expiries) <= 1024


@given(st.text(), st.sampled_from(["", "Bearer ", "Basic ", "Basic b'"]))
def test_any_text_is_refused(text: str, scheme: str) -> None:
    assert 401 == status("binary", scheme + text)


@given(st.binary())
def test_any_basic_credentials_are_refused(content: bytes) -> None:
    assert 401 == status("binary", "Basic " + basic(content))


@pytest.mark.parametrize("authorization", ["Bearer very-secret-guess", "Basic " + basic(b"u:very-secret-guess")])
def test_errors_do_not_show_credentials(authorization: str) -> None:
    with pytest.raises(AuthError) as caught:
        PUBLISHERS.check("headline", authorization, False, NOW)

    assert "very-secret" not in str(caught.value)


def test_a_door_can_ask_whether_a_realm_exists() -> None:
    assert [True, True, False] == [realm in PUBLISHERS for realm in ("headline", "default", "nowhere")]


def test_a_challenge_names_the_realm() -> None:
    assert 'Bearer realm="headline"' == challenge("headline")


def test_a_bad_key_is_named() -> None:
    made = Config(realms={"a": Realm(key=(Secret("hex:x"),))}, source="config.toml")
    with pytest.raises(ConfigError, match=r"config\.toml: realms\.a\.key: the key is not valid hex"):
        Publishers(made)


def test_with_other_keys_what_was_good_is_not_any_more() -> None:
    """Also a token that is remembered as good."""
    publishers = Publishers(Config(realms={"a": Realm(key=(Secret("old"),)), "b": Realm()}))
    old, new = bearer(b"old", "a"), bearer(b"new", "a")
    for _ in range(2):
        publishers.check("a", old, False, NOW)
    publishers.become(Publishers(Config(realms={"a": Realm(key=(Secret("new"),))})))
    with pytest.raises(AuthError):
        publishers.check("a", old, False, NOW)
    publishers.check("a", new, False, NOW)
    assert "b" not in publishers
    assert (frozenset({Key.from_text("new")}), frozenset()) == (publishers.keys("a"), publishers.keys("b"))
