"""The page's own files, and nothing else of the file system."""

import pytest
from django.test import Client


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/static/headlines/app.css", "text/css; charset=utf-8"),
        ("/static/headlines/app.js", "text/javascript; charset=utf-8"),
        ("/static/headlines/transports.js", "text/javascript; charset=utf-8"),
        ("/static/headlines/favicon.svg", "image/svg+xml"),
    ],
)
def test_files_are_served_without_debug_and_cached_with_care(client: Client, path: str, content_type: str) -> None:
    response = client.get(path)
    assert (200, content_type, "no-cache") == (
        response.status_code,
        response["Content-Type"],
        response["Cache-Control"],
    )
    assert response.content
    assert 304 == client.get(path, headers={"If-None-Match": response["ETag"]}).status_code
    assert 200 == client.head(path).status_code


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/static/none.css", 404),
        ("GET", "/static/headlines/", 404),
        ("GET", "/static/headlines", 404),
        ("GET", "/static/%00.css", 404),
        ("GET", "/static//etc/passwd", 404),
        ("GET", "/static/../manage.py", 404),
        ("GET", "/static/..%2f..%2fmanage.py", 404),
        ("POST", "/static/headlines/app.js", 405),
    ],
)
def test_nothing_else_is_served(client: Client, method: str, path: str, status: int) -> None:
    assert status == client.generic(method, path).status_code
