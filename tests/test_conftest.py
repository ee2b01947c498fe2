from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).with_name("conftest.py")
CULPRITS = """
import os, socket, threading, time

def test_connect():
    socket.socket().connect(("192.0.2.1", 80))

def test_swallowed_lookup():
    try:
        socket.getaddrinfo("example.org", 80)
    except OSError:
        pass

def test_variable():
    os.environ["LEAKED"] = "1"

def test_thread():
    threading.Thread(target=time.sleep, args=(0.5,), name="leaker").start()

def test_folder():
    os.chdir("/")
"""


def test_every_leak_fails_its_test(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider -W ignore\n")
    (tmp_path / "test_culprits.py").write_text(CULPRITS)
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", str(tmp_path)]
    wide = {**os.environ, "COLUMNS": "200"}
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=wide, check=False).stdout
    assert "test_connect - Failed: network access: ('192.0.2.1', 80)" in said
    assert "test_swallowed_lookup - Failed: network access: example.org" in said
    assert "test_variable - AssertionError: environment variables changed: ['LEAKED']" in said
    assert "test_thread - AssertionError: threads left running: ['leaker']" in said
    assert "test_folder - AssertionError" in said
    assert "5 errors" in said


def test_loopback_is_allowed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass


def test_the_cache_is_the_sessions_own() -> None:
    assert "pytest" in os.environ["HAMDG_CACHE"]
