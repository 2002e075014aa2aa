# syntax=docker/dockerfile:1
# The patch release is not pinned, so a rebuild includes the base image's security fixes. For a reproducible build, name a
# digest: `--build-arg PYTHON_IMAGE=python:3.13-slim-trixie@sha256:...`.
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS builder
WORKDIR /srv/allocation
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip install --disable-pip-version-check --root-user-action=ignore \
        --no-deps --require-hashes -r requirements/build.txt \
    && python -m venv --without-pip /opt/venv \
    && python -m pip --python /opt/venv/bin/python install --disable-pip-version-check --root-user-action=ignore \
        --no-deps --require-hashes -r requirements/runtime.txt
# An editable install: a change to the code rebuilds only the last, small layer, and the code finds alembic.ini beside it as in
# a checkout.
COPY pyproject.toml README.md LICENSE ./
RUN python -m hatchling build --target wheel:editable --directory /tmp/wheel \
    && python -m pip --python /opt/venv/bin/python install --disable-pip-version-check --root-user-action=ignore \
        --no-cache-dir --no-deps --no-index /tmp/wheel/*.whl

FROM ${PYTHON_IMAGE}
# The source of the build: `docker build --build-arg VERSION=... --build-arg REVISION=$(git rev-parse HEAD) --build-arg SOURCE=...`.
ARG VERSION=unreleased
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="allocation" \
      org.opencontainers.image.description="Stock allocation as an event-driven service" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /srv/allocation
COPY --from=builder /opt/venv /opt/venv
COPY alembic.ini ./
COPY alembic alembic
COPY allocation allocation
COPY app app
# The container's files are read-only at run time, so the bytecode is compiled now. A volume that is mounted on the folder
# gets the folder's owner, so that `allocation api-keys new --file` can write into it.
RUN python -m compileall -q alembic allocation app \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/allocation
# A number, so that Kubernetes can verify that it is not root.
USER 10001:10001
EXPOSE 8000
# For `run` and `serve`. The address is the container's own, so no proxy is used.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:8000/livez', timeout=4)"]
# It does not start without ALLOCATION_AUTH; see docs/security.md.
ENTRYPOINT ["allocation"]
CMD ["run", "--host", "0.0.0.0", "--port", "8000"]
