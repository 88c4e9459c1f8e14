"""Who is answered: hosts, other web pages, access tokens, and how often."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from reviewlm.core.credentials import AccessTokens, add_token, remove_token
from reviewlm.serving.api.answers import ApiError
from reviewlm.serving.api.app import create_app
from reviewlm.serving.api.door import OPEN, PROBES, Access
from tests.serving.made_versions import MadeSource, made_versions, running
from tests.serving.served import ask


def answer(app: object, path: str = "/v1/models", **headers: str) -> httpx.Response:
    return ask(
        app,
        "GET",
        path,
        "http://localhost:8000",
        headers=headers,
    )


@pytest.fixture(scope="module")
def versions():
    with running(made_versions(MadeSource(champion=1))) as versions:
        yield versions


@pytest.fixture(scope="module")
def local(versions):
    return create_app(versions, versions.settings, versions.metrics, None)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:99", "[::1]:8000", "LOCALHOST:1"]
)
def test_the_names_of_this_machine_are_answered(local: object, host: str) -> None:
    assert answer(local, Host=host).status_code == 200


@pytest.fixture(scope="module")
def named(versions):
    hosts = {"hosts": ("reviews.example.org", "other.example:8443")}
    settings = versions.settings.model_copy(update=hosts)
    return create_app(versions, settings, versions.metrics, None)


@pytest.mark.parametrize(
    "origin",
    ["https://reviews.example.org", "http://reviews.example.org:81", "https://other.example:8443"],
)
def test_the_page_of_a_named_host_is_answered_though_a_proxy_rewrote_the_host(
    named: object, origin: str
) -> None:
    assert answer(named, Host="127.0.0.1:8000", Origin=origin).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://other.example",
        "https://reviews.example.org.evil.example",
        "ftp://reviews.example.org",
        "reviews.example.org",
        "null",
    ],
)
def test_another_page_is_refused_though_hosts_are_named(named: object, origin: str) -> None:
    assert answer(named, Host="127.0.0.1:8000", Origin=origin).status_code == 403


@pytest.mark.parametrize(
    "headers", [{"Host": "reviews.example.org"}, {"Origin": "https://reviews.example.org"}]
)
def test_a_refusal_names_the_setting_that_a_proxy_needs(
    local: object, headers: dict[str, str]
) -> None:
    refused = answer(local, **headers)
    assert refused.status_code == 403
    assert "serving.hosts" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", ""]
)
def test_another_host_is_refused(local: object, host: str) -> None:
    assert answer(local, Host=host).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_requests_of_other_web_pages_are_refused(local: object, headers: dict[str, str]) -> None:
    refused = answer(local, **headers)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "foreign_request"
    assert not [name for name in refused.headers if name.startswith("access-control")]


def test_every_answer_forbids_what_a_page_could_do_with_it(local: object) -> None:
    for path in ("/v1/models", "/healthz", "/nothing", "/metrics"):
        headers = answer(local, path).headers
        assert headers["content-security-policy"].startswith(
            "default-src 'none'; frame-ancestors 'none'"
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert len(headers["x-request-id"]) == 24


@pytest.mark.parametrize(
    ("named", "settings", "status"),
    [
        ("reviews.example.org", {"hosts": ("reviews.example.org",)}, 200),
        ("reviews.example.org:8443", {"hosts": ("reviews.example.org",)}, 200),
        ("other.example.org", {"hosts": ("reviews.example.org",), "host": "0.0.0.0"}, 403),
        ("other.example.org", {"host": "0.0.0.0"}, 200),
    ],
    ids=["named", "with a port", "another one", "beyond this machine"],
)
def test_named_hosts_are_answered(
    versions,
    named: str,
    settings: dict[str, object],
    status: int,
) -> None:
    """Beyond this machine all hosts are answered unless some are named."""
    options = versions.settings.model_copy(update=settings)
    app = create_app(versions, options, versions.metrics, None)
    assert answer(app, Host=named).status_code == status


def test_probes_are_answered_under_every_name_but_tell_strangers_only_the_status(versions) -> None:
    options = versions.settings.model_copy(
        update={"hosts": ("reviews.example.org",), "host": "0.0.0.0"}
    )
    app = create_app(versions, options, versions.metrics, None)
    for stranger in (
        {"Host": "10.1.2.3:8000"},
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
    ):
        told = [answer(app, path, **stranger) for path in ("/healthz", "/readyz")]
        assert [one.status_code for one in told] == [200, 200]
        assert [one.json() for one in told] == [{"status": "ok"}, {"status": "ready"}]
        assert not [
            name for one in told for name in one.headers if name.startswith("access-control")
        ]
    assert answer(app, "/readyz", Host="reviews.example.org").json()["champion"] == "reviewlm/1"
    assert answer(app, "/", Host="10.1.2.3:8000").status_code == 403


def test_a_token_is_needed_except_for_the_probes(versions, tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    token, other = add_token(file, "dashboard"), add_token(file, "other")
    app = create_app(versions, versions.settings, versions.metrics, AccessTokens(file))
    for given in ({}, {"Authorization": f"Bearer {token}x"}, {"Authorization": token}):
        told = [answer(app, path, **given) for path in ("/healthz", "/readyz")]
        assert [(one.status_code, one.json()) for one in told] == [
            (200, {"status": "ok"}),
            (200, {"status": "ready"}),
        ]
    assert (
        answer(app, "/readyz", Authorization=f"Bearer {token}").json()["champion"] == "reviewlm/1"
    )
    missing = answer(app)
    assert (missing.status_code, missing.headers["www-authenticate"]) == (401, "Bearer")
    assert missing.json()["error"]["code"] == "invalid_api_key"
    for wrong in (
        "Bearer wrong",
        f"Basic {token}",
        "Bearer ",
        f"Bearer {token}x",
        token,
        "Bearer %ff",
    ):
        assert answer(app, Authorization=wrong).status_code == 401
    assert answer(app, "/metrics").status_code == 401
    assert answer(app, Authorization=f"Bearer {token}").status_code == 200
    assert answer(app, Authorization=f"bearer {other}").status_code == 200
    remove_token(file, "dashboard")
    assert answer(app, Authorization=f"Bearer {token}").status_code == 401
    assert answer(app, Authorization=f"Bearer {other}").status_code == 200


def test_without_the_file_of_tokens_nobody_is_answered(versions, tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    token = add_token(file, "dashboard")
    app = create_app(versions, versions.settings, versions.metrics, AccessTokens(file))
    for spoil in (lambda: file.write_text("{"), file.unlink):
        spoil()
        told = answer(app, Authorization=f"Bearer {token}")
        assert (told.status_code, told.json()["error"]["code"]) == (503, "tokens_unreadable")
        ready = answer(app, "/readyz", Authorization=f"Bearer {token}")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    assert answer(app, "/healthz").status_code == 200


def test_a_defect_is_told_in_the_same_form_without_its_traceback(
    versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(versions, versions.settings, versions.metrics, None)
    monkeypatch.setattr(versions, "contents", lambda: 1 / 0)
    told = answer(app)
    assert (told.status_code, told.json()["error"]["code"]) == (500, "internal_error")
    assert "ZeroDivision" not in told.text
    monkeypatch.setattr(app.access, "require", lambda scope: 1 / 0)
    assert answer(app).json()["error"]["type"] == "server_error"


@pytest.fixture
def limited(tmp_path: Path) -> SimpleNamespace:
    """A clock, and a function that asks with one of two tokens; each may ask six times a minute."""
    file, now = tmp_path / "tokens.json", [0.0]
    tokens = {name: add_token(file, name) for name in ("a", "b")}
    access = Access((), AccessTokens(file), 6, clock=lambda: now[0])

    def ask(name: str) -> None:
        headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {tokens[name]}".encode())]
        access.require(
            {
                "type": "http",
                "method": "GET",
                "path": "/v1/models",
                "headers": headers,
            }
        )

    for _ in range(6):
        ask("a")
    return SimpleNamespace(now=now, ask=ask)


def test_a_token_has_its_requests_per_minute(limited: SimpleNamespace) -> None:
    with pytest.raises(ApiError, match="'a' has made 6 requests in a minute") as caught:
        limited.ask("a")
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (429, "10")
    limited.ask("b")


def test_requests_of_a_token_come_back_one_after_another(limited: SimpleNamespace) -> None:
    limited.now[0] = 10.0
    limited.ask("a")
    with pytest.raises(ApiError):
        limited.ask("a")


ROOT = Path(__file__).resolve().parents[3]


def test_the_page_on_security_names_each_address_that_answers_without_a_token() -> None:
    page = (ROOT / "docs" / "runbook" / "security.md").read_text(encoding="utf-8")
    [row] = [line for line in page.splitlines() if line.startswith("| without a known token")]
    assert {word for word in re.findall("`([^`]+)`", row)} == OPEN


def test_only_probes_answer_a_foreign_host(local: object) -> None:
    described = answer(local, "/openapi.json").json()["paths"]
    fixed = [path for path in {*described, *OPEN} if "{" not in path]
    told = {path for path in fixed if answer(local, path, Host="evil.example").status_code != 403}
    assert told == PROBES
