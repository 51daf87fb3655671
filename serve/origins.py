"""Whom a request may come from: names of the service, and web pages of other sites.

A page that somebody visits can send requests to any address, this machine's own among them. It may not use the service:
not under a name that its owner has pointed here (DNS rebinding), nor by posting across sites.
"""

import ipaddress
import socket

from starlette.datastructures import Headers

from focus_picker.serve.refusals import CLOSE, Refusal

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
SAME = frozenset({"same-origin", "none"})
"""Of ``Sec-Fetch-Site``: the service's own page, or an address that a person has typed."""


def own_names(allowed: str) -> frozenset[str]:
    """Names of this machine, and those of a comma-separated list; ``*`` stands for all."""
    listed = {name.strip().lower() for name in allowed.split(",") if name.strip()}
    return frozenset({"localhost", socket.gethostname().lower(), *listed})


def check_host(headers: Headers, names: frozenset[str]) -> None:
    """Refuse (``wrong_host``) a name that is not the service's; addresses and none at all are taken, as no browser
    can be led to them."""
    host = name_of(headers.get("host", ""))
    if not host or "*" in names or host in names or _is_address(host):
        return
    raise Refusal(
        "wrong_host",
        f"The service is not known as '{host[:100]}': use its address, or start it with this name in "
        "FOCUS_PICKER_ALLOWED_HOSTS.",
        CLOSE,
    )


def check_origin(method: str, headers: Headers) -> None:
    """Refuse (``other_site``) what a page of another site sends, except for reading, which browsers keep from it."""
    if method in SAFE:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    foreign = origin is not None and origin.partition("://")[2] != headers.get("host", "")
    if (site is not None and site not in SAME) or foreign:
        raise Refusal(
            "other_site", "A page of another site has sent this: use the service's own page, or a client.", CLOSE
        )


def name_of(host: str) -> str:
    """``localhost`` of ``localhost:8000``, ``::1`` of ``[::1]:8000``."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
