"""Load test of the fan-out of a GRIP proxy: `gripproxy load`. It works against any, and imports none of this one."""
