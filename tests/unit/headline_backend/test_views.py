"""The API without holds: create, read, change, list, and every error as an answer."""

import json

import pytest
from django.conf import settings
from django.test import Client, override_settings
from headlines.models import Headline

from .conftest import Recorder


@pytest.fixture
def headline(client: Client) -> dict[str, str]:
    return client.post("/", {"type": "news", "title": "One", "text": "First."}, "application/json").json()


def test_an_empty_post_creates_the_articles_empty_headline(client: Client) -> None:
    response = client.post("/", b"", "application/octet-stream")
    data = response.json()
    assert (200, "application/json") == (response.status_code, response["Content-Type"])
    assert {"type": "none", "text": ""} == {name: data[name] for name in ("type", "text")}
    assert ["id", "type", "date", "text"] == list(data)  # no title when it is empty
    assert f"/{data['id']}/" == response["Location"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ("none", "", "")),
        ({"text": "x"}, ("none", "", "x")),
        ({"type": "news", "title": "é", "text": "\U0001f600\n"}, ("news", "é", "\U0001f600\n")),
        ({"type": "t" * 64, "title": "t" * 200, "text": "t" * 10_000}, ("t" * 64, "t" * 200, "t" * 10_000)),
        ({"type": "a", "id": 77, "date": "never", "else": [1]}, ("a", "", "")),
    ],
)
def test_a_post_takes_the_fields_it_knows(client: Client, body: object, expected: tuple[str, ...]) -> None:
    created = client.post("/", body, "application/json").json()
    headline = Headline.objects.get(pk=created["id"])
    assert expected == (headline.type, headline.title, headline.text)


def test_the_content_type_of_a_body_does_not_matter(client: Client) -> None:
    """curl -d calls everything a form."""
    response = client.post("/", b'{"type": "news"}', "application/x-www-form-urlencoded")
    assert "news" == response.json()["type"]


def test_get_shows_readable_json_with_its_etag(client: Client, headline: dict[str, str]) -> None:
    response = client.get(f"/{headline['id']}/")
    assert json.dumps(headline, indent=4) + "\n" == response.content.decode()
    assert f'"{Headline.objects.get().revision}"' == response["ETag"]
    assert ("no-cache", "Accept") == (response["Cache-Control"], response["Vary"])
    assert str(len(response.content)) == response["Content-Length"]


def test_head_answers_like_get(client: Client, headline: dict[str, str]) -> None:
    got, head = client.get(f"/{headline['id']}/"), client.head(f"/{headline['id']}/")
    assert (200, got["ETag"], got["Content-Length"]) == (head.status_code, head["ETag"], head["Content-Length"])


def test_put_changes_the_headline_and_its_etag(client: Client, headline: dict[str, str]) -> None:
    url = f"/{headline['id']}/"
    before = client.get(url)["ETag"]
    response = client.put(url, {"type": "news", "title": "Two", "text": "Second."}, "application/json")
    assert ("Two", "Second.") == (response.json()["title"], response.json()["text"])
    assert before != response["ETag"]
    again = client.get(url)
    assert (response.content, response["ETag"]) == (again.content, again["ETag"])


def test_put_empties_what_it_leaves_out(client: Client, headline: dict[str, str]) -> None:
    assert "title" not in client.put(f"/{headline['id']}/", {"type": "news"}, "application/json").json()


def test_many_updates_in_a_second_have_etags_of_their_own(client: Client, headline: dict[str, str]) -> None:
    put = [client.put(f"/{headline['id']}/", {"type": str(n)}, "application/json") for n in range(20)]
    assert 20 == len({response["ETag"] for response in put})


@pytest.mark.parametrize(
    ("template", "status"),
    [
        ("{etag}", 304),
        ("W/{etag}", 304),
        ('"a", {etag} , W/"b"', 304),
        ("*", 304),
        (" * ", 304),
        ('"1"', 200),
        ('"1", "2"', 200),
        ("", 200),
        ("unquoted", 200),
    ],
)
def test_if_none_match(client: Client, headline: dict[str, str], template: str, status: int) -> None:
    url = f"/{headline['id']}/"
    etag = client.get(url)["ETag"]
    response = client.get(url, headers={"If-None-Match": template.format(etag=etag)})
    assert (status, etag) == (response.status_code, response["ETag"])
    assert bool(response.content) == (status == 200)
    assert "Grip-Hold" not in response


def test_the_list_shows_the_newest_fifty(client: Client) -> None:
    created = [client.post("/", {"title": str(n)}, "application/json").json() for n in range(52)]
    response = client.get("/", headers={"Accept": "application/json"})
    assert list(reversed(created))[:50] == response.json()
    assert "Accept" == response["Vary"]


