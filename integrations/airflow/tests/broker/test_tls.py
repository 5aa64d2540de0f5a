"""TLS to the broker: a certificate authority of one's own, and what is not signed by it."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

import pytest
from aiormq.exceptions import AMQPConnectionError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@pytest.fixture
def certificate(tmp_path):
    """A PEM file with a key, and its certificate for 127.0.0.1, which is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    now = datetime.now(timezone.utc)
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


@asynccontextmanager
async def tls_before(broker, certificate):
    """The broker behind TLS; gives its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    tasks = set()

    async def pump(reader, writer):
        while chunk := await reader.read(65536):
            writer.write(chunk)
        writer.close()

    async def serve(reader, writer):
        inward, outward = await asyncio.open_connection(broker.host, broker.port)
        tasks.update(asyncio.create_task(each) for each in (pump(reader, outward), pump(inward, writer)))

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]
        for task in tasks:
            task.cancel()


def test_the_broker_is_reached_over_tls_if_its_certificate_is_believed(broker, certificate):
    async def story():
        async with tls_before(broker, certificate) as port:
            secured = replace(broker, port=port, tls=True, ca_file=str(certificate))
            await (await secured.connect()).close()
            with pytest.raises(AMQPConnectionError, match="certificate verify failed"):
                await replace(secured, ca_file=None).connect()
            with pytest.raises(AMQPConnectionError, match=r"certificate|IP address|hostname"):
                await replace(secured, host="localhost").connect()

    asyncio.run(story())
