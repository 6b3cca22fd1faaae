"""What Pushpin does, row by row, and the cases that show it: features, limits, timers.

A row that no case can show from the outside says why, and names the test that shows it from the inside, if there is
anything to show.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unseen:
    """Why a row has no case, and a test of another kind; without one, there is nothing in gripproxy to test."""

    reason: str
    test: str = ""


Row = tuple[str, ...] | Unseen

LEFT_OUT = "it is left out"

FEATURES: dict[str, Row] = {
    "Instructions in fields": (
        "instructs::test_hold_on_any_status",
        "instructs::test_several_channels",
        "instructs::test_malformed_instruction_is_refused",
        "instructs::test_lenient_instruction_is_taken",
        "instructs::test_status_is_replaced",
        "instructs::test_exposed_fields_only",
    ),
    "Instructions in JSON": (
        "json_instructs::test_response_is_made_of_json",
        "json_instructs::test_stream_hold",
        "json_instructs::test_header_instructions_count_too",
        "json_instructs::test_malformed_json_instruct_is_refused",
    ),
    "Other responses pass through, bodies as they come": (
        "passing::test_response_passes_through",
        "passing::test_body_passes_through",
        "passing::test_body_is_not_held_back",
        "passing::test_broken_body_is_not_passed_off_as_whole",
    ),
    "Works without the handler's inspection": Unseen("Pushpin's proxy can do without its handler; here both are one"),
    "Any Grip- field makes a response one with instructions": (
        "instructs::test_grip_fields_never_reach_the_client",
        "instructs::test_channel_without_hold_holds_nothing",
    ),
    "Response hold": (
        "poll::test_published_response",
        "poll::test_fields_are_merged",
        "poll::test_first_publish_wins",
        "instructs::test_hold_of_post",
    ),
    "Stream hold, close": (
        "stream::test_initial_body_is_sent_at_once",
        "stream::test_publishes_are_appended",
        "stream::test_close_action_ends_the_stream",
    ),
    "A stream begins with a large body": (
        "instructs::test_large_stream_body",
        "instructs::test_large_stream_body_with_status",
        "reliable::test_large_pages",
    ),
    "A prev-id that is behind asks again": (
        "reliable::test_stale_poll_is_replayed_at_once",
        "reliable::test_poll_is_replayed_after_a_gap",
        "reliable::test_stale_stream_fetches_the_next_link",
        "reliable::test_gap_fetches_the_next_link",
    ),
    "Next links, to this server and to others": (
        "reliable::test_next_link_without_hold_is_paging",
        "reliable::test_next_link_is_resolved",
        "reliable::test_fields_of_a_next_request",
        "reliable::test_next_link_replaces_the_channels",
        "links::test_next_link_to_another_server",
    ),
    "Next links are polled and repeated; gone links": (
        "reliable::test_quiet_stream_polls_its_next_link",
        "reliable::test_failed_fetch_is_repeated",
        "limits::test_link_that_fails_for_good",
        "reliable::test_gone_link",
        "reliable::test_gone_link_after_a_close",
        "links::test_gone_link_of_the_first_answer",
    ),
    "Keep-alives: formats and modes": (
        "stream::test_keep_alive_formats",
        "stream::test_keep_alive_modes",
        "json_instructs::test_keep_alive",
        "libraries::test_keep_alive_of_a_library",
    ),
    "Items and formats": (
        "publish::test_good_item_is_taken",
        "publish::test_bad_item_is_refused",
        "publish::test_all_formats_in_one_item",
        "libraries::test_base64_is_read_leniently",
    ),
    "JSON patch": ("poll::test_body_patch", "poll::test_body_patch_that_fails"),
    "Control door by HTTP": (
        "publish::test_success",
        "publish::test_success_as_accepted",
        "publish::test_other_methods",
        "publish::test_unknown_path",
        "publish::test_bad_body_is_refused",
        "publish::test_recover",
        "limits::test_too_large_head_of_a_publish",
    ),
    "ZeroMQ PULL": ("zeromq::test_item_is_pushed", "zeromq::test_bad_message_is_dropped"),
    "ZeroMQ SUB": ("timers::test_channel_lingers",),
    "ZeroMQ command socket": (
        "commands::test_addresses_are_told",
        "commands::test_items_are_published",
        "commands::test_recover",
        "commands::test_websocket_is_refreshed_by_its_id",
        "commands::test_connections_are_checked",
    ),
    "ZeroMQ statistics": (
        "statistics::test_requests_are_counted",
        "statistics::test_item_is_told_with_its_receivers",
        "statistics::test_stream_is_told",
        "statistics::test_subscribers_are_counted",
        "statistics::test_report_has_sums",
    ),
    "Sequencing": (
        "order::test_order_is_restored",
        "order::test_missing_item_is_waited_for",
        "order::test_no_seq_passes_the_queue",
        "order::test_item_without_id_breaks_the_sequence",
    ),
    "Duplicates, rate, high-water mark": (
        "order::test_duplicates_are_dropped",
        "timers::test_duplicates_are_known_for_a_minute",
        "limits::test_many_deliveries",
    ),
    "Filters": (
        "filters::test_skip_self",
        "filters::test_skip_users",
        "filters::test_require_sub",
        "filters::test_build_id",
        "filters::test_var_subst",
        "filters::test_http_check",
        "filters::test_http_modify",
        "filters::test_content_filters_that_disagree",
    ),
    "WebSockets passed through": (
        "passthrough::test_messages_pass",
        "passthrough::test_backend_with_grip",
        "passthrough::test_client_closes",
        "passthrough::test_backend_refuses",
    ),
    "Control messages": (
        "websocket_control::test_published_text",
        "websocket_control::test_unsubscribe",
        "websocket_control::test_meta_for_filters",
        "websocket_control::test_keep_alive",
        "websocket_control::test_delayed_message",
        "websocket_control::test_delayed_message_is_flushed",
        "websocket_control::test_bad_control_message_is_ignored",
        "websocket_close::test_detach",
    ),
    "WebSocket-over-HTTP: opening, messages, closes, replay": (
        "websocket_open::test_opening_request",
        "websocket_open::test_opening_response",
        "websocket::test_message_to_the_backend",
        "websocket::test_message_from_the_backend",
        "websocket::test_one_request_at_a_time",
        "websocket::test_partial_acceptance",
        "websocket_close::test_client_closes",
        "websocket_close::test_backend_closes",
        "websocket_close::test_frame_that_breaks_the_protocol",
    ),
    "WebSocket-over-HTTP: keep-alive, meta, retries, refresh, DISCONNECT": (
        "websocket::test_keep_alive_request",
        "websocket::test_meta_is_kept",
        "websocket_timers::test_request_is_repeated_until_the_backend_is_back",
        "websocket_control::test_refresh",
        "websocket_close::test_lost_client",
        "websocket_timers::test_lost_client_is_told_when_the_backend_is_back",
    ),
    "permessage-deflate": (
        "websocket_control::test_compression_is_optional",
        "websocket::test_compressed_message_to_the_backend",
        "websocket_open::test_extensions_of_the_client_are_not_passed_on",
    ),
    "JSON-P": Unseen(LEFT_OUT),
    "Sharing of requests": (
        "sharing::test_equal_links_are_asked_once",
        "sharing::test_links_are_not_shared_by_who_knows_less",
        "sharing::test_equal_requests_are_not_shared",
        "reliable::test_streams_do_not_share_their_links",
    ),
    "CORS": (
        "routes::test_allowed_origin",
        "routes::test_other_origin",
        "routes::test_preflight",
        "routes::test_page_of_a_held_stream",
        "routes::test_page_of_a_poll",
    ),
    "SockJS": Unseen(LEFT_OUT),
    "Syntax of routes": (
        "routes::test_quotes_and_comments",
        "routes::test_path_is_cut",
        "routes::test_path_is_replaced",
        "routes::test_fields_are_set_and_removed",
    ),
    "Matching of routes": (
        "routes::test_hosts_have_no_case",
        "conditions::test_path_that_begins_so",
        "conditions::test_routes_of_the_protocols",
        "conditions::test_routes_with_and_without_tls",
        "conditions::test_route_that_is_named",
        "routes::test_host_whose_routes_do_not_match",
        "routes::test_target_that_can_not_be_reached",
        "routes::test_host_of_the_target_that_is_asked",
        "routes::test_implicit_channel_of_the_target_that_is_asked",
        "routes::test_websocket_of_the_target_that_is_asked",
        "routes::test_target_that_leads_into_the_own_network",
    ),
    "Routes that are read again": ("lifetime::test_routes_are_read_again",),
    "Grip-Sig by each kind of key": (
        "request::test_signature_is_valid",
        "routes::test_key_of_a_route",
        "routes::test_key_in_base64",
        "routes::test_key_in_a_file",
    ),
    "A GRIP proxy in front": (
        "upstream::test_request_of_the_proxy_in_front",
        "upstream::test_instructions_for_the_proxy_in_front",
        "upstream::test_events_of_the_proxy_in_front",
        "upstream::test_others_are_clients",
    ),
    "X-Forwarded-For, X-Forwarded-Proto, original fields": (
        "request::test_forwarded_for",
        "request::test_forwarded_protocol",
        "request::test_forwarded_protocol_cannot_be_forged",
        "tls::test_requests_over_tls",
        "request::test_marked_original_fields_are_dropped",
        "conditions::test_marked_fields",
        "conditions::test_marks_of_a_proxy_in_front",
    ),
    "CDN-Loop": ("conditions::test_cdn_loop_is_added_to",),
    "Sessions": (
        "sessions::test_request_of_a_session",
        "sessions::test_id_in_a_form",
        "sessions::test_paths_of_a_rule",
        "sessions::test_item_moves_the_session_of_a_stream",
        "sessions::test_websocket_names_its_session",
    ),
    "Byte counters in reports": Unseen(
        "Pushpin estimates them from names and values; gripproxy's reports leave out what it would have to guess",
        "unit/zeromq/test_statistics.py::test_a_report_has_the_sums_of_its_time",
    ),
    "HTTP/1 on both sides: chunks, early responses": (
        "http::test_ambiguous_framing_is_refused",
        "passing::test_early_answer",
        "passing::test_http_1_0_client",
        "passing::test_pipelined_requests_are_answered_in_order",
        "request::test_chunked_body_reaches_backend",
    ),
    "TLS": ("tls::test_requests_over_tls", "tls::test_holds_over_tls", "tls::test_websocket_over_tls"),
    "Configuration and command line": Unseen(
        "each proxy has its own; what can be said in both is started so by the suite itself",
        "unit/test_import_routes.py::test_a_line_becomes_a_route_without_warning",
    ),
}

LIMITS: dict[str, Row] = {
    "64 fields of a request": ("limits::test_many_fields", "limits::test_too_many_fields"),
    "100 kB of a request that may be asked again": ("instructs::test_large_request_cannot_be_held",),
    "100 kB of a hold": ("instructs::test_large_response_hold_is_refused", "instructs::test_largest_response_hold"),
    "1 MB of a WebSocket-over-HTTP response": ("limits::test_too_large_answer_is_fatal",),
    "200 kB of a WebSocket message": ("websocket::test_too_large_message_is_fatal",),
    "16 kB of a frame to a client": ("websocket::test_message_from_the_backend",),
    "100 items that wait for a stream": ("limits::test_many_items_during_a_fetch",),
    "100 messages that wait for a WebSocket": ("limits::test_client_that_reads_late",),
    "20 channels of a connection": (
        "stream::test_number_of_channels_is_limited",
        "websocket_control::test_channels_are_limited",
    ),
    "5 filters of a channel": (
        "instructs::test_malformed_instruction_is_refused",
        "json_instructs::test_too_many_filters_are_refused",
        "websocket_close::test_too_many_filters_end_the_connection",
    ),
    "100 items of a channel that wait for one": ("limits::test_many_items_wait_for_one",),
    "Last ids": Unseen(
        "a million channels would have to be subscribed at the same time, for a last id goes with the last subscriber",
        "unit/grip/test_sequencer.py::test_last_ids_are_bounded_and_the_least_recent_goes",
    ),
    "128 connections of publishers": ("limits::test_idle_publishers",),
    "16 connections for metrics": ("limits::test_idle_scrapers",),
    "50,000 clients": (
        "lifetime::test_clients_are_limited",
        "lifetime::test_client_beyond_the_limit_is_told_so",
    ),
    "1 MB of a publish": ("publish::test_large_publish", "publish::test_too_large_publish"),
    "10 kB of a publish's fields": ("limits::test_too_large_head_of_a_publish",),
    "8 kB of a request's fields": ("request::test_too_large_head_is_refused",),
    "100 kB of a refused handshake": ("limits::test_refused_handshake_with_a_body",),
    "25,000 deliveries that wait": ("limits::test_many_deliveries",),
}

TIMERS: dict[str, Row] = {
    "A long-poll: 55 s, at least 5": (
        "poll::test_timeout_defaults_to_55_seconds",
        "poll::test_timeout_sends_the_held_response",
        "timers::test_long_poll_of_more_than_a_minute",
    ),
    "A keep-alive: 55 s": (
        "limits::test_keep_alive_defaults_to_55_seconds",
        "websocket_timers::test_keep_alive_message_after_55_seconds",
        "stream::test_keep_alives_repeat",
    ),
    "A next link: 120 s": (
        "timers::test_next_link_is_polled_after_120_seconds",
        "timers::test_busy_stream_does_not_poll_its_next_link",
    ),
    "The refresh after a first subscription: 1 s": ("limits::test_first_poll_of_a_channel",),
    "Repeated requests: 1, 2, 4, 8, 16 s": (
        "limits::test_link_that_fails_for_good",
        "websocket_timers::test_request_is_repeated_until_the_backend_is_back",
        "websocket_timers::test_request_that_fails_for_good",
    ),
    "WebSocket-over-HTTP's keep-alive: at least 20 s": (
        "websocket::test_keep_alive_request",
        "websocket_timers::test_keep_alive_interval_lasts",
        "websocket_timers::test_traffic_puts_the_keep_alive_off",
        "websocket_timers::test_decision_that_is_put_off",
    ),
    "A delayed message: 1 s": ("websocket_timers::test_delayed_message_after_a_second",),
    "An item waits for the one before it: 5 s": ("order::test_missing_item_is_waited_for",),
    "Duplicates are known: 60 s": ("timers::test_duplicates_are_known_for_a_minute",),
    "A channel lingers: 60 s": ("timers::test_channel_lingers",),
    "A filter's question: 10 s": ("timers::test_filter_that_does_not_answer",),
    "Sessions between its processes: 60 s": ("timers::test_quiet_stream", "websocket_timers::test_quiet_socket"),
    "Between its processes: inspect, accept, wscontrol, sessions": Unseen(
        "questions of Pushpin's processes to each other have 8 s; here there is one process"
    ),
    "A quiet client that is held": Unseen(
        "half an hour passes before Pushpin 1.41 cuts it", "unit/test_server.py::test_peers_that_vanish_are_noticed"
    ),
    "A session that is not used": Unseen(
        "Pushpin leaves that to a service of one's own",
        "unit/test_sessions.py::test_a_session_that_is_not_used_is_forgotten",
    ),
    "A client that sends no request": (
        "timers::test_client_that_sends_no_request_is_let_go",
        "timers::test_kept_connection",
    ),
    "A backend's response: 1800 s without a byte": (
        "timers::test_backend_that_pauses_in_a_body",
        "timers::test_backend_that_does_not_answer",
        "websocket_timers::test_backend_that_does_not_decide",
    ),
    "The closing handshake": (
        "websocket_timers::test_client_that_does_not_answer_a_close",
        "websocket_timers::test_backend_that_does_not_answer_a_close",
    ),
    "A pooled connection to a backend: 55 s": ("timers::test_connection_to_the_backend_is_pooled",),
    "A publish that does not end": ("timers::test_publish_without_an_end",),
    "The end of the proxy: 10 s": (
        "lifetime::test_stop_has_an_end",
        "lifetime::test_stop_answers_long_polls",
        "lifetime::test_stop_ends_streams",
        "lifetime::test_stop_closes_websockets",
    ),
}

PARTS = {"Features": FEATURES, "Limits": LIMITS, "Timers": TIMERS}


def unseen() -> dict[str, Unseen]:
    """All rows that no case can show."""
    return {name: row for rows in PARTS.values() for name, row in rows.items() if isinstance(row, Unseen)}
