"""`body-patch`: a JSON Patch (RFC 6902) applied to the body that a backend gave with its hold."""

from typing import Any

import jsonpatch
import msgspec


class PatchError(Exception):
    """The held body is not JSON, or the patch does not fit it."""


def patch_body(body: bytes, patch: list[Any]) -> bytes:
    """Return the patched body; a line end behind the original is kept, as Pushpin keeps it.

    Raises: PatchError.
    """
    try:
        document = msgspec.json.decode(body)
        patched = jsonpatch.apply_patch(document, patch)
    except (
        ValueError,
        RecursionError,
        jsonpatch.JsonPatchException,
        jsonpatch.JsonPointerException,
        TypeError,
    ) as error:
        raise PatchError(str(error)) from error
    end = b"\r\n" if body.endswith(b"\r\n") else b"\n" if body.endswith(b"\n") else b""
    return msgspec.json.encode(patched) + end
