"""The table ``[limits]``: what one client, one channel, one backend may use."""

from msgspec import Struct

from gripproxy.config.checks import Count, Positive, PositiveSeconds, Seconds


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one client, one channel or one backend may use; 0 means without limit where the comment says so."""

    # Bytes of a request line and header. As Node and HAProxy; Pushpin's 8192 is too small for tokens in cookies.
    request_header: Positive = 16_384
    # Bytes of a request body; 0 = without limit, as it is streamed. A route can set its own.
    request_body: Count = 0
    # Bytes of a request body kept to repeat the request after a hold. Pushpin's MAX_ACCEPT_REQUEST_BODY.
    replay_body: Count = 100_000
    # Bytes of a response that asks for a hold. Pushpin's.
    hold_body: Positive = 100_000
    # Bytes not yet taken by one client before it is cut (dead, or too slow for its channels), or recovers by its link.
    unsent: Positive = 1_048_576
    # Bytes that wait to be written, of all channels, before publishes are answered 429; 0 = without limit. It bounds
    # memory and is no speed limit: 64 of the largest requests, which a machine that is not overrun writes in a second.
    backlog: Count = 67_108_864
    # Bytes of one WebSocket message, either way.
    websocket_message: Positive = 1_048_576
    # Bytes of a client's WebSocket messages that wait for the backend before no more are read.
    websocket_buffered: Positive = 1_048_576
    # Seconds the backend has to accept or refuse a WebSocket.
    websocket_handshake_timeout: PositiveSeconds = 60.0
    # Channels of one connection. Pushpin's connection_subscription_max, which is 20 and cuts silently.
    channels_per_connection: Positive = 100
    # Client connections; 0 = as many as the process may open files.
    connections: Count = 0
    # Items, bytes and seconds that a channel's history keeps to fill gaps of reconnecting clients.
    history_items: Count = 100
    history_bytes: Count = 1_048_576
    history_age: Seconds = 60.0
    # Seconds in which an item id seen before is a duplicate. Pushpin's id_cache_ttl.
    duplicates_age: Seconds = 60.0
    # Seconds an item waits for the one before it. Pushpin's message_wait.
    message_wait: Seconds = 5.0
    # Seconds that publishers who ask are told that a channel has subscribers after it lost its last: a long-poller is
    # back soon. Pushpin's.
    subscription_linger: Seconds = 60.0
    # GRIP sessions, last ids of one, rules of a realm, and seconds that a session is kept without a hold or a request.
    sessions: Positive = 100_000
    session_last_ids: Positive = 100
    session_rules: Positive = 1000
    session_age: PositiveSeconds = 3600.0
