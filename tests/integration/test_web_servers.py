"""A web server in front of the proxy, configured as docs/deploy.md says: TLS, HTTP/2, event streams, WebSockets."""

import asyncio
import datetime
import ipaddress
import json
import re
import select
import ssl
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.client import connect

from tests.integration.conftest import ROOT, Headline
from tests.integration.processes import Processes
from tests.ports import free_port

LIMIT = 20.0  # seconds
NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {configuration}
}}
"""


@dataclass(frozen=True, slots=True)
class Front:
    """A web server in front of the example, and whom to trust."""

    url: str
    authority: Path

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return paths


def documented(language: str) -> str:
    """Return the one block of docs/deploy.md in a configuration language."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "docs/deploy.md").read_text(), re.M | re.S)
    return block


@pytest.fixture(scope="module")
def front(
    headline: Headline, tmp_path_factory: pytest.TempPathFactory, requires_program: Callable[[str], Path]
) -> Iterator[Front]:
    """Run nginx with the configuration of the document, its ports and paths replaced by the test's."""
    nginx = requires_program("nginx")
    folder = tmp_path_factory.mktemp("nginx")
    certificate, key = make_certificate(folder)
    port = free_port()
    replacements = {
        "443": f"127.0.0.1:{port}",
        "127.0.0.1:7999": urlsplit(headline.proxy_url).netloc,
        "/etc/ssl/api.example.com/fullchain.pem": str(certificate),
        "/etc/ssl/api.example.com/privkey.pem": str(key),
    }
    configuration = documented("nginx")
    for old, new in replacements.items():
        assert old in configuration
        configuration = configuration.replace(old, new)
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, configuration=configuration))
    with Processes(folder) as processes:
        processes.start("nginx", str(nginx), "-p", str(folder), "-c", str(file), ports=[port])
        yield Front(f"https://127.0.0.1:{port}", certificate)


def send(front: Front, method: str, path: str, title: str) -> dict[str, str]:
    body = json.dumps({"type": "none", "title": title}).encode()
    request = urllib.request.Request(front.url + path, body, method=method)
    with urllib.request.urlopen(request, context=front.tls, timeout=LIMIT) as response:
        return json.load(response)


@pytest.mark.requires_program("curl")
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_an_event_stream_arrives_as_it_is_published(front: Front, version: str) -> None:
    """No event waits for the next one, or for a buffer to fill."""
    path = f"/{send(front, 'POST', '/', 'before')['id']}/"
    options = ["-sN", "--cacert", str(front.authority), "--max-time", str(LIMIT), "-H", "Accept: text/event-stream"]
    with subprocess.Popen(["curl", *options, version, front.url + path], stdout=subprocess.PIPE) as stream:
        assert stream.stdout is not None
        try:
            # nginx sends the head of an HTTP/2 response with the first byte of its body, so that nothing tells when
            # the stream is held: what was published before that is not for it.
            number = 0
            while not select.select([stream.stdout], [], [], 1)[0]:
                number += 1
                send(front, "PUT", path, f"after {number}")
            assert b"event: update\n" == stream.stdout.readline()
            assert json.loads(stream.stdout.readline().removeprefix(b"data: "))["title"].startswith("after")
        finally:
            stream.kill()


def test_a_websocket_passes(front: Front) -> None:
    """The handshake is forwarded, and so is what comes after it."""
    path = f"/{send(front, 'POST', '/', 'before')['id']}/"
    url = front.url.replace("https:", "wss:") + path

    async def hear() -> str | bytes:
        # In one thread, as Python 3.11 wants its TLS connections.
        async with connect(url, ssl=front.tls, open_timeout=LIMIT, proxy=None) as socket:
            await asyncio.to_thread(send, front, "PUT", path, "after")
            return await asyncio.wait_for(socket.recv(), LIMIT)

    assert "after" == json.loads(asyncio.run(hear()))["title"]
