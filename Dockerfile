# Images of Headway. Both run as user 10001, on a root file system that may be read-only, with /tmp writable.
#
#   worker    runs `headway worker`: the base install
#   control   the control plane, the pages, and the reference services: compose.yaml runs all of it from this one
#
# docker build --target worker -t headway-worker .
#
# docs/how-to/run-in-containers.md says how to build images of your own services on them.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS tools
ENV PATH=/opt/tools/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1
RUN python3 -m venv /opt/tools && pip install --quiet "uv>=0.5,<1" "hatchling>=1.27"
# Where packages come from, if not from PyPI: docker build --build-arg UV_DEFAULT_INDEX=https://...
ARG UV_DEFAULT_INDEX
WORKDIR /src
# Dependencies first: they change less often than the code. Versions and hashes are those of uv.lock.
COPY pyproject.toml uv.lock ./
RUN for set in worker: control:control,docker,services,telemetry,web; do \
        extras=""; for extra in $(echo "${set#*:}" | tr , " "); do extras="$extras --extra $extra"; done; \
        uv export --quiet --frozen --no-dev --no-emit-workspace $extras \
            --output-file "/opt/tools/${set%%:*}.txt" >/dev/null || exit 1; \
    done

FROM tools AS control-venv
RUN python3 -m venv --without-pip /opt/headway && \
    uv pip sync --quiet --compile-bytecode --python /opt/headway/bin/python --require-hashes /opt/tools/control.txt

FROM tools AS worker-venv
RUN python3 -m venv --without-pip /opt/headway && \
    uv pip sync --quiet --compile-bytecode --python /opt/headway/bin/python --require-hashes /opt/tools/worker.txt

# The wheel, with the browser side; that is built here unless it was brought along (then Node is not needed).
FROM tools AS wheel
COPY . .
RUN mkdir -p .tools && ln -s /opt/tools .venv && ln -s /opt/tools/bin .tools/bin && scripts/build-browser && \
    pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /opt/wheel .

FROM ${PYTHON_IMAGE} AS base
# Python finds its bytecode made, and writes none: the file system is read-only.
ENV PATH=/opt/headway/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
RUN groupadd --gid 10001 headway && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp headway && \
    install -d -o 10001 -g 10001 -m 700 /var/lib/headway
WORKDIR /app

FROM control-venv AS control-install
COPY --from=wheel /opt/wheel /opt/wheel
RUN uv pip install --quiet --compile-bytecode --python /opt/headway/bin/python --no-deps /opt/wheel/*.whl

FROM base AS control
# A volume that is mounted here for the first time gets their owner and mode.
RUN for node in nats nats-1 nats-2 nats-3; do install -d -o 10001 -g 10001 -m 700 /nodes/$node; done
COPY --from=control-install /opt/headway /opt/headway
COPY headway.yaml ./
USER 10001:10001
ENTRYPOINT ["headway"]
CMD ["--help"]

FROM worker-venv AS worker-install
COPY --from=wheel /opt/wheel /opt/wheel
RUN uv pip install --quiet --compile-bytecode --python /opt/headway/bin/python --no-deps /opt/wheel/*.whl

FROM base AS worker
COPY --from=worker-install /opt/headway /opt/headway
USER 10001:10001
ENTRYPOINT ["headway"]
CMD ["worker", "--help"]
