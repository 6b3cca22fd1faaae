"""What is published: one update in three formats, after it is stored, whatever becomes of it."""

import json
from datetime import timedelta

import pytest
from django.db import transaction
from django.test import Client
from headlines.models import Headline

from .conftest import Recorder


@pytest.fixture
def headline(client: Client, published: Recorder) -> Headline:
    created = client.post("/", {"type": "news"}, "application/json").json()
    published.items.clear()
    return Headline.objects.get(pk=created["id"])


def test_an_update_is_published_in_three_formats(client: Client, headline: Headline, published: Recorder) -> None:
    response = client.put(f"/{headline.pk}/", {"type": "news", "title": "Grüße\n"}, "application/json")
    line = json.dumps(response.json())
    headers = {"Content-Type": "application/json", "ETag": response["ETag"]}
    expected = {
        "channel": str(headline.pk),
        "id": response["ETag"].strip('"'),
        "prev-id": headline.revision,
        "http-response": {"headers": headers, "body": response.content.decode()},
        "http-stream": {"content": f"event: update\ndata: {line}\n\n"},
        "ws-message": {"content": line},
    }
    assert [expected] == published.on(str(headline.pk))


def test_an_update_goes_to_the_list_too(client: Client, headline: Headline, published: Recorder) -> None:
    response = client.put(f"/{headline.pk}/", {"type": "news"}, "application/json")
    line = json.dumps(response.json())
    expected = {
        "channel": "all",
        "id": f"{headline.pk}-{response['ETag']}".replace('"', ""),
        "http-stream": {"content": f"event: update\ndata: {line}\n\n"},
        "ws-message": {"content": line},
    }
    assert [expected] == published.on("all")


def test_a_new_headline_goes_to_the_list_only(client: Client, published: Recorder) -> None:
    created = client.post("/", b"", "application/json").json()
    (item,) = published.items
    assert ("all", created) == (item["channel"], json.loads(item["ws-message"]["content"]))


@pytest.mark.parametrize("text", ["\r\n\n: x", "\u2028\x85", "data: \nevent: evil"])
def test_no_text_breaks_out_of_its_event(client: Client, headline: Headline, published: Recorder, text: str) -> None:
    client.put(f"/{headline.pk}/", {"type": "news", "text": text}, "application/json")
    content = published.items[0]["http-stream"]["content"]
    assert ["event: update", "data: ", ""] == [line[:6] if n else line for n, line in enumerate(content.splitlines())]
    assert text == json.loads(content.splitlines()[1][6:])["text"]


def test_ids_form_a_chain(client: Client, headline: Headline, published: Recorder) -> None:
    for n in range(5):
        client.put(f"/{headline.pk}/", {"type": str(n)}, "application/json")
    items = published.on(str(headline.pk))
    assert [headline.revision, *(item["id"] for item in items[:-1])] == [item["prev-id"] for item in items]


def test_what_is_not_stored_is_not_published(client: Client, headline: Headline, published: Recorder) -> None:
    with transaction.atomic():
        client.put(f"/{headline.pk}/", {"type": "x"}, "application/json")
        transaction.set_rollback(True)
    assert [] == published.items
    assert "news" == Headline.objects.get(pk=headline.pk).type


def test_a_publish_that_fails_is_logged_and_the_update_stands(
    client: Client, headline: Headline, published: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    published.error = "refused"
    assert 200 == client.put(f"/{headline.pk}/", {"type": "x"}, "application/json").status_code
    assert "x" == Headline.objects.get(pk=headline.pk).type
    assert f"publishing to channel {headline.pk} failed: refused" in caplog.messages


def test_a_publish_that_raises_does_not_fail_the_update(
    client: Client, headline: Headline, published: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("no threads left")

    monkeypatch.setattr(published, "publish", fail)
    assert 200 == client.put(f"/{headline.pk}/", {"type": "x"}, "application/json").status_code


def test_a_clock_that_goes_back_does_not_repeat_a_revision(client: Client, headline: Headline) -> None:
    ahead = headline.date + timedelta(hours=1)
    Headline.objects.update(date=ahead)
    client.put(f"/{headline.pk}/", {"type": "x"}, "application/json")
    assert ahead + timedelta(microseconds=1) == Headline.objects.get(pk=headline.pk).date
