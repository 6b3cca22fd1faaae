"""Load test of the fan-out of a GRIP proxy: ``gripproxy load``.

    command --> Plan --> fleet --+-- worker process (clients)      x N      framing, ledger, latency
                                 +-- publisher process             x 1
                                 '-- Report <-- tallies of both             report (table, JSON), plot (SVG)

It holds connections through a proxy, publishes on the proxy's control endpoint, and accounts for every message on
every connection. It speaks HTTP to whatever is there and knows nothing of the proxy that ships with it: apart from
the exceptions it imports no other part of gripproxy, so that it can measure any GRIP proxy, and so that a fault in
gripproxy cannot hide itself.
"""
