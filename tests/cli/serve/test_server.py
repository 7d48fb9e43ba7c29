"""What servers answer: this machine alone, whatever other name leads to it; and where an address is kept from `ps`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas_budget.cli.serve.server import for_this_machine
from tests.conftest import Run


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8080", "200 OK"), ("localhost:1", "200 OK"), ("evil.example:8080", "403 Forbidden"),
     ("127.0.0.1.evil.example:8080", "403 Forbidden"), ("", "403 Forbidden")],
)  # fmt: skip
def test_a_page_of_another_site_is_answered_nothing(host: str, status: str) -> None:
    answered: list[str] = []

    def start(given: str, _: Any) -> None:
        answered.append(given)

    def app(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"secret"]

    body = b"".join(for_this_machine(app)({"HTTP_HOST": host}, start))
    assert answered == [status]
    assert (body == b"secret") == (status == "200 OK")


def test_an_address_in_the_environment_is_used_and_shown_without_its_password(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_BUDGET_STORAGE", "nosql://me:secret@host/name")
    for command in ["search", "--data", "shapes", "--runs-dir", tmp_path], ["dashboard", "--no-open"]:
        ran = run(*command)
        assert ran.refused(2, "nosql://me:***@host/name")
        assert "secret" not in ran.err
