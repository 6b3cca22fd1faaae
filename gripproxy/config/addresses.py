"""Which IP addresses are public: those that routers of the Internet lead to, and no others."""

import ipaddress

# Not public, though Python 3.11 holds them so: site-local addresses (RFC 3879), NAT64 of one's own (RFC 8215).
_LOCAL = tuple(ipaddress.IPv6Network(text) for text in ("fec0::/10", "64:ff9b:1::/48"))
# IPv6 addresses that end in an IPv4 address where they lead: NAT64 (RFC 6052), IPv4-compatible (RFC 4291).
_ENDING = tuple(ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "::/96"))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_ip(text: str) -> Address | None:
    """The address that a host is; None for a name."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Whether it is neither private, loopback, link-local, shared, reserved nor multicast, nor leads to one that is."""
    if not address.is_global or address.is_multicast:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return True
    return not any(address in network for network in _LOCAL) and all(map(is_public, _inner(address)))


def _inner(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that an address is another form of, or leads through."""
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _ENDING):
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return [one for one in found if one is not None]
