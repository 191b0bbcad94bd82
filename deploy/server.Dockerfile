# syntax=docker/dockerfile:1
# The server, and the server with the demo. Both lack torch, pip and compilers. Build from the root of the repository:
#   docker build -f deploy/server.Dockerfile -t askew:0.2.0 .
#   docker build -f deploy/server.Dockerfile --target demo -t askew-demo:0.2.0 .
# EXTRAS: what ./server is installed with, such as gpu,tracing or cpu,tracing,milvus. Either cpu or gpu, never both.

FROM debian:13.8-slim AS python
# The version of Python is that of the Debian release; a pinned one would be gone with the next security update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*

FROM python AS build
ARG EXTRAS=cpu,tracing
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements/constraints.txt requirements/constraints.txt
COPY client client
COPY server server
RUN python3 -m venv /opt/askew \
    && /opt/askew/bin/pip install --no-cache-dir --constraint requirements/constraints.txt \
        './client[cli]' "./server[${EXTRAS}]"

# What `make demo PHONE=1` needs too: the certificate authority, and the QR code.
FROM build AS build-demo
COPY requirements/phone.txt requirements/phone.txt
RUN /opt/askew/bin/pip install --no-cache-dir --constraint requirements/constraints.txt \
        --target /opt/demo --requirement requirements/phone.txt

FROM build AS without-pip
RUN /opt/askew/bin/pip uninstall --yes pip

FROM python AS server
# HOME: libraries may write there, and only /data and /tmp are writable.
ENV PATH=/opt/askew/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ASKEW_DATA=/data
# A fixed user id, so that volumes keep their owner across image updates.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin askew \
    && install --directory --owner=askew --group=askew /data /certificates
COPY --from=without-pip /opt/askew /opt/askew
COPY deploy/entrypoint.py deploy/askew_command.py deploy/first_key.py deploy/secret_files.py deploy/health.py /usr/local/lib/askew/
# By number, so that Kubernetes can verify that the user is not root.
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "/usr/local/lib/askew/health.py"]
ENTRYPOINT ["python", "/usr/local/lib/askew/entrypoint.py"]

FROM server AS demo
ENV PYTHONPATH=/opt/demo \
    DEMO=1
COPY --from=build-demo /opt/demo /opt/demo
COPY demo/certificates.py demo/qr_code.py deploy/authority.py deploy/demo_gallery.py deploy/phone_address.py /usr/local/lib/askew/
COPY demo/credits.csv /usr/share/askew/demo/credits.csv
COPY demo/gallery /usr/share/askew/demo/gallery
COPY demo/encoders/teacher.onnx demo/encoders/student.onnx /usr/share/askew/demo/encoders/

# Last, so that it is what a build without --target makes.
FROM server
