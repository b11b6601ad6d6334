"""An issuer of JWTs for the users of a caller: it signs tokens, and serves its keys over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Self

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE, ISSUER = "the session manager", "https://issuer.example.com/"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def rsa_key(bits: int = 2_048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, bits)


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def jwk(kid: str | None, key: PrivateKey, **more: Any) -> dict[str, Any]:
    """The public half, as an issuer shows it."""
    if isinstance(key, rsa.RSAPrivateKey):
        shown = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        shown = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        shown = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {"use": "sig", **shown, **({} if kid is None else {"kid": kid}), **more}


def key_set(keys: Mapping[str, PrivateKey]) -> bytes:
    return json.dumps({"keys": [jwk(kid, key) for kid, key in keys.items()]}).encode()


KEYS: Mapping[str, PrivateKey] = {
    "rsa-1": rsa_key(),
    "ec-1": ec_key(),
    "ed-1": ed25519.Ed25519PrivateKey.generate(),
}


class Issuer:
    """Listens on a port of its own."""

    def __init__(self) -> None:
        self.keys = dict(KEYS)
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body: bytes | None = None
        """The body to serve instead of the keys."""
        self.asked = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/jwks.json", self._show)
        app.router.add_get("/elsewhere", self._show)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/jwks.json"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def __repr__(self) -> str:
        return f"<Issuer [asked {self.asked} times]>"

    def sign(self, kid: str = "rsa-1", *, key: PrivateKey | None = None, **claims: Any) -> str:
        """A JWT that is valid for five minutes unless `claims` say otherwise; a claim of None is left out."""
        usual = {"sub": "alice", "aud": AUDIENCE, "iss": ISSUER, "exp": time.time() + 300, "nbf": time.time()}
        said = {name: value for name, value in (usual | claims).items() if value is not None}
        key = key or self.keys[kid]
        algorithm = jwt.PyJWK(jwk(kid, key)).algorithm_name
        return jwt.encode(said, key, algorithm, {"kid": kid})

    async def _show(self, _: web.Request) -> web.Response:
        self.asked += 1
        body = key_set(self.keys) if self.body is None else self.body
        return web.Response(status=self.status, headers=self.headers, body=body)
