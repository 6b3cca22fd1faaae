"""Where gripproxy does otherwise than Pushpin 1.36, on purpose: the cases that Pushpin fails.

Against Pushpin these cases are expected to fail, strictly: one that passes is an error of this table.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """What Pushpin does in a case, and why gripproxy does what the case says."""

    pushpin: str
    reason: str


OLD = "as Pushpin 1.41"
ESCAPES = Difference(
    "escapes are written anew (`%2f` becomes `%2F`, `%41` becomes `A`)",
    "signed URLs and backends that tell `%2F` from `/` need the bytes that the client sent",
)
NO_CLOSE_CODE = Difference(
    "the illegal code 0 is sent to the client", "browsers report 1006, a broken connection, for it"
)
NO_REFRESH = Difference("refused with 400: the action is unknown", OLD)
NO_ACCEPTED = Difference("Content-Bytes-Accepted is ignored", OLD)
NO_QUERY = Difference("404", "a query says nothing about what is published, and some clients add one")
LOWER_CASE = Difference(
    "`websocket` must be in lower case, else it is a plain request", "it has no case (RFC 6455 section 4.2.1)"
)
NEIGHBOURS = Difference("it is passed on", "it is a field between neighbours (RFC 9110 section 7.6.1)")
NO_BODY = Difference("400", "the libraries for JavaScript, Go, Ruby, PHP and Java leave out an empty body")
NO_GONE = Difference("there are no gone links", OLD)
BARE_LAST_ID = Difference(
    "an id that is no token has no quotes", "parsers that go by RFC 9110 read less of it, and a semicolon ends it"
)
NO_HTTP_FILTERS = Difference("unknown, so that it does nothing", "as Pushpin 2.0: backends may want to be asked")
FILTER_ENDS = Difference("a filter error ends the stream", "one odd item should not cost a subscriber its stream")
SILENT_CLOSE = Difference("the connection is cut without an answer", "a status tells the client what is wrong")
DROPPED_MEDIA_TYPE = Difference(
    "the media type must match byte for byte, else the handshake is refused",
    "media types have no case, and frameworks add parameters",
)
LENIENT_EVENTS = Difference(
    "an event that is cut short or followed by other bytes is taken as it is",
    "a truncated body must not pass for a message",
)
UNSEEN_NEXT = Difference(
    "the body is appended to the stream before its instructions are judged",
    "a client must not see the body of an error",
)

IGNORED_RULE = Difference("the rule is left out", "a rule that finds nothing is not noticed before clients miss it")
DROPPED_CLIENTS = Difference(
    "every client is cut off at once",
    "who is told the end comes again when it can be served, and not as after a failure",
)
WAITS = Difference("it waits, for as long as the other side does", "what does not come must not be waited for for ever")
NO_ESCAPE = Difference("an escape that it does not know is dropped", "cstring is C's, and libraries write such escapes")
DROPPED = Difference("the messages beyond a hundred are dropped", "what is published reaches everyone, or is told")

# Keys are `group::case`, with the parameters in brackets where only they differ.
DIFFERENCES: dict[str, Difference] = {
    "sessions::test_body_of_some_size": Difference(
        "only the first 10,000 bytes of a body are looked at", "every body is looked at that could be asked again"
    ),
    "sessions::test_malformed_rule_is_refused[path-prefix=/]": IGNORED_RULE,
    "sessions::test_malformed_rule_is_refused[sid-ptr=/sid]": IGNORED_RULE,
    "sessions::test_malformed_rule_is_refused[path-prefix=/; sid-ptr=sid]": IGNORED_RULE,
    "sessions::test_malformed_rule_is_refused[path-prefix=a; sid-ptr=/sid]": IGNORED_RULE,
    "sessions::test_id_in_a_form[+]": Difference(
        "a plus stays one, so that the JSON is none", "forms write a blank so (URL standard, 5.2)"
    ),
    "sessions::test_next_item_does_not_move_the_session_of_a_poll": Difference(
        "it does", "the client did not get it, and would not be told of it either"
    ),
    "sessions::test_item_behind_a_gap_moves_nothing": Difference(
        "it does, and the link's answer does not", "the client does not have it yet"
    ),
    "sessions::test_hint_moves_nothing": Difference(
        "its id becomes the last id", "the client does not have what a hint announces"
    ),
    "sessions::test_channels_have_no_prefix_for_the_backend": Difference(
        "last ids from items have the prefix, those from responses do not",
        "the backend does not know of the prefix",
    ),
    "publish::test_success_as_accepted[application/json, text/plain; q=0.5-application/json]": Difference(
        "qualities are ignored: the last type wins", "RFC 9110 section 12.5.1"
    ),
    "passing::test_fields_between_neighbours_are_dropped[Proxy-Connection]": NEIGHBOURS,
    "passing::test_fields_between_neighbours_are_dropped[Trailer]": NEIGHBOURS,
    "passing::test_fields_between_neighbours_are_dropped[Upgrade]": NEIGHBOURS,
    "request::test_field_is_dropped[TE-trailers]": NEIGHBOURS,
    "request::test_field_is_dropped[Trailer-X-Own]": NEIGHBOURS,
    "request::test_field_is_dropped[Upgrade-h2c]": NEIGHBOURS,
    "request::test_field_is_dropped[Proxy-Authorization-Basic eDp5]": NEIGHBOURS,
    "request::test_field_is_passed_on[X-Empty-]": Difference("it is dropped", "an empty value is a value"),
    "request::test_forwarded_field_of_a_client": Difference(
        "it is passed on, unchecked", "a client must not choose its address; see `trusted_proxies`"
    ),
    "passing::test_broken_body_is_not_passed_off_as_whole": Difference(
        "the client's body ends cleanly", "a truncated body must not pass for a whole one (RFC 9112 section 8)"
    ),
    "passing::test_encoded_body_stays_decodable": Difference(
        "the body is decoded and Content-Encoding dropped", "the bytes are the backend's, and so is their description"
    ),
    "http::test_absolute_target": Difference(
        "the whole target is taken for a path", "servers have to accept it (RFC 9112 section 3.2.2)"
    ),
    "http::test_ambiguous_framing_is_refused[two lengths]": Difference(
        "the request is not refused, and hangs", "two lengths are how requests are smuggled (RFC 9112 section 6.3)"
    ),
    "http::test_length_beside_chunks_smuggles_nothing": Difference(
        "the request hangs", "chunks count, or the request is refused (RFC 9112 section 6.3)"
    ),
    "request::test_query_reaches_backend_unchanged[1]": ESCAPES,
    "request::test_query_reaches_backend_unchanged[2]": ESCAPES,
    "request::test_path_reaches_backend_unchanged[/%41%2Fb]": ESCAPES,
    "request::test_path_reaches_backend_unchanged[/~x/%7ey]": ESCAPES,
    "request::test_field_is_dropped[Accept-Encoding-gzip]": Difference(
        "Accept-Encoding is replaced by the proxy's own list", OLD + "; the proxy has to read what it goes on with"
    ),
    "request::test_field_named_by_connection_is_dropped": Difference(
        "only Connection itself is dropped", "RFC 9110 section 7.6.1 asks for it"
    ),
    "request::test_nothing_is_invented": Difference("Accept and Accept-Encoding are added", OLD),
    "request::test_forwarded_protocol": Difference(
        "plain requests have no X-Forwarded-Proto", "frameworks trust the field only if it is always there"
    ),
    "request::test_forwarded_for": Difference(
        "X-Forwarded-For is the client's own, unchecked", "a client must not choose its address; see `trusted_proxies`"
    ),
    'publish::test_good_item_is_taken[{"channel": "nowhere", "formats": {"http-response": {}}}]': NO_BODY,
    "request::test_features_are_named": Difference(
        "`link:gone`, `filter:http-check` and `filter:http-modify` are not among them",
        "as Pushpin 1.41, and 2.0 for the filters that ask the backend",
    ),
    "limits::test_too_many_fields": SILENT_CLOSE,
    "limits::test_many_items_wait_for_one": DROPPED,
    "limits::test_client_that_reads_late": DROPPED,
    "limits::test_first_poll_of_a_channel": Difference(
        "every hold of a new channel is asked for again after a second",
        "nothing is missed between answer and hold, so that there is no reason to ask",
    ),
    "routes::test_host_whose_routes_do_not_match": Difference(
        "502: a host with routes never falls back", "a route for one path must not take a host's other paths away"
    ),
    "conditions::test_requests_of_the_other_protocol_fall_back": Difference(
        "502: a host with routes never falls back", "a route for one protocol must not take the other's requests away"
    ),
    "conditions::test_path_is_cut_in_a_segment": Difference(
        "502: the path has lost its first slash", "a path begins with a slash"
    ),
    "conditions::test_marked_field_that_the_route_sets": Difference(
        "the marked field is what the route sets", "marks are for what the client sent"
    ),
    "conditions::test_marks_of_clients": Difference(
        "a client's marks are passed on", "a client must not speak for the proxies in front; see `trusted_proxies`"
    ),
    "conditions::test_cdn_loop_is_added_to": Difference("nothing is added", OLD),
    "conditions::test_loop_is_refused": Difference(
        "nobody looks at the field", "a loop ends only if somebody looks (RFC 8586 section 2)"
    ),
    "routes::test_next_link_of_a_cut_path": Difference(
        "it is resolved against the path that is cut, which has no route", "links are for where the client asked"
    ),
    "routes::test_other_origin": Difference(
        "every origin is allowed, with credentials", "any page could read what is a user's own"
    ),
    "request::test_too_large_head_is_refused": SILENT_CLOSE,
    "request::test_malformed_request_is_refused": SILENT_CLOSE,
    "instructs::test_malformed_instruction_is_refused[Grip_Channel=a; filter=skip-self; filter=sk]": Difference(
        "any number of filters is taken", OLD
    ),
    "json_instructs::test_response_defaults": Difference(
        "an instruct without a hold and without a body is a 502", "an empty response is a response"
    ),
    "json_instructs::test_too_many_filters_are_refused": Difference(
        "any number of filters is taken", "one limit for both kinds of instructions"
    ),
    'instructs::test_malformed_instruction_is_refused[Grip_Channel=a; prev-id="open]': Difference(
        "a channel that does not parse is left out", "a hold without its channel hangs, and nobody learns why"
    ),
    "stream::test_prev_id_without_next_link": Difference(
        "the stream ends at once", "clients would come again and again, although nothing is missing"
    ),
    "stream::test_head_request_is_not_held": Difference(
        "the HEAD is held and gets a body", "the answer to HEAD has no body (RFC 9110 section 9.3.2)"
    ),
    "stream::test_refresh_action_does_nothing": NO_REFRESH,
    "poll::test_other_actions_are_ignored[refresh]": NO_REFRESH,
    "poll::test_published_fields_are_exposed_as_told": Difference(
        "the fields that it lists are the ones that are left out", "the name says what it is for"
    ),
    "websocket_control::test_refresh": NO_REFRESH,
    'publish::test_good_item_is_taken[{"channel": "nowhere", "formats": {"ws-message": {"action": "refresh"}}}]': (
        NO_REFRESH
    ),
    "reliable::test_bad_answer_to_a_next_link_ends_the_stream": UNSEEN_NEXT,
    "reliable::test_last_id_can_be_read[2026-01-31T12:00:00]": BARE_LAST_ID,
    "reliable::test_last_id_can_be_read[a b]": BARE_LAST_ID,
    "reliable::test_last_id_can_be_read[a;b]": BARE_LAST_ID,
    'reliable::test_last_id_can_be_read[a"b]': BARE_LAST_ID,
    "reliable::test_gone_link": NO_GONE,
    "reliable::test_gone_link_after_a_close": NO_GONE,
    "links::test_gone_link_that_fails": NO_GONE,
    "links::test_gone_link_of_a_poll": NO_GONE,
    "links::test_gone_link_of_the_first_answer": NO_GONE,
    "filters::test_http_check": NO_HTTP_FILTERS,
    "filters::test_http_modify": NO_HTTP_FILTERS,
    "filters::test_var_subst_that_fails": FILTER_ENDS,
    "filters::test_content_filters_that_disagree": FILTER_ENDS,
    "publish::test_query_is_ignored": NO_QUERY,
    "publish::test_realm_path": Difference("404", "publishers made for Fanout Cloud work unchanged"),
    "publish::test_connection_is_kept_alive": Difference(
        "every connection is closed after one answer", "a connection for every publish costs more than the publish"
    ),
    "publish::test_chunked_upload": Difference("411", "HTTP/1.1 servers have to read chunks (RFC 9112 section 7.1)"),
    "passthrough::test_backend_refuses": Difference(
        "reason and fields are lost", "a redirect or a challenge needs its fields"
    ),
    "websocket_open::test_client_cannot_forge_fields[Content-Bytes-Replayed]": Difference(
        "the field is passed on", "only the proxy knows what it repeats"
    ),
    "websocket_open::test_answer_without_opening_is_refused[short]": LENIENT_EVENTS,
    "websocket_close::test_malformed_events_end_the_connection[2]": LENIENT_EVENTS,
    "websocket_close::test_malformed_events_end_the_connection[3]": LENIENT_EVENTS,
    "websocket_open::test_media_type_is_compared_as_such": DROPPED_MEDIA_TYPE,
    "websocket_open::test_malformed_handshake_is_refused": SILENT_CLOSE,
    "websocket::test_message_from_the_backend[70000-TEXT-1]": Difference(
        "a message of more than about 32 KB does not arrive, and nothing after it", "it is within the limits"
    ),
    "websocket::test_message_from_the_backend[70000-BINARY-2]": Difference(
        "a message of more than about 32 KB does not arrive, and nothing after it", "it is within the limits"
    ),
    "websocket::test_partial_acceptance": NO_ACCEPTED,
    "websocket::test_nothing_accepted": NO_ACCEPTED,
    "websocket::test_too_much_accepted_is_fatal": NO_ACCEPTED,
    "websocket::test_ping_needs_no_backend": Difference(
        "pings are only relayed", "several libraries do not answer them, and clients then time out"
    ),
    "websocket_close::test_close_code_0_is_kept_from_the_client": NO_CLOSE_CODE,
    "websocket_close::test_close_code_0_of_the_backend": NO_CLOSE_CODE,
    "websocket_control::test_small_app": NO_CLOSE_CODE,
    "websocket_control::test_published_types[{'type': 'ping'}-]": Difference(
        "an empty ping is not sent", "a ping needs no content"
    ),
    "lifetime::test_stop_answers_long_polls": DROPPED_CLIENTS,
    "lifetime::test_stop_ends_streams": DROPPED_CLIENTS,
    "lifetime::test_stop_closes_websockets": DROPPED_CLIENTS,
    "lifetime::test_clients_are_limited": Difference(
        "while others wait for a place, its connection manager (condure 1.9.1) panics at the next publish, and "
        "every client is lost",
        "one client too many is nobody else's trouble",
    ),
    "lifetime::test_client_beyond_the_limit_is_told_so": Difference(
        "it waits until somebody leaves", "a status tells the client, and a balancer, what is wrong"
    ),
    "limits::test_many_deliveries": Difference(
        "deliveries beyond 25,000 that wait are dropped", "what is published reaches everyone, or is told"
    ),
    "limits::test_refused_handshake_with_a_body[100000]": Difference(
        "only the head arrives", "the body says what is wrong"
    ),
    "timers::test_filter_that_does_not_answer": NO_HTTP_FILTERS,
    "timers::test_connection_to_the_backend_is_pooled": Difference(
        "it is kept for longer", "backends end idle connections themselves, and the next request would meet that"
    ),
    "timers::test_backend_that_does_not_answer": WAITS,
    "timers::test_publish_without_an_end": WAITS,
    "websocket_timers::test_backend_that_does_not_answer_a_close": WAITS,
    "websocket_timers::test_backend_that_does_not_decide": WAITS,
    "libraries::test_response_without_body": NO_BODY,
    "libraries::test_path_of_fastly": Difference("404", "publishers made for Fastly work unchanged"),
    "libraries::test_channel_name_in_latin_1": Difference(
        "a name that is not UTF-8 is another channel, and the hold hangs", "frameworks write fields in Latin-1"
    ),
    "libraries::test_keep_alive_of_a_library[backslashes of Python]": NO_ESCAPE,
    "libraries::test_keep_alive_of_a_library[tab of JavaScript]": NO_ESCAPE,
    "libraries::test_keep_alive_of_a_library[bytes of Python]": Difference(
        "the letter b is decoded, too", "django-grip writes bytes as Python shows them"
    ),
    "libraries::test_ping_that_is_answered_without_its_content": Difference(
        "the backend's answer is relayed", "clients compare it with what they sent (RFC 6455 section 5.5.3)"
    ),
    "libraries::test_close_of_the_article": NO_CLOSE_CODE,
    "upstream::test_websocket_of_the_proxy_in_front": Difference("the extension is not passed up", OLD),
    "request::test_field_is_passed_on[Content-Encoding-gzip]": Difference(
        "it is dropped, and the body passed on as it is", "the bytes are the client's, and so is their description"
    ),
    "websocket_open::test_case_of_a_handshake[upgrade-WebSocket]": LOWER_CASE,
    "websocket_open::test_case_of_a_handshake[UPGRADE-WEBSOCKET]": LOWER_CASE,
    "websocket_close::test_backend_is_told_of_an_end_by_its_fault": Difference(
        "it is not told", "a backend should not keep what belongs to a connection that is gone"
    ),
    **{
        f"websocket_close::test_frame_that_breaks_the_protocol[{kind}]": Difference(
            "it is taken as if it were legal", "RFC 6455 asks for the end, and backends do not expect such things"
        )
        for kind in ("reserved", "no text", "half a code", "code 999", "code 1005", "code 5000")
    },
    "websocket::test_ping_between_fragments": Difference("the connection is cut", "RFC 6455 section 5.4 allows it"),
    "websocket_close::test_too_many_filters_end_the_connection": Difference("any number of filters is taken", OLD),
    "passthrough::test_control_message_in_fragments": Difference(
        "it is ignored", "fragments mean nothing, and whoever is between may make them (RFC 6455 section 5.4)"
    ),
    "order::test_late_item_is_not_held_back": Difference(
        "it waits for five seconds", "others went out without it, so that waiting restores nothing"
    ),
    "order::test_items_that_waited_keep_their_order": Difference(
        "they come as they came", "one lost item should not cost the order of those behind it"
    ),
    "routes::test_key_of_a_route_without_an_issuer": Difference(
        "a route's key counts together with an issuer only", "a key that is given and not used is a trap"
    ),
    "commands::test_what_is_no_command_is_answered": Difference(
        "there is no answer, and the client waits", "a REQ socket without an answer cannot ask again"
    ),
    "statistics::test_what_is_held_on_a_route_with_an_id_has_sums_of_its_own": Difference(
        "a hold and what it gets count for no route", OLD
    ),
    "statistics::test_request_that_is_not_held_is_no_connection": Difference(
        "every request is told as a connection that begins and ends",
        "two messages for each request cost more than it, and say nothing that their number does not",
    ),
}

# What gripproxy cannot do yet, and why: the cases that it fails.
GAPS: dict[str, str] = {}


def key_of(file_stem: str, name: str) -> tuple[str, str]:
    """The two keys under which a case may be listed: with its parameters, and for all parameters."""
    group = file_stem.removeprefix("test_")
    return f"{group}::{name}", f"{group}::{name.partition('[')[0]}"


def gap(file_stem: str, name: str) -> str | None:
    """The gap of gripproxy's that is known for a case."""
    exact, general = key_of(file_stem, name)
    return GAPS.get(exact) or GAPS.get(general)


def difference(file_stem: str, name: str) -> Difference | None:
    """The difference that is known for a case."""
    exact, general = key_of(file_stem, name)
    return DIFFERENCES.get(exact) or DIFFERENCES.get(general)
