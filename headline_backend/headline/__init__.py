"""The Django project of the headline example: a realtime API behind a GRIP proxy."""
