"""A black-box suite of the GRIP protocol: it knows a proxy's two addresses, and plays the rest.

`python -m tests.conformance` runs every case against gripproxy and against Pushpin and tables the differences.
"""
