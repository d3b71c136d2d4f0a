"""The server behind a certificate of its own."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import httpx
import openai
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.server.running import SERVE, ended, order, running, upload, wait


def certified(place: Path) -> tuple[Path, Path]:
    """A certificate of this machine's own address, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = place / "lab.pem", place / "lab.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private


def test_a_model_is_trained_and_asked_over_https(tmp_path: Path) -> None:
    certificate, key = certified(tmp_path)
    arguments = ("--certificate", str(certificate), "--private-key", str(key))
    with running(tmp_path / "cache", *arguments) as site:
        assert site.url.startswith("https://127.0.0.1:")
        trusting = httpx.Client(verify=ssl.create_default_context(cafile=certificate))
        client = site.client(http_client=trusting)
        job = wait(client, order(client, upload(client).id).id)
        asked = client.chat.completions.create(
            model=str(job.fine_tuned_model),
            messages=[{"role": "user", "content": "Is 3 a number?"}],
            max_tokens=4,
        )
        assert asked.choices[0].message.role == "assistant"
        with pytest.raises(openai.APIConnectionError):  # it is not trusted unasked
            site.client().models.list()


@pytest.mark.parametrize("missing", ["certificate", "key"])
def test_a_certificate_that_cannot_be_used_is_named(missing: str, tmp_path: Path) -> None:
    certificate, key = certified(tmp_path)
    (certificate if missing == "certificate" else key).write_text("nothing")
    arguments = ["--certificate", str(certificate), "--private-key", str(key)]
    done = ended([*SERVE, "--cache-dir", str(tmp_path / "cache"), *arguments])
    assert done.returncode != 0
    assert f"--certificate {certificate}" in done.stderr
    assert "Traceback" not in done.stderr
