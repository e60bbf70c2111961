# The node's own image: one for every service in docker-compose.yml. (What jobs run in is another matter: see
# scripts/images.sh.) Builds with BuildKit and with the older builder of Docker 20.10, so it uses neither here-documents
# nor mounts. Where no registry is reachable: --build-arg BASE_IMAGE=localhost/hivemind-base:latest, made by ./dev image.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
# The older builder leaves this stage behind without a name; by the label it can be found and removed.
LABEL hivemind.stage=build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# An environment of its own: a distribution's Python does not want pip in its own directories (PEP 668).
RUN python3 -m venv /opt/hivemind
WORKDIR /src

# Dependencies first and alone, so that a change of our code does not install them again. The odd pattern matches
# wheelhouse/ when it is there (made by ./dev wheelhouse) and is no error when it is not: then an index is asked.
COPY constraints.txt wheelhous[e] /wheelhouse/
COPY pyproject.toml ./
COPY scripts/requirements.py scripts/
RUN if ls /wheelhouse/*.whl >/dev/null 2>&1; then from="--no-index --find-links=/wheelhouse"; else from=""; fi \
    && python3 scripts/requirements.py >/tmp/requirements.txt \
    && /opt/hivemind/bin/pip install $from -c /wheelhouse/constraints.txt -r /tmp/requirements.txt

COPY LICENSE README.md ./
COPY config config
COPY hivemind_worker hivemind_worker
COPY bridge bridge
COPY hivemind_cli hivemind_cli
RUN /opt/hivemind/bin/pip install --no-deps --no-build-isolation .

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="hivemind" \
      org.opencontainers.image.licenses="GPL-3.0-or-later"
COPY --from=build /opt/hivemind /opt/hivemind
# Two arenas: glibc would give each of a worker's many threads memory of its own.
ENV PATH=/opt/hivemind/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2
WORKDIR /
CMD ["hivemind", "--help"]
