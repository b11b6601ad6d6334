"""Why the server can't be reached, to show. The text of aiohttp's errors may contain the API key."""

from __future__ import annotations

import errno
import os

import aiohttp


def why_not_reached(error: aiohttp.ClientError) -> str:
    """What happened, without headers of the request and without the URL of a proxy, which may have a password."""
    match error:
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answered {error.status}"
        case aiohttp.ClientResponseError():
            return f"answered {error.status}"
        case aiohttp.ClientProxyConnectionError():
            return f"the proxy: {_cause(error)}"
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", "") or type(error.certificate_error).__name__
            return f"its certificate is not accepted: {reason}"
        case aiohttp.ClientConnectorSSLError():
            return "no TLS connection: it may serve http, not https"
    return _cause(error)


def _cause(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    return type(error).__name__
