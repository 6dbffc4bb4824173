"""Self-contained JSON schemas of each handler's input and output, used to compare versions."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import DataclassField, ModelField, TypedDictField

from headway.bus.service import Service


class _Replies(GenerateJsonSchema):
    """Mark fields with a default as required in replies: `headway.bus.wire.codec` always sends them."""

    def field_is_required(
        self,
        field: ModelField | DataclassField | TypedDictField,
        total: bool,  # noqa: FBT001  # pydantic's signature
    ) -> bool:
        if field["type"] == "typed-dict-field":
            return super().field_is_required(field, total)
        return field.get("serialization_exclude_if") is None


def schemas(service: Service) -> dict[str, dict[str, Any]]:
    """Return the schemas of all handlers: `{"rpc.status": {"input": ..., "output": ...}, "job.send": ...}`.

    Keys are "rpc.<operation>", "job.<operation>" and "on.<event type>".
    """
    return {
        f"{handler.kind.value}.{handler.name}": {
            "input": handler.input.adapter.json_schema(mode="validation"),
            "output": handler.output.adapter.json_schema(mode="serialization", schema_generator=_Replies),
        }
        for handler in service.handlers
    }
