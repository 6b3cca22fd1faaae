"""Paths of the API (as in the article), of the page's own files, and the answers of last resort."""

from django.contrib.staticfiles.views import serve
from django.urls import include, path
from django.views.decorators.http import require_safe

urlpatterns = [
    # Three small files: Django's own view serves them well enough, and no second server or build step is needed.
    # `insecure` only means that Django checks DEBUG otherwise, because the view is slow for a busy site.
    path("static/<path:path>", require_safe(serve), {"insecure": True}),
    path("", include("headlines.urls")),
]

handler400 = "headlines.views.bad_request"
handler403 = "headlines.views.bad_request"
handler404 = "headlines.views.not_found"
handler500 = "headlines.views.server_error"
