# syntax=docker/dockerfile:1
# The server, without torch, which only training needs. Build from the root of the repository:
#   docker build -f deploy/server.Dockerfile -t askew .

FROM python:3.12-slim AS build
WORKDIR /src
COPY requirements/constraints.txt requirements/constraints.txt
COPY client client
COPY server server
RUN python -m venv /opt/askew \
    && /opt/askew/bin/pip install --no-cache-dir --constraint requirements/constraints.txt \
        './client[cpu,cli]' './server[cpu,tracing]'

FROM python:3.12-slim
ENV PATH=/opt/askew/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ASKEW_DATA=/data
# A fixed user id, so that volumes keep their owner across image updates.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin askew \
    && install --directory --owner=askew --group=askew /data
COPY --from=build /opt/askew /opt/askew
COPY demo/credits.csv /usr/share/askew/demo/credits.csv
COPY demo/gallery /usr/share/askew/demo/gallery
COPY demo/encoders/teacher.onnx demo/encoders/student.onnx /usr/share/askew/demo/encoders/
COPY deploy/entrypoint.py /usr/local/lib/askew/entrypoint.py
# By number, so that Kubernetes can verify that the user is not root.
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["python", "/usr/local/lib/askew/entrypoint.py"]
