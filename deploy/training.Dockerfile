# syntax=docker/dockerfile:1
# Training, with torch: several gigabytes. Build from the root of the repository:
#   docker build -f deploy/training.Dockerfile -t askew-training:0.2.0 .
# ENGINE: which ONNX Runtime and FAISS, cpu or gpu. torch uses a GPU with either.

FROM debian:13.8-slim AS python
# The version of Python is that of the Debian release; a pinned one would be gone with the next security update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*

FROM python AS build
ARG ENGINE=cpu
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements/constraints.txt requirements/constraints.txt
COPY client client
COPY training training
RUN python3 -m venv /opt/askew \
    && /opt/askew/bin/pip install --no-cache-dir --constraint requirements/constraints.txt \
        './client[cli]' "./training[demo,${ENGINE}]" \
    && /opt/askew/bin/pip uninstall --yes pip

FROM python
# HOME: libraries may write there, and only /work and /tmp are writable.
ENV PATH=/opt/askew/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin askew \
    && install --directory --owner=askew --group=askew /work
COPY --from=build /opt/askew /opt/askew
USER 10001
WORKDIR /work
VOLUME /work
# One command and its end, which its exit code tells.
HEALTHCHECK NONE
ENTRYPOINT ["askew"]
