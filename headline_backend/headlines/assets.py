"""The page's own files: few and small, so Django serves them itself, without a build step or a second server.

(Django's own view for static files refuses without DEBUG, and streams in a way that ASGI servers complain about.)
"""

from pathlib import Path

from django.contrib.staticfiles import finders
from django.core.exceptions import SuspiciousFileOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import conditional_page, require_safe

# Not the machine's table of types, which may be wrong: browsers run no script that is called something else.
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@require_safe
@conditional_page
def asset(request: HttpRequest, path: str) -> HttpResponse:
    """A file of an application's static folder; the decorators give it an ETag and answer HEAD, 304 and 405."""
    try:
        found = finders.find(path)
    except SuspiciousFileOperation:  # ../ and its like
        raise Http404 from None
    if not isinstance(found, str) or Path(found).suffix not in TYPES or not Path(found).is_file():
        raise Http404
    response = HttpResponse(Path(found).read_bytes(), content_type=TYPES[Path(found).suffix])
    response["Cache-Control"] = "no-cache"  # with the ETag: a new release is seen at once
    return response
