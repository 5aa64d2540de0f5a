"""TLS to the broker: a certificate authority of one's own, and what is not signed by it."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from aiormq.exceptions import AMQPConnectionError
from conftest import cable
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from teamleader2db_airflow.ask import NoAnswerError, ask


@pytest.fixture
def certificate(tmp_path):
    """A PEM file with a key, and its certificate for 127.0.0.1, which is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = tmp_path / "broker.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return pem


def test_the_broker_is_reached_over_tls_if_its_certificate_is_believed(broker, certificate, request_, log):
    async def story():
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        async with cable(broker, context) as way:
            secured = replace(broker, port=way.port, tls=True, ca_file=str(certificate))
            await (await secured.connect()).close()
            with pytest.raises(AMQPConnectionError, match="certificate verify failed"):
                await replace(secured, ca_file=None).connect()
            with pytest.raises(AMQPConnectionError, match=r"certificate|IP address|hostname"):
                await replace(secured, host="localhost").connect()
            # None of which is worth another try.
            for wrong, why in ((None, "certificate verify failed"), ("/nowhere.pem", r"ca_file /nowhere\.pem: .*No such file")):
                with pytest.raises(NoAnswerError, match=why):
                    await ask(replace(secured, ca_file=wrong), request_, 0, deadline=time.time() + 30, log=log, traceparent=None)

    asyncio.run(story())