@pytest.mark.parametrize(
    ("query", "accept", "content_type"),
    [
        ("", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"),
        ("", "*/*", "application/json"),
        ("", "application/json", "application/json"),
        ("", "application/json;q=0.5, text/html", "text/html; charset=utf-8"),
        ("?format=json", "text/html", "application/json"),
        ("", "image/png", "application/json"),
        ("", "", "application/json"),
        ("", ";;;,/,*", "application/json"),
    ],
)
def test_the_root_is_a_page_for_browsers_and_a_list_for_programs(
    client: Client, query: str, accept: str, content_type: str
) -> None:
    assert content_type == client.get(f"/{query}", headers={"Accept": accept})["Content-Type"]


def test_the_page_loads_nothing_from_elsewhere(client: Client) -> None:
    response = client.get("/", headers={"Accept": "text/html"})
    page = response.content.decode()
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert "http://" not in page
    assert "https://" not in page


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/", "GET, HEAD, POST"),
        ("DELETE", "/", "GET, HEAD, POST"),
        ("OPTIONS", "/", "GET, HEAD, POST"),
        ("POST", "/{id}/", "GET, HEAD, PUT"),
        ("DELETE", "/{id}/", "GET, HEAD, PUT"),
        ("PATCH", "/{id}/", "GET, HEAD, PUT"),
    ],
)
def test_other_methods_are_refused_with_the_possible_ones(
    client: Client, headline: dict[str, str], method: str, path: str, allow: str
) -> None:
    response = client.generic(method, path.format(id=headline["id"]))
    assert (405, allow) == (response.status_code, response["Allow"])
    assert {"error": f"{method} is not possible here"} == response.json()


BODY = "the body must be a JSON object"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", f"{BODY}, in UTF-8"),
        (b"{", f"{BODY}, in UTF-8"),
        (b"\xff\xfe\xfd", f"{BODY}, in UTF-8"),
        (b'{"type": "\xff"}', f"{BODY}, in UTF-8"),
        (b"[" * 60_000, f"{BODY}, in UTF-8"),
        (b'{"type": ' + b"1" * 5000 + b"}", f"{BODY}, in UTF-8"),
        (b"[]", BODY),
        (b'"news"', BODY),
        (b"null", BODY),
        (b"{}", '"type" is required'),
        (b'{"title": "x"}', '"type" is required'),
        (b'{"type": null}', '"type" must be a string'),
        (b'{"type": 1}', '"type" must be a string'),
        (b'{"type": "a", "title": null}', '"title" must be a string'),
        (b'{"type": "a", "text": ["b"]}', '"text" must be a string'),
        (b'{"type": "%s"}' % (b"t" * 65), '"type" has 65 characters, at most 64 are allowed'),
        (b'{"type": "a", "title": "%s"}' % (b"t" * 201), '"title" has 201 characters, at most 200 are allowed'),
        (b'{"type": "a", "text": "%s"}' % (b"t" * 10_001), '"text" has 10001 characters, at most 10000 are allowed'),
        (rb'{"type": "\u0000"}', '"type" holds characters that are not text'),
        (rb'{"type": "\ud800"}', '"type" holds characters that are not text'),
    ],
)
def test_a_bad_body_is_refused_with_a_reason_and_changes_nothing(
    client: Client, headline: dict[str, str], published: Recorder, body: bytes, message: str
) -> None:
    published.items.clear()
    url = f"/{headline['id']}/"
    response = client.put(url, body, "application/json")
    assert (400, {"error": message}) == (response.status_code, response.json())
    assert headline == client.get(url).json()
    assert [] == published.items


def test_a_bad_body_creates_nothing(client: Client) -> None:
    assert 400 == client.post("/", b"[1]", "application/json").status_code
    assert 0 == Headline.objects.count()


@pytest.mark.parametrize(("size", "status"), [(64 * 1024, 400), (64 * 1024 + 1, 413)])
def test_a_body_may_have_64_kibibytes(client: Client, headline: dict[str, str], size: int, status: int) -> None:
    response = client.put(f"/{headline['id']}/", b"x" * size, "application/json")
    assert status == response.status_code
    assert ["error"] == list(response.json())


@pytest.mark.parametrize("path", ["/999/", "/0/", f"/{10**40}/", "/1", "/x/", "/1/2/", "/-1/", "/static/", "/é"])
@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_what_is_not_there_is_not_found(client: Client, method: str, path: str) -> None:
    response = client.generic(method, path)
    assert (404, ["error"]) == (response.status_code, list(response.json()))


def test_a_fault_is_an_answer_without_details(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(headline: Headline) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(Headline, "to_data", fail)
    response = client.post("/", b"", "application/json")
    assert (500, {"error": "internal error"}) == (response.status_code, response.json())


def test_a_host_that_is_not_allowed_is_refused(client: Client) -> None:
    with override_settings(ALLOWED_HOSTS=["good.example"]):
        response = client.get("/", headers={"Host": "evil.example"})
    assert (400, {"error": "bad request"}) == (response.status_code, response.json())


def test_debug_is_off() -> None:
    assert not settings.DEBUG
