"""Which hosts the plant may speak to: only named ones, and never a private address unless that is named too.

An entry is a host (`hooks.example.com`), all hosts below a domain (`*.example.com`), an address or a network
(`10.1.2.0/24`). A host allows its public addresses; those of the machine itself, of a private network or of
the link must lie in a network that is named.
"""

import ipaddress
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import httpx

from darkroom.errors import HostNotAllowed, HostUnknown

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
"""All that was ever given out; the rest holds local, mapped and translated addresses."""
_6TO4 = ipaddress.ip_network("2002::/16")


def refuse_callback(url: str, allowed: Sequence[str]) -> None:
    """Refuse at the start a `callback_url` that nothing would be sent to at the end.

    Raises:
        HostNotAllowed: its host is not among those allowed.
    """
    try:
        allowed_url(url, allowed)
    except HostNotAllowed as error:
        raise HostNotAllowed(f"callback_url: {error}; see docs/how-to/callbacks.md") from None


def allowed_url(url: str, allowed: Sequence[str]) -> httpx.URL:
    """A URL as it will be used, if its host is named; asks no DNS.

    Raises:
        HostNotAllowed: it is not, or this is no URL to post to.
    """
    try:
        parsed = httpx.URL(url)  # what sends it reads it, so nobody can read two hosts into it
        host = parsed.host  # read here: `xn--` may stand for no name
    except (httpx.InvalidURL, TypeError, UnicodeError) as error:
        raise HostNotAllowed(f"no URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not host:
        raise HostNotAllowed("not a URL that begins with https:// and a host")
    if parsed.userinfo or parsed.fragment:
        raise HostNotAllowed("a URL with a user or a fragment")
    if not any(_names(entry, host) for entry in allowed):
        named = ", ".join(allowed) or "none is"
        raise HostNotAllowed(f"host {host!r} is not among those allowed ({named})")
    return parsed


def checked_address(url: httpx.URL, allowed: Sequence[str]) -> str:
    """The address to connect to: resolved once, all checked, so that a second answer of DNS changes nothing.

    Raises:
        HostNotAllowed: one of its addresses is neither public nor named, or it is public and not `https`.
        HostUnknown: DNS knows none, or does not answer.
    """
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    try:
        found = socket.getaddrinfo(url.raw_host.decode("ascii"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise HostUnknown(f"host {url.host!r} has no address: {error}") from error
    addresses = [_plain(str(where[0])) for *_, where in found]
    networks = [network for entry in allowed if (network := _network(entry)) is not None]
    for address in addresses:
        if any(address in network for network in networks):
            continue
        if not is_public(address):
            raise HostNotAllowed(f"host {url.host!r} has the address {address}, which is not public")
        if url.scheme != "https":
            raise HostNotAllowed(f"host {url.host!r} is spoken to by https only")
    return str(addresses[0])


@contextmanager
def speaking(
    method: str,
    url: httpx.URL,
    allowed: Sequence[str],
    headers: Mapping[str, str],
    timeout: httpx.Timeout,
    content: bytes | None = None,
) -> Iterator[httpx.Response]:
    """The beginning of the answer of an allowed URL; its body is not read yet.

    A redirect is not followed, a proxy not asked: the connection goes to the one address that was checked,
    while certificate and `Host` are those of the name.

    Raises:
        HostNotAllowed: an address of its host is not allowed.
        HostUnknown: DNS knows none.
        httpx.HTTPError: there is no answer.
    """
    address = checked_address(url, allowed)
    client = httpx.Client(
        trust_env=False, follow_redirects=False, verify=ssl.create_default_context(), timeout=timeout
    )
    with client, client.stream(
        method, url.copy_with(host=address), content=content,
        headers={"Host": url.netloc.decode("ascii"), "User-Agent": "darkroom", **headers},
        extensions={"sni_hostname": url.raw_host.decode("ascii")},
    ) as answer:  # fmt: skip
        yield answer


def is_public(address: Address) -> bool:
    """Whether an address is of the public internet; one that hides another (6to4, NAT64) is not."""
    if address.is_multicast or not address.is_global:
        return False
    return address.version == 4 or (address in _GLOBAL_V6 and address not in _6TO4)  # noqa: PLR2004


def _plain(text: str) -> Address:
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _names(entry: str, host: str) -> bool:
    host, entry = host.lower().removesuffix("."), entry.lower()
    network = _network(entry)
    if network is not None:
        try:
            return _plain(host) in network
        except ValueError:
            return False
    return host == entry or (entry.startswith("*.") and host.endswith(entry[1:]))


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None
