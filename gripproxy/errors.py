"""The exceptions of gripproxy: one for each kind of input that can be wrong.

    GripError
    ├── ConfigError     the configuration file or environment        (start-up)
    ├── InstructError   a backend's GRIP instructions                (502 to the client)
    ├── ItemError       a published item                             (400 to the publisher)
    ├── AuthError       a publisher's or a proxy's credentials       (401 or 403)
    ├── EventError      WebSocket events or control messages         (502 to the client)
    ├── FilterError     a filter that could not be applied           (the item is skipped)
    └── BackendError    a backend that did not answer as it should   (502 or 504)

The message names the field and the value that is wrong, never a secret.
"""


class GripError(Exception):
    """Anything that gripproxy refuses; ``status`` is what a door answers with."""

    status = 500


class ConfigError(GripError):
    """The configuration is wrong; the message reads ``file: key: reason``."""


class InstructError(GripError):
    """A backend's instructions are malformed."""

    status = 502


class ItemError(GripError):
    """A published item is malformed; nothing of its batch was published.

    ``item`` is its place in the batch, ``field`` the member of it that is wrong, as far as there is one.
    """

    status = 400

    def __init__(self, message: str, item: int | None = None, field: str = "") -> None:
        super().__init__(message)
        self.item = item
        self.field = field


class AuthError(GripError):
    """Credentials are missing or wrong (401), or not good for this realm (403)."""

    def __init__(self, message: str, status: int = 401) -> None:
        super().__init__(message)
        self.status = status


class EventError(GripError):
    """WebSocket events or a control message are malformed."""

    status = 502


class FilterError(GripError):
    """A filter could not be applied to an item."""


class BackendError(GripError):
    """A backend could not be reached (502) or did not answer in time (504).

    ``is_repeatable`` tells that no byte of the request can have been acted upon. ``backend`` is the URL of the one that
    failed, where it is known; the message names it, too.
    """

    def __init__(self, message: str, status: int = 502, is_repeatable: bool = False, backend: object = "") -> None:
        super().__init__(message)
        self.status = status
        self.is_repeatable = is_repeatable
        self.backend = str(backend)

    @property
    def kind(self) -> str:
        """What went wrong, in the words of the metrics: `client` is a client's body that could not be sent."""
        if self.status < 500:
            return "client"
        return "timeout" if self.status == 504 else "unreachable" if self.is_repeatable else "error"
