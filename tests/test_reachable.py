from __future__ import annotations

import http.server
import io
import threading
import time
from collections.abc import Iterator

import pytest

from hamdg.reachable import answers


class _NotFound(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _NotFound) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


def test_a_server_answers_even_if_the_page_is_missing(server: str) -> None:
    assert answers(server)


def test_nobody_answers_at_a_closed_port() -> None:
    assert not answers("http://127.0.0.1:9")


def test_an_address_that_is_none_does_not_answer() -> None:
    assert not answers("nonsense")


def test_a_name_look_up_that_hangs_obeys_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(request: object, timeout: float) -> io.BytesIO:
        release.wait(5)
        return io.BytesIO()

    monkeypatch.setattr("urllib.request.urlopen", hang)
    started = time.perf_counter()
    try:
        assert not answers("http://127.0.0.1:9", within=0.05)
    finally:
        release.set()
    assert time.perf_counter() - started < 2
