"""What each handler of a service takes and gives, as JSON schemas that stand alone. For comparing versions."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import DataclassField, ModelField, TypedDictField

from headway.bus.service import Service


class _Replies(GenerateJsonSchema):
    """Fields with a default are always there in a reply: `headway.bus.wire.codec` leaves none out."""

    def field_is_required(
        self,
        field: ModelField | DataclassField | TypedDictField,
        total: bool,  # noqa: FBT001  # its name and type are pydantic's
    ) -> bool:
        if field["type"] == "typed-dict-field":
            return super().field_is_required(field, total)
        return field.get("serialization_exclude_if") is None


def schemas(service: Service) -> dict[str, dict[str, Any]]:
    """`{"rpc.status": {"input": ..., "output": ...}}`, and so on for "job.<operation>" and "on.<event type>"."""
    return {
        f"{handler.kind.value}.{handler.name}": {
            "input": handler.input.adapter.json_schema(mode="validation"),
            "output": handler.output.adapter.json_schema(mode="serialization", schema_generator=_Replies),
        }
        for handler in service.handlers
    }
