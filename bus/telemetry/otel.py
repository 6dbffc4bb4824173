"""OpenTelemetry: spans and metrics by the messaging and RPC semantic conventions, trace context in NATS headers.

It is off unless the application sets a tracer or meter provider, or `configure()` does from the `OTEL_*` variables.
While it is off there are no instruments, so hot paths only compare with None.
Source: opentelemetry.io/docs/specs/semconv/messaging, W3C Trace Context.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import metrics, propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from headway.bus.errors import ConfigError
from headway.bus.wire import subjects

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bucket bounds of durations; the SDK's defaults are meant for milliseconds."""
_SYSTEM: Final = "nats"
_LAST_EXPORT: Final = 2.0
"""Maximum seconds for the last export, so that a collector that is down does not delay the exit."""
_SWITCHES = (
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)


def wanted(environment: Mapping[str, str] | None = None) -> bool:
    """Return whether the `OTEL_*` variables request an exporter."""
    environment = os.environ if environment is None else environment
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return any(environment.get(name, "none") not in {"none", ""} for name in _SWITCHES)


def configure(service: str, version: str, instance: str) -> None:
    """Set up the SDK from the `OTEL_*` variables; do nothing if they request no exporter.

    Args:
        service: name of the service or control process.
        version: its version.
        instance: id of this instance, such as a worker's id.

    Raises:
        ConfigError: if an exporter is requested and the SDK is not installed.
    """
    if not wanted():
        return
    try:
        from opentelemetry.sdk import resources
        from opentelemetry.sdk._configuration import _OTelSDKConfigurator
    except ImportError as error:
        raise ConfigError(
            "OTEL_* variables request telemetry, but the OpenTelemetry SDK is not installed",
            remedy="pip install 'headway[telemetry]', or unset them",
        ) from error
    # An endpoint enables both metrics and traces unless one of them is set to "none".
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        os.environ.setdefault("OTEL_TRACES_EXPORTER", "otlp")
        os.environ.setdefault("OTEL_METRICS_EXPORTER", "otlp")
    os.environ.setdefault("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    attributes = {resources.SERVICE_VERSION: version, resources.SERVICE_INSTANCE_ID: instance}
    if not os.environ.get("OTEL_SERVICE_NAME"):  # not set in os.environ: child processes have their own names
        attributes[resources.SERVICE_NAME] = service
    # Without this, each retry of a failed export would be logged in addition to the failure itself.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
    _OTelSDKConfigurator().configure(resource_attributes=attributes)  # type: ignore[no-untyped-call]


def shutdown() -> None:
    """Export buffered data and stop the SDK, within `_LAST_EXPORT` seconds."""
    last = []
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        stop = getattr(provider, "shutdown", None)
        if stop is not None:
            atexit.unregister(stop)  # the SDK would call it again, and wait
            last.append(threading.Thread(target=stop, daemon=True))
            last[-1].start()
    end = time.monotonic() + _LAST_EXPORT
    for thread in last:
        thread.join(max(0.0, end - time.monotonic()))


def instruments() -> Instruments | None:
    """Return new instruments, or None while OpenTelemetry is off."""
    tracer_off = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider)
    meter = metrics.get_meter_provider()
    meter_off = type(meter).__name__ in {"_ProxyMeterProvider", "NoOpMeterProvider"}
    return None if tracer_off and meter_off else Instruments()


def durations(name: str, description: str) -> metrics.Histogram:
    """Create a histogram of durations in seconds."""
    meter = metrics.get_meter("headway")
    return meter.create_histogram(name, unit="s", description=description, explicit_bucket_boundaries_advisory=_SECONDS)


