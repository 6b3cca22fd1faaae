"""A black-box suite of the GRIP protocol: it knows a proxy's two addresses, and plays its backend, clients and publishers.

`python -m tests.conformance` runs every case against gripproxy and against Pushpin and tables the differences.
"""
