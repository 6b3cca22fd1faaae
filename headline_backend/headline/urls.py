"""Paths of the API (as in the article), of the page's own files, and the answers of last resort."""

from django.urls import include, path
from headlines.assets import asset

urlpatterns = [
    path("static/<path:path>", asset),
    path("", include("headlines.urls")),
]

handler400 = "headlines.views.bad_request"
handler403 = "headlines.views.bad_request"
handler404 = "headlines.views.not_found"
handler500 = "headlines.views.server_error"
