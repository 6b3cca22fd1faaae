"""Which requests a route is for: path, protocol, TLS, name; and what it says of them to the backend."""

import pytest

from tests.conformance.backend import Reply, Request, opened
from tests.conformance.case import Case, held
from tests.conformance.proxies import CDN_ID


@pytest.fixture(autouse=True)
def _has_routes(request: pytest.FixtureRequest) -> None:
    if not request.getfixturevalue("proxy").has_routes:
        pytest.skip("the routes of a given proxy are not known")


def seen(case: Case, host: str, before: str = "", *fields: tuple[str, str], to: str | None = None) -> Request:
    """What the backend gets of a request to a host and path; ``to``: where the path is another one there."""
    path = case.path if to is None else to + case.path
    case.backend.on(path, Reply(b"ok"))
    connection = case.connect().request(before + case.path, host=host, fields=fields)
    assert b"ok" == connection.read_response().body
    return case.backend.take(path)


# --- paths


@pytest.mark.grip("routes: path_beg")
@pytest.mark.parametrize(
    ("path", "name"), [("/raw", "raw"), ("/raws", "raw"), ("/raw-deep", "raw"), ("/raw/deep2", "deep")]
)
def test_path_that_begins_so(case: Case, path: str, name: str) -> None:
    """path_beg takes whatever begins with it, also in the middle of a segment; the longest wins."""
    assert name == seen(case, "raw.test", path, to=path).value("X-Route")


@pytest.mark.grip("routes: replace_beg")
def test_beginning_of_a_segment_is_replaced(case: Case) -> None:
    """replace_beg replaces what path_beg says, also in the middle of a segment."""
    assert f"/newer{case.path}" == seen(case, "rawreplace.test", "/older", to="/newer").target


@pytest.mark.grip("routes: path_rem")
def test_path_is_cut_in_a_segment(case: Case) -> None:
    """path_rem may end in the middle of a segment; the path keeps its first slash."""
    assert f"/-v1{case.path}" == seen(case, "mid.test", "/api-v1", to="/-v1").target


# --- protocol and TLS


@pytest.mark.grip("routes: proto")
def test_routes_of_the_protocols(case: Case) -> None:
    """proto=http and proto=ws are two routes, and come before one for both with a longer path."""
    assert "http" == seen(case, "proto.test").value("X-Route")
    assert "http" == seen(case, "proto.test", "/longer", to="/longer").value("X-Route")
    case.answer(opened())
    case.socket(host="proto.test")
    assert "ws" == case.taken().value("X-Route")


@pytest.mark.grip("routes: proto")
def test_requests_of_the_other_protocol_fall_back(case: Case) -> None:
    """A host whose only route is for WebSockets falls back to the routes of any host for other requests."""
    assert None is seen(case, "onlyws.test").value("X-Route")


@pytest.mark.grip("routes: ssl")
def test_routes_with_and_without_tls(behind: Case) -> None:
    """ssl=yes and ssl=no are two routes; the proxy in front says which it is."""
    assert "no" == seen(behind, "tls.test").value("X-Route")
    for scheme in ("https", "wss"):
        assert "yes" == seen(behind, "tls.test", "", ("X-Forwarded-Proto", scheme)).value("X-Route")


@pytest.mark.grip("routes: ssl")
def test_longer_path_before_tls(behind: Case) -> None:
    """A longer path comes before a condition on TLS."""
    assert "any" == seen(behind, "tls.test", "/longer", to="/longer").value("X-Route")


@pytest.mark.grip("routes: ssl")
def test_tls_cannot_be_claimed(case: Case) -> None:
    """A client that nobody vouches for has the TLS that it speaks."""
    assert "no" == seen(case, "tls.test", "", ("X-Forwarded-Proto", "https")).value("X-Route")


@pytest.mark.grip("routes: ssl")
def test_link_of_a_route_with_tls(behind: Case) -> None:
    """A relative link is for the same kind of requests."""
    behind.answer(Reply(b"one ", [("Grip-Link", f"<{behind.path}/next>; rel=next")]))
    behind.answer(Reply(b"two"), at="/next")
    response = behind.get(host="tls.test", fields=[("X-Forwarded-Proto", "https")])
    assert b"one two" == response.body
    assert "yes" == behind.taken("/next").value("X-Route")


# --- names


@pytest.mark.grip("routes: Pushpin-Route")
def test_route_that_is_named(behind: Case) -> None:
    """Pushpin-Route names a route, which needs no host, and ends at the proxy."""
    request = seen(behind, "any.test", "", ("Pushpin-Route", "named"))
    assert ("named", None) == (request.value("X-Route"), request.value("Pushpin-Route"))


@pytest.mark.grip("routes: Pushpin-Route")
def test_name_that_no_route_has(behind: Case) -> None:
    """A name that no route has is a 502, whatever the host."""
    behind.answer(Reply(b"ok"))
    assert 502 == behind.get(host="any.test", fields=[("Pushpin-Route", "nobody")]).status


