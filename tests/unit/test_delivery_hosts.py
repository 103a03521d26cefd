"""Who may be spoken to: names first, then every address behind the name."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.delivery.hosts import allowed_url, checked_address, is_public
from darkroom.errors import HostNotAllowed, HostUnknown


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://hooks.example.com/x?y=1", ["hooks.example.com"]),
        ("https://HOOKS.example.com.:8443/", ["Hooks.Example.Com"]),
        ("https://a.b.example.com/", ["*.example.com"]),
        ("https://bücher.example/", ["bücher.example"]),
        ("http://127.0.0.1:9/", ["127.0.0.1"]),
        ("http://[::1]:9/", ["::1/128"]),
        ("http://[::ffff:10.1.2.3]/", ["10.1.0.0/16"]),
    ],
)
def test_a_named_host_is_allowed(url, allowed):
    assert str(allowed_url(url, allowed)).startswith("http")


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "https://hooks.example.com.evil.example/",
        "https://xhooks.example.com/",
        "https://example.com@evil.example/",
        "https://hooks.example.com@evil.example/",
        "https://user:secret@hooks.example.com/",
        "https://hooks.example.com\\@evil.example/",
        "https://evil.example#@hooks.example.com/",
        "https://hooks.example.com/#fragment",
        "https://hooks.example.com\r\nX: y/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "//hooks.example.com/",
        "hooks.example.com",
        "https://",
        "https://xn--/",
        "",
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[fe80::1%25eth0]/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://localhost/",
    ],
)
def test_any_other_is_not_however_it_is_written(url):
    with pytest.raises(HostNotAllowed):
        allowed_url(url, ["hooks.example.com", "*.example.org", "8.8.8.0/24"])


def test_with_no_host_named_nobody_is_told():
    with pytest.raises(HostNotAllowed, match="none is"):
        allowed_url("https://hooks.example.com/", [])


def resolving(monkeypatch, *addresses):
    asked = []

    def getaddrinfo(host, port, **_):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


PRIVATE = [
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
    "::7f00:1", "64:ff9b::7f00:1", "2002:7f00:1::1", "2001:0:7f00:1::1", "fec0::1", "2001:db8::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_a_named_host_with_a_private_address_is_refused(monkeypatch, address):
    resolving(monkeypatch, address)
    url = allowed_url("https://hooks.example.com/", ["hooks.example.com"])
    with pytest.raises(HostNotAllowed, match="not public"):
        checked_address(url, ["hooks.example.com"])


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch):
    resolving(monkeypatch, "8.8.8.8", "127.0.0.1")
    with pytest.raises(HostNotAllowed, match=r"127\.0\.0\.1"):
        checked_address(allowed_url("https://a.example/", ["a.example"]), ["a.example"])


def test_a_private_address_that_is_named_too_is_allowed_also_without_https(monkeypatch):
    resolving(monkeypatch, "10.1.2.3")
    allowed = ["hooks.internal", "10.1.2.0/24"]
    assert checked_address(allowed_url("http://hooks.internal/", allowed), allowed) == "10.1.2.3"


def test_a_public_host_is_spoken_to_by_https_only_and_asked_for_once(monkeypatch):
    asked = resolving(monkeypatch, "8.8.8.8")
    assert checked_address(allowed_url("https://a.example/", ["a.example"]), ["a.example"]) == "8.8.8.8"
    assert asked == ["a.example"]
    with pytest.raises(HostNotAllowed, match="https only"):
        checked_address(allowed_url("http://a.example/", ["a.example"]), ["a.example"])


def test_a_host_that_dns_does_not_know_may_be_known_later(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(HostUnknown):
        checked_address(allowed_url("https://a.example/", ["a.example"]), ["a.example"])


@given(st.ip_addresses())
def test_only_global_unicast_addresses_are_public(address):
    if is_public(address):
        assert address.is_global
        assert not (
            address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
        )
        if address.version == 6:
            assert address in ipaddress.ip_network("2000::/3")
            assert address.ipv4_mapped is None
            assert address.sixtofour is None
