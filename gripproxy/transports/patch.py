"""`body-patch`: a JSON Patch (RFC 6902) applied to the body that a backend gave with its hold."""

from typing import Any

import jsonpatch
import msgspec

# Bytes that the copies of one patch may add: each can double the document, so that forty would fill any memory.
COPIED_MAX = 1_000_000


class PatchError(Exception):
    """The held body is not JSON, or the patch does not fit it."""


def patch_body(body: bytes, patch: list[Any]) -> bytes:
    """Return the patched body; a line end behind the original is kept, as Pushpin keeps it.

    Raises: PatchError.
    """
    try:
        patched = _patched(msgspec.json.decode(body), patch)
    except (
        ValueError,
        LookupError,
        RecursionError,
        jsonpatch.JsonPatchException,
        jsonpatch.JsonPointerException,
        TypeError,
    ) as error:
        raise PatchError(str(error)) from error
    end = b"\r\n" if body.endswith(b"\r\n") else b"\n" if body.endswith(b"\n") else b""
    return msgspec.json.encode(patched) + end


def _patched(document: Any, patch: list[Any]) -> Any:
    """Apply a patch to a document, which is nobody else's: one operation after the other, to count what copies add."""
    copied = 0
    for operation in patch:
        if type(operation) is dict and operation.get("op") == "copy":
            copied += len(msgspec.json.encode(jsonpatch.JsonPointer(operation["from"]).resolve(document)))
            if copied > COPIED_MAX:
                raise PatchError(f"the patch copies more than {COPIED_MAX} bytes")
        document = jsonpatch.apply_patch(document, [operation], in_place=True)
    return document
