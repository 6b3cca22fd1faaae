# The proxy. Runs as any user, on a read-only file system, without capabilities; needs no volume.
#
#     docker build -t gripproxy .
#     docker run --read-only --cap-drop ALL -p 7999:7999 gripproxy run --backend http://backend.example:8000

FROM python:3.11-slim-bookworm AS build

# For the build backends too: the image of next year is built with the releases of today. Older pips read the first of
# the two for them, newer ones the second.
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_BUILD_CONSTRAINT=/src/constraints.txt

WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY gripproxy gripproxy
RUN python -m venv --without-pip /opt/gripproxy \
    && pip --python /opt/gripproxy/bin/python install --no-cache-dir '.[redis,zmq]'


FROM python:3.11-slim-bookworm

COPY --from=build /opt/gripproxy /opt/gripproxy

# Inside a container loopback reaches nobody. These outrank the configuration file, as every variable does: leave the
# ports, and map them with -p. Only loopback may publish to a realm without a key, so an open control door is not open.
ENV PATH=/opt/gripproxy/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GRIPPROXY__SERVER__LISTEN=:7999 \
    GRIPPROXY__CONTROL__LISTEN=:5561

USER 10001:10001
EXPOSE 7999 5561

HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["python", "-c", "\
import os, urllib.request; \
port = os.environ['GRIPPROXY__CONTROL__LISTEN'].rpartition(':')[2]; \
urllib.request.urlopen(f'http://127.0.0.1:{port}/health', timeout=4)"]

# No shell between: signals reach the proxy, which lets its clients go before it ends.
ENTRYPOINT ["gripproxy"]
CMD ["run"]
