"""Public addresses, in all the forms in which others hide."""

import ipaddress

import pytest

from gripproxy.config.addresses import is_public, parse_ip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::8.8.8.8", True),
        ("2002:808:808::1", True),
        ("127.0.0.1", False),
        ("127.1.2.3", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("172.31.255.255", False),
        ("172.32.0.1", True),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fd12::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("::127.0.0.1", False),
        ("64:ff9b::127.0.0.1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b:1::1", False),
        ("2002:7f00:1::1", False),
        ("2002:a00:1::1", False),
    ],
)
def test_which_addresses_are_public(text: str, expected: bool) -> None:
    address = parse_ip(text)
    assert address is not None
    assert expected == is_public(address)


@pytest.mark.parametrize("name", ["localhost", "a.example", "", "127.1", "0x7f000001", "2130706433"])
def test_a_name_is_no_address(name: str) -> None:
    """What a resolver makes of it is looked at once it has."""
    assert parse_ip(name) is None


def test_an_address_is_read() -> None:
    assert ipaddress.ip_address("::1") == parse_ip("::1")
