"""The server behind nginx, by the recipe of the documentation, over TLS; and with a certificate of its own."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import re
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import peerpouch
from tests.interop.node_processes import LIMIT

NGINX = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)
RECIPE = Path(__file__).parents[2] / "docs" / "how-to" / "run-a-server.md"

needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


def client(url: str, cert: Path, auth: tuple[str, str] | None = ("root", "secret")) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        base_url=url, auth=auth, verify=ssl.create_default_context(cafile=str(cert)), trust_env=False, timeout=LIMIT
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def configuration(folder: Path, certificate: tuple[Path, Path], port: int, upstream: int) -> str:
    """The recipe of the documentation, with this machine's files and ports."""
    (recipe,) = re.findall(r"```nginx\n(.*?)```", RECIPE.read_text("utf-8"), re.DOTALL)
    for pattern, replacement in (
        (r"listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        (r"server_name db.example;", "server_name localhost;"),
        (r"/etc/ssl/db.example.pem", str(certificate[0])),
        (r"/etc/ssl/db.example.key", str(certificate[1])),
        (r"http://127.0.0.1:5984", f"http://127.0.0.1:{upstream}"),
    ):
        recipe, count = re.subn(pattern, replacement, recipe)
        assert count == 1, pattern
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{recipe}}}\n"
    )


@asynccontextmanager
async def nginx(folder: Path, certificate: tuple[Path, Path], upstream: int) -> AsyncIterator[str]:
    """nginx in front of a port; gives its URL."""
    assert NGINX is not None
    folder.mkdir()
    port = free_port()
    (folder / "nginx.conf").write_text(configuration(folder, certificate, port, upstream))
    process = await asyncio.create_subprocess_exec(
        NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")
    )
    try:
        async with asyncio.timeout(LIMIT):
            while True:
                assert process.returncode is None, (folder / "error.log").read_text()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        yield f"https://127.0.0.1:{port}/"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@needs_nginx
async def test_behind_nginx_everything_streams_and_addresses_are_told(
    tmp_path: Path, certificate: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "peerpouch.access")
    async with (
        peerpouch.Server(
            tmp_path / "server", port=0, admins={"root": "secret"}, forwarded_from=["127.0.0.1"]
        ) as server,
        nginx(tmp_path / "nginx", certificate, server.port) as url,
        client(url, certificate[0]) as http,
    ):
        created = await http.put("notes")
        assert created.headers["location"] == url + "notes"
        session = await http.post("_session", json={"name": "root", "password": "secret"})
        assert "secure" in session.headers["set-cookie"].lower()

        # A feed: each change comes when it is written, though nothing follows it.
        feed = {"feed": "continuous", "since": "now", "heartbeat": "60000"}
        async with http.stream("GET", "notes/_changes", params=feed) as response:
            lines = response.aiter_lines()
            assert await anext(lines) == ""
            for n in range(3):
                await http.put(f"notes/doc{n}", json={})
                async with asyncio.timeout(LIMIT):
                    line = await anext(lines)
                    while not line:
                        line = await anext(lines)
                assert f"doc{n}" in line

        # A body that is larger than what proxies take by default, and an id with a slash in it.
        data = bytes(range(256)) * (20 * 1024)
        put = await http.put("notes/a%2Fb/large.bin", content=data)
        assert put.status_code == 201
        assert (await http.get("notes/a%2Fb/large.bin")).content == data
        assert (await http.get("notes/a%2Fb")).json()["_id"] == "a/b"
        part = await http.get("notes/a%2Fb/large.bin", headers={"range": "bytes=1000-1009"})
        assert (part.status_code, part.content) == (206, data[1000:1010])

        # Whoever says that it comes from elsewhere is not believed: only what the proxy saw counts.
        caplog.clear()
        await http.get("_up", headers={"x-forwarded-for": "203.0.113.9"})
        (message,) = [record.getMessage() for record in caplog.records if "/_up" in record.getMessage()]
        assert message.startswith("127.0.0.1 ")


@pytest.mark.parametrize("trusted", [True, False])
async def test_forwarded_headers_are_believed_from_named_addresses_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trusted: bool
) -> None:
    caplog.set_level("INFO", "peerpouch.access")
    proxies = ["127.0.0.1"] if trusted else ["192.0.2.7"]
    async with (
        peerpouch.Server(tmp_path, port=0, admins={"root": "secret"}, forwarded_from=proxies) as server,
        httpx2.AsyncClient(base_url=server.url, auth=("root", "secret"), trust_env=False) as http,
    ):
        told = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}
        created = await http.put("notes", headers=told)
        assert created.headers["location"].startswith("https:" if trusted else "http:")
        (message,) = [record.getMessage() for record in caplog.records if "/notes" in record.getMessage()]
        assert message.startswith("203.0.113.9 " if trusted else "127.0.0.1 ")


async def test_with_a_certificate_of_its_own_it_speaks_tls_and_nothing_else(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    async with peerpouch.Server(
        tmp_path / "server", port=0, admins={"root": "secret"}, tls_cert=cert, tls_key=key
    ) as server:
        assert server.url.startswith("https:")
        async with client(server.url, cert) as http:
            assert (await http.put("notes")).status_code == 201
            assert (
                "secure"
                in (await http.post("_session", json={"name": "root", "password": "secret"}))
                .headers["set-cookie"]
                .lower()
            )
            data = bytes(300_000)
            assert (await http.put("notes/a/x", content=data)).status_code == 201
            assert (await http.get("notes/a/x")).content == data
        async with httpx2.AsyncClient(base_url=server.url.replace("https", "http"), trust_env=False) as plain:
            with pytest.raises(httpx2.HTTPError):
                await plain.get("_up")
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as distrusting:
            with pytest.raises(httpx2.ConnectError):
                await distrusting.get("_up")
