"""Traces for OpenTelemetry, an extra: `askew-server[tracing]`. Nothing of it is imported while tracing is off."""

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
    """Makes a span of each request, and below it one of each stage of a search."""

    def __init__(self, provider: TracerProvider) -> None:
        """Raises EngineMissing without the extra."""
        try:
            from opentelemetry.trace import SpanKind, StatusCode
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError:
            raise _extra_missing() from None
        self._provider = provider
        self._tracer = provider.get_tracer("askew.server")
        self._server, self._error = SpanKind.SERVER, StatusCode.ERROR
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, call: RequestRecord, headers: Mapping[str, str]) -> Span:
        """The span of a request; a W3C `traceparent` among its headers makes it the child of the caller's."""
        carrier = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        span = self._tracer.start_span(
            call.method, self._propagator.extract(carrier), self._server, start_time=call.epoch_ns(call.began)
        )
        context = span.get_span_context()
        if context.is_valid:
            call.trace_id = f"{context.trace_id:032x}"
        return span

    def end(self, span: Span, call: RequestRecord) -> None:
        """Name the span, add the stages, and end it. No path, query or body gets into a trace: only what is admitted."""
        from opentelemetry.trace import set_span_in_context

        span.update_name(f"{call.method} {call.route}")
        span.set_attributes(
            {
                "http.request.method": call.method,
                "http.route": call.route,
                "http.response.status_code": call.status,
                "http.request.body.size": call.bytes_in,
                "http.response.body.size": call.bytes_out,
                "askew.request_id": call.request_id,
            }
        )
        if call.gallery is not None:
            span.set_attribute("db.collection.name", call.gallery)
        if call.problem is not None:
            span.set_attribute("error.type", call.problem)
        if call.status >= 500:
            span.set_status(self._error)
        inside = set_span_in_context(span)
        for stage, began, ended in call.stages:
            child = self._tracer.start_span(stage, inside, start_time=call.epoch_ns(began))
            child.end(call.epoch_ns(ended))
        span.end(call.epoch_ns(call.ended))

    def close(self) -> None:
        """Export what waits, and stop."""
        self._provider.shutdown()


def open_tracing(version: str) -> Tracing:
    """Tracing to an OTLP collector, set up by the standard OTEL_* variables. Raises EngineMissing without the extra."""
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
        "Tracing needs OpenTelemetry, which is not installed. pip install 'askew-server[tracing]', or leave "
        "ASKEW_TRACING off."
    )
