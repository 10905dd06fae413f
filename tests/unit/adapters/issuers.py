"""An issuer of tokens for tests: real keys, and a hand that signs whatever it is given."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from domain.errors import Unavailable

__all__ = ["ISSUER", "JWKS_URL", "KEYS", "Key", "Shelf", "b64", "key_set", "make_token", "secret_signature"]

ISSUER = "https://issuer.example.org/pool"
JWKS_URL = f"{ISSUER}/keys"


class Key:
    """A key pair of one of the kinds `RS256`, `ES256`, `EdDSA`, or `weak`: RSA of 1024 bits."""

    def __init__(self, kind: str, kid: str) -> None:
        self.kind = kind
        self.kid = kid
        self._private: Any = {
            "RS256": lambda: rsa.generate_private_key(65537, 2048),
            "weak": lambda: rsa.generate_private_key(65537, 1024),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }[kind]()

    @property
    def algorithm(self) -> str:
        return "RS256" if self.kind == "weak" else self.kind

    def jwk(self) -> dict[str, Any]:
        """The public key as its issuer shows it."""
        public = self._private.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            numbers = public.public_numbers()
            parts = {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        elif isinstance(public, ec.EllipticCurvePublicKey):
            point, size = public.public_numbers(), public.curve.key_size // 8
            curve = f"P-{public.curve.key_size}"
            parts = {"kty": "EC", "crv": curve, "x": _number(point.x, size), "y": _number(point.y, size)}
        else:
            parts = {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw())}
        return {"kid": self.kid, "use": "sig", "alg": self.algorithm, **parts}

    def public_forms(self) -> list[bytes]:
        """What a forger may take the public key's bytes to be."""
        public, jwk = self._private.public_key(), self.jwk()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        bare = jwk.get("n") or jwk["x"]
        return [pem, pem.strip(), der, json.dumps(jwk).encode(), bare.encode(), _bytes(bare), b""]

    def sign(self, message: bytes) -> bytes:
        if self.kind in {"RS256", "weak"}:
            return bytes(self._private.sign(message, padding.PKCS1v15(), hashes.SHA256()))
        if self.kind == "EdDSA":
            return bytes(self._private.sign(message))
        first, second = decode_dss_signature(self._private.sign(message, ec.ECDSA(hashes.SHA256())))
        size = self._private.curve.key_size // 8
        return first.to_bytes(size, "big") + second.to_bytes(size, "big")


class _Keys:
    """The test run's keys by name; each is made when it is first asked for."""

    @cache  # noqa: B019  # there is one
    def __getitem__(self, name: str) -> Key:
        return Key(name.partition(":")[0], kid=name)


KEYS = _Keys()
"""`KEYS["RS256"]` signs for the issuer; `KEYS["RS256:other"]` is nobody's."""


def key_set(*listed: dict[str, Any]) -> bytes:
    """A JWK set as it is served."""
    return json.dumps({"keys": list(listed)}).encode()


def make_token(key: Key | None, claims: Any, *, signature: bytes | None = None, **header: Any) -> str:
    """A token with those claims and that header, signed by `key`, or with that `signature`.

    The header names key and algorithm unless it is told otherwise; None leaves a name out. Bytes are taken as they are.
    """
    named = {} if key is None else {"alg": key.algorithm, "kid": key.kid}
    written = {name: it for name, it in {**named, **header}.items() if it is not None}
    body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = f"{b64(json.dumps(written).encode())}.{b64(body)}"
    if signature is None:
        signature = b"none" if key is None else key.sign(signed.encode())
    return f"{signed}.{b64(signature)}"


def secret_signature(token: str, secret: bytes) -> str:
    """The token, signed anew with HS256 and a secret."""
    signed = token.rpartition(".")[0]
    return f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


class Shelf:
    """Documents by URL, as an issuer serves them. What is not there can't be reached."""

    def __init__(self, **documents: bytes) -> None:
        self.documents: dict[str, bytes] = documents
        self.asked: list[str] = []

    async def get(self, url: str) -> bytes:
        self.asked.append(url)
        if url not in self.documents:
            raise Unavailable(f"{url} can't be reached")
        return self.documents[url]


def b64(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _number(number: int, size: int = 0) -> str:
    return b64(number.to_bytes(size or (number.bit_length() + 7) // 8, "big"))