@pytest.mark.grip("routes: Pushpin-Route")
def test_clients_name_no_route(case: Case) -> None:
    """By default nobody may name a route."""
    assert None is seen(case, "any.test", "", ("Pushpin-Route", "named")).value("X-Route")


@pytest.mark.grip("routes: Pushpin-Route")
def test_link_of_a_named_route(behind: Case) -> None:
    """Links of a response go where the request went."""
    behind.answer(Reply(b"one ", [("Grip-Link", f"<{behind.path}/next>; rel=next")]))
    behind.answer(Reply(b"two"), at="/next")
    assert b"one two" == behind.get(host="any.test", fields=[("Pushpin-Route", "named")]).body
    assert "named" == behind.taken("/next").value("X-Route")


# --- what is said of a request


@pytest.mark.grip("routes: orig_headers")
def test_marked_fields(case: Case) -> None:
    """With orig_headers the backend gets the client's fields a second time, marked, those included that end here."""
    request = seen(case, "marked.test", "", ("X-Own", "1"), ("Accept-Encoding", "gzip"), ("Grip-Sig", "x"))
    marked = {name: request.values(f"eb9bf0f5-{name}") for name in ("X-Own", "Accept-Encoding", "Grip-Sig", "Host")}
    expected = {"X-Own": ["1"], "Accept-Encoding": ["gzip"], "Grip-Sig": ["x"], "Host": ["marked.test"]}
    assert expected == marked


@pytest.mark.grip("routes: orig_headers")
def test_marked_field_that_the_route_sets(case: Case) -> None:
    """A marked field is what the client sent, though the route sets another value."""
    request = seen(case, "marked.test", "", ("X-Set", "old"))
    assert (["new"], ["old"]) == (request.values("X-Set"), request.values("eb9bf0f5-X-Set"))


@pytest.mark.grip("routes: orig_headers")
def test_marks_of_a_proxy_in_front(behind: Case) -> None:
    """What the proxy in front has marked goes on; fields of orig_headers_need_mark are marked by nobody else."""
    request = seen(behind, "marked.test", "", ("X-Need-Mark", "its"), ("eb9bf0f5-X-Need-Mark", "the client's"))
    assert (["its"], ["the client's"]) == (request.values("X-Need-Mark"), request.values("eb9bf0f5-X-Need-Mark"))
    assert [] == seen(behind, "marked.test", "", ("X-Need-Mark", "its")).values("eb9bf0f5-X-Need-Mark")


@pytest.mark.grip("routes: orig_headers")
def test_marks_of_clients(case: Case) -> None:
    """A client cannot mark fields: it could say anything of the proxies that it did not come through."""
    assert [] == seen(case, "marked.test", "", ("eb9bf0f5-X-Forged", "1")).values("eb9bf0f5-X-Forged")


@pytest.mark.grip("routes: as_host")
def test_host_that_the_route_sets(case: Case) -> None:
    """as_host is what the backend is told instead of the client's host, unless the target says another one."""
    assert ["as.other"] == seen(case, "as.test").values("Host")
    assert ["target.other"] == seen(case, "as.test", "/target", to="/target").values("Host")


@pytest.mark.grip("routes: as_host")
def test_link_of_a_route_with_another_host(case: Case) -> None:
    """as_host does not matter for links: a relative one is for where the client asked, and takes the same way."""
    case.answer(Reply(b"one ", [("Grip-Link", f"<{case.path}/next>; rel=next")]))
    case.answer(Reply(b"two"), at="/next")
    assert b"one two" == case.get(host="as.test").body
    assert ["as.other"] == case.taken("/next").values("Host")


@pytest.mark.grip("requests: CDN-Loop")
def test_cdn_loop_is_added_to(behind: Case) -> None:
    """CDN-Loop gets the proxy's name behind those of others."""
    request = seen(behind, "any.test", "", ("CDN-Loop", "one"), ("CDN-Loop", "two; x=1"))
    assert f"one, two; x=1, {CDN_ID}" == ", ".join(request.values("CDN-Loop"))


@pytest.mark.grip("requests: CDN-Loop")
def test_cdn_loop_goes_on(case: Case) -> None:
    """Without a name of its own the proxy hands CDN-Loop on."""
    assert ["one; x=1"] == seen(case, "any.test", "", ("CDN-Loop", "one; x=1")).values("CDN-Loop")


@pytest.mark.grip("requests: CDN-Loop")
def test_loop_is_refused(behind: Case) -> None:
    """A request that has come through the proxy before is refused."""
    behind.answer(Reply(b"ok"))
    assert 508 == behind.get(host="any.test", fields=[("CDN-Loop", f"a, {CDN_ID}; x=1")]).status


@pytest.mark.grip("routes: Pushpin-Route")
def test_hold_of_a_named_route(behind: Case) -> None:
    """What holds a request of a named route is asked again by the same route."""
    behind.answer(held(f"{behind.channel}; prev-id=1", b"", "response"), Reply(b"again"))
    connection = behind.poll(host="any.test", fields=[("Pushpin-Route", "named")])
    behind.publish({"http-response": {"action": "hint"}})
    assert b"again" == connection.read_response().body
    assert "named" == behind.taken().value("X-Route")