class Instruments:
    """Spans and metrics of one connection or worker."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("headway")
        meter = metrics.get_meter("headway")
        self._duration = durations("messaging.process.duration", "Duration of processing one message or call.")
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages", unit="{message}", description="Messages handed to a handler."
        )
        self._buried = meter.create_counter(
            "headway.dead_letters", unit="{message}", description="Messages given up as dead letters."
        )
        self._published = meter.create_counter(
            "messaging.client.sent.messages", unit="{message}", description="Messages published and acknowledged."
        )
        self._client_duration = durations("rpc.client.duration", "Duration of calls, as their caller sees it.")
        self._inflight = meter.create_up_down_counter(
            "headway.inflight", unit="{message}", description="Messages and calls being processed."
        )

    @contextmanager
    def calling(self, service: str, operation: str, tenant: str, sent: dict[str, str]) -> Iterator[Span]:
        """Open a client span around a call and put its context into the headers to send."""
        attributes = {
            "rpc.system": _SYSTEM,
            "rpc.service": service,
            "rpc.method": operation,
            "headway.tenant": tenant,
        }
        with self._span(f"{service}/{operation}", SpanKind.CLIENT, attributes, _parent(sent)) as span:
            _inject(sent)
            yield span

    @contextmanager
    def publishing(self, subject: str, sent: dict[str, str], size: int) -> Iterator[Span]:
        """Open a producer span around a publish and put its context into the headers to send."""
        # The span name and the template leave the tenant out: the conventions ask for low cardinality.
        attributes = {
            "messaging.system": _SYSTEM,
            "messaging.operation.type": "send",
            "messaging.operation.name": "publish",
            "messaging.destination.name": subject,
            "messaging.destination.template": subjects.template(subject),
            "messaging.message.body.size": size,
        }
        with self._span(f"publish {subjects.template(subject)}", SpanKind.PRODUCER, attributes, _parent(sent)) as span:
            _inject(sent)
            yield span
            self._published.add(1, {"messaging.destination.template": subjects.template(subject)})

    @contextmanager
    def processing(
        self,
        kind: str,
        service: str,
        version: str,
        operation: str,
        tenant: str,
        received: Mapping[str, str] | None,
        attempt: int,
    ) -> Iterator[Span]:
        """Open a consumer (job, event) or server (rpc) span around a handler, as a child of the sender's span."""
        common = {
            "messaging.system": _SYSTEM,
            "headway.service": service,
            "headway.version": version,
            "headway.operation": operation,
        }
        attributes: dict[str, Any] = {
            **common,
            "messaging.operation.type": "process",
            "messaging.operation.name": kind,
            "messaging.consumer.group.name": f"{service}-{version}",
            "headway.tenant": tenant,
            "headway.attempt": attempt,
        }
        if kind == "rpc":
            attributes |= {"rpc.system": _SYSTEM, "rpc.service": service, "rpc.method": operation}
        span_kind = SpanKind.SERVER if kind == "rpc" else SpanKind.CONSUMER
        labels = {**common, "messaging.operation.name": kind}
        self._inflight.add(1, labels)
        self._consumed.add(1, labels)
        try:
            with self._span(f"process {service}/{operation}", span_kind, attributes, _parent(received), labels) as span:
                yield span
        finally:
            self._inflight.add(-1, labels)

    def buried(self, service: str, version: str, cause: str, count: int = 1) -> None:
        """Count dead letters. The operation is not recorded: senders can invent any number of names."""
        self._buried.add(count, {"headway.service": service, "headway.version": version, "headway.cause": cause})

    @contextmanager
    def _span(
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        parent: otel_context.Context | None,
        process_labels: dict[str, Any] | None = None,
    ) -> Iterator[Span]:
        began = time.perf_counter()
        failed = ""
        try:
            # Do not let the SDK record the exception: its text may contain another tenant's secrets.
            with self._tracer.start_as_current_span(
                name,
                context=parent,
                kind=kind,
                attributes=dict(attributes),
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                try:
                    yield span
                except BaseException as error:
                    failed = getattr(error, "code", type(error).__name__)
                    span.set_attribute("error.type", failed)
                    span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                    raise
        finally:
            took = time.perf_counter() - began
            extra = {"error.type": failed} if failed else {}
            if process_labels is not None:
                self._duration.record(took, {**process_labels, **extra})
            elif kind is SpanKind.CLIENT:
                labels = {k: attributes[k] for k in ("rpc.system", "rpc.service", "rpc.method")}
                self._client_duration.record(took, {**labels, **extra})


def _parent(received: Mapping[str, str] | None) -> otel_context.Context | None:
    """Return the trace context that a message carries; None keeps the current one."""
    if not received or "traceparent" not in received:
        return None
    if trace.get_current_span().get_span_context().is_valid:
        return None  # already inside a handler's span, whose parent the headers name
    return propagate.extract(dict(received))


def _inject(sent: dict[str, str]) -> None:
    propagate.inject(sent)
