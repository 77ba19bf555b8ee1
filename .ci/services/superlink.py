"""A Flower SuperLink for tests: TLS, registered node keys, loopback only.

Run by `run.py services` as `superlink.py start | stop | env`. Flower is among the run-time
packages, so it is the environment in .venv that runs; keys, certificates and state are in
.services/superlink. It reports nothing to anybody and installs nothing that an app asks for.
"""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv" / "bin"
HOME = ROOT / ".services" / "superlink"
TLS = HOME / "tls"
ADDRESS = HOME / "address"  # pid and port of the SuperLink that was started
START_S = 60
DAYS = 365
API = 8000  # Flower's default is the port of our own API
VARIABLES = {
    "FLWR_HOME": str(HOME / "home"),
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5",
    "PYTHONPATH": str(ROOT),  # where a ServerApp finds what it runs
    "OMP_NUM_THREADS": "1",
}


def port() -> int | None:
    """Find the port at which our SuperLink answers; None when it does not."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        found = int(ADDRESS.read_text().split()[1])
        trust = ssl.create_default_context(cafile=str(TLS / "ca.pem"))
        with (
            socket.create_connection(("127.0.0.1", found), timeout=3) as plain,
            trust.wrap_socket(plain, server_hostname="127.0.0.1"),
        ):
            return found  # nobody else has a certificate of our authority
    return None


def show() -> None:
    """Print the variables that lead tests to the SuperLink, if it answers."""
    found = port()
    if found:
        print(f"TASCO_TEST_SUPERLINK=flower://127.0.0.1:{found}")
        print(f"TASCO_TEST_SUPERLINK_TLS={TLS}")


def start() -> None:
    """Start the SuperLink unless it answers; it stays up when this process ends."""
    if port():
        return
    program = BIN / "flower-superlink"
    if not program.exists():
        sys.exit("Flower is not installed in .venv.")
    HOME.mkdir(parents=True, exist_ok=True)
    HOME.chmod(0o700)
    subprocess.run([str(BIN / "python"), __file__, "certificates"], check=True)  # noqa: S603 - us
    chosen = free_port()
    with (HOME / "log").open("w") as log:
        server = subprocess.Popen(  # noqa: S603 - what we installed
            [str(program), *options(chosen)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=HOME,
            env={**os.environ, **VARIABLES, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        )
    ADDRESS.write_text(f"{server.pid} {chosen}")
    until = time.monotonic() + START_S
    while not port():
        if server.poll() is not None or time.monotonic() > until:
            sys.exit(f"The SuperLink did not start: {(HOME / 'log').read_text()[-500:]}")
        time.sleep(0.2)


def options(chosen: int) -> list[str]:
    """Spell how the SuperLink is to run."""
    return [
        *("--host", "127.0.0.1", "--port", str(chosen)),
        *("--ssl-certfile", str(TLS / "server.pem"), "--ssl-keyfile", str(TLS / "server.key")),
        *("--ssl-ca-certfile", str(TLS / "ca.pem")),
        *("--database", str(HOME / "state.db")),
        "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",
    ]


def make_certificates() -> None:
    """Make an authority and a certificate for 127.0.0.1, unless they still count for a day."""
    from cryptography import x509  # noqa: PLC0415 - the services' environment lacks it
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    now = datetime.now(UTC)
    with contextlib.suppress(OSError, ValueError):
        known = x509.load_pem_x509_certificate((TLS / "server.pem").read_bytes())
        if known.not_valid_after_utc > now + timedelta(days=1):
            return
    TLS.mkdir(mode=0o700, exist_ok=True)
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "TASCO test authority")])
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def signed(subject: x509.Name, public: ec.EllipticCurvePublicKey, *, is_ca: bool) -> bytes:
        builder = x509.CertificateBuilder(
            issuer_name=ca_name,
            subject_name=subject,
            public_key=public,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(minutes=5),
            not_valid_after=now + timedelta(days=DAYS),
        ).add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        if not is_ca:
            names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(ca_key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM)

    (TLS / "ca.pem").write_bytes(signed(ca_name, ca_key.public_key(), is_ca=True))
    (TLS / "server.pem").write_bytes(signed(name, key.public_key(), is_ca=False))
    (TLS / "server.key").touch(mode=0o600)
    (TLS / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def free_port() -> int:
    """Find a port that nobody listens on, and that is not our own API's."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            found = int(probe.getsockname()[1])
        if found != API:
            return found


def stop() -> None:
    """Stop the SuperLink that was started here, if it answers, and what it started."""
    if port():
        pid = int(ADDRESS.read_text().split()[0])
        os.killpg(pid, signal.SIGTERM)
    ADDRESS.unlink(missing_ok=True)


VERBS = {"start": start, "stop": stop, "env": show, "certificates": make_certificates}

if __name__ == "__main__":
    VERBS[sys.argv[1]]()
