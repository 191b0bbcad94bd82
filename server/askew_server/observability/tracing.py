"""OpenTelemetry traces: the extra `tracing`. OpenTelemetry is not imported while tracing is off."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from askew_client.errors import EngineMissing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

    from askew_server.observability.request_record import RequestRecord


class Tracing:
    """Makes a span of each request, with a child span for each stage of a search."""

    def __init__(self, provider: TracerProvider) -> None:
        """`provider`: makes and exports the spans. Raises EngineMissing without the extra."""
        try:
            from opentelemetry.trace import SpanKind, StatusCode
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError:
            raise _extra_missing() from None
        self._provider = provider
        self._tracer = provider.get_tracer("askew.server")
        self._server, self._error = SpanKind.SERVER, StatusCode.ERROR
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, request: RequestRecord, headers: Mapping[str, str]) -> Span:
        """Start the span of a request. A W3C `traceparent` among its headers makes it a child of the caller's span."""
        carrier = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        span = self._tracer.start_span(
            request.method, self._propagator.extract(carrier), self._server, start_time=request.epoch_ns(request.began)
        )
        context = span.get_span_context()
        if context.is_valid:
            request.trace_id = f"{context.trace_id:032x}"
        return span

    def end(self, span: Span, request: RequestRecord) -> None:
        """Name the span, add the stages, and end it. No path, query or body is put into a trace."""
        from opentelemetry.trace import set_span_in_context

        span.update_name(f"{request.method} {request.route}")
        span.set_attributes(
            {
                "http.request.method": request.method,
                "http.route": request.route,
                "http.response.status_code": request.status,
                "http.request.body.size": request.bytes_in,
                "http.response.body.size": request.bytes_out,
                "askew.request_id": request.request_id,
            }
        )
        if request.gallery is not None:
            span.set_attribute("db.collection.name", request.gallery)
        if request.problem is not None:
            span.set_attribute("error.type", request.problem)
        if request.status >= 500:
            span.set_status(self._error)
        inside = set_span_in_context(span)
        for stage, began, ended in request.stages:
            child = self._tracer.start_span(stage, inside, start_time=request.epoch_ns(began))
            child.end(request.epoch_ns(ended))
        span.end(request.epoch_ns(request.ended))

    def close(self) -> None:
        """Export the spans that wait, and stop."""
        self._provider.shutdown()


def open_tracing(version: str) -> Tracing:
    """Trace to an OTLP collector, configured by the standard OTEL_* variables. Raises EngineMissing without the extra."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise _extra_missing() from None
    name = os.environ.get("OTEL_SERVICE_NAME", "askew")
    provider = TracerProvider(resource=Resource.create({"service.name": name, "service.version": version}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


def _extra_missing() -> EngineMissing:
    return EngineMissing(
        "Tracing needs OpenTelemetry, which is not installed. Install it (pip install opentelemetry-sdk "
        "opentelemetry-exporter-otlp-proto-http), or set ASKEW_TRACING=off."
    )
