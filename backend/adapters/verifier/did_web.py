"""did:web behind guards: named hosts only, https, one checked address, no redirect, small, quick.

Source: W3C-CCG did:web. Off unless hosts are named; nothing else of the verifier uses a network.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from cachetools import TTLCache

from backend.adapters.verifier.dids import DidRefused, read_method
from backend.adapters.verifier.interface import Purpose, VerificationMethod
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.refusals import Refused
from backend.adapters.verifier.strict_json import MAX_FOREIGN_DEPTH, measure, read_object

TIMEOUT_S = 2.0
MAX_DOCUMENT_BYTES = 65_536
KEPT_S = 300.0
PORT = 443
_IPV6_INTERNET = ipaddress.ip_network("2000::/3")
_TUNNELS = tuple(map(ipaddress.ip_network, ("2001::/32", "2002::/16")))  # Teredo, 6to4

Addresses = Callable[[str], list[str]]
Connect = Callable[[str, str], socket.socket]  # host and checked address to an open TLS connection


def look_up(host: str) -> list[str]:
    """Every address of a host."""
    found = socket.getaddrinfo(host, PORT, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def connect_tls(host: str, address: str) -> socket.socket:
    """A TLS connection to this very address that proves to be the host."""
    plain = socket.create_connection((address, PORT), timeout=TIMEOUT_S)
    return ssl.create_default_context().wrap_socket(plain, server_hostname=host)


class WebResolver:
    """Resolves did:web of allowed hosts.

    Args:
        hosts: Exactly these host names.
        addresses: How to look a host up; tests give their own.
        connect: How to connect; tests give their own.
    """

    def __init__(
        self,
        hosts: tuple[str, ...],
        *,
        addresses: Addresses = look_up,
        connect: Connect = connect_tls,
    ) -> None:
        self._hosts = frozenset(hosts)
        self._addresses, self._connect = addresses, connect
        self._known: TTLCache[str, dict[str, Any]] = TTLCache(256, KEPT_S)
        self._lock = threading.Lock()

    def resolve(self, did: str, purpose: Purpose) -> tuple[VerificationMethod, ...]:
        """The methods of a DID for a purpose.

        Raises:
            Refused: If its host is not allowed, or it cannot be fetched as it has to be.
        """
        with self._lock:
            document = self._known.get(did)
        if document is None:
            document = self._fetch(did)
            with self._lock:
                self._known[did] = document
        return methods_in(document, did, purpose)

    def _fetch(self, did: str) -> dict[str, Any]:
        host, path = place_of(did)
        if host not in self._hosts:
            raise Refused(Reason.UNSUPPORTED_DID_METHOD, "host not allowed")
        try:
            content = self._get(host, path, until=time.monotonic() + TIMEOUT_S)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Refused(Reason.RESOLUTION_FAILED, type(error).__name__) from error
        document = read_object(content)
        measure(document, max_depth=MAX_FOREIGN_DEPTH, max_characters=MAX_DOCUMENT_BYTES)
        if document.get("id") != did:
            raise Refused(Reason.RESOLUTION_FAILED, "another DID's document")
        return document

    def _get(self, host: str, path: str, *, until: float) -> bytes:
        connection = http.client.HTTPConnection(host, timeout=TIMEOUT_S)
        connection.sock = self._connect(host, self._public_address(host))
        try:
            connection.request("GET", path, headers={"Accept": "application/did+json"})
            with connection.getresponse() as response:
                if response.status != http.client.OK:
                    raise ValueError("no redirect is followed, nothing but 200 is taken")
                return _read(response, until)
        finally:
            connection.close()

    def _public_address(self, host: str) -> str:
        """The address to connect to; a host with any private address is refused."""
        addresses = self._addresses(host)
        if not addresses or not all(map(is_public, addresses)):
            raise ValueError("not a public address")
        return addresses[0]


def is_public(address: str) -> bool:
    """Whether an address is one host of the internet, and not another one in disguise."""
    parsed = ipaddress.ip_address(address)
    is_odd = parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified
    if isinstance(parsed, ipaddress.IPv6Address):
        is_odd = is_odd or parsed not in _IPV6_INTERNET or any(parsed in one for one in _TUNNELS)
    return parsed.is_global and not is_odd


def _read(response: http.client.HTTPResponse, until: float) -> bytes:
    content = b""
    while part := response.read1(8_192):
        content += part
        if len(content) > MAX_DOCUMENT_BYTES or time.monotonic() > until:
            raise ValueError("too large or too slow")
    return content


def place_of(did: str) -> tuple[str, str]:
    """Host and path where the document of a did:web lies.

    Raises:
        Refused: If it names a port or an odd path.
    """
    host, *rest = (unquote(part) for part in did.removeprefix("did:web:").split(":"))
    is_plain = all(part and set(part) <= _PLAIN and part not in {".", ".."} for part in rest)
    if not host or not is_plain or not set(host) <= _PLAIN:
        raise Refused(Reason.MALFORMED_DID)
    return host, "/" + "/".join([*rest, "did.json"] if rest else [".well-known", "did.json"])


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def methods_in(
    document: Mapping[str, Any], did: str, purpose: Purpose
) -> tuple[VerificationMethod, ...]:
    """The methods a DID document names for a purpose, those without a usable key left out."""
    listed = document.get("verificationMethod", [])
    by_id = {one["id"]: one for one in listed if isinstance(one, dict) and "id" in one}
    found = []
    for entry in document.get(purpose, []):
        method = entry if isinstance(entry, dict) else by_id.get(_absolute(entry, did))
        if method is None or method.get("controller") != did:
            continue
        try:
            found.append(read_method({**method, "id": _absolute(method["id"], did)}))
        except (DidRefused, KeyError):
            continue
    return tuple(found)


def _absolute(url: object, did: str) -> str:
    return f"{did}{url}" if str(url).startswith("#") else str(url)
