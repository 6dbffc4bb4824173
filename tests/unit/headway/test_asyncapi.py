"""The AsyncAPI document of a service, checked against the specification's own schema."""

import gzip
import json
from pathlib import Path

import jsonschema
import pytest

from headway.asyncapi import document
from headway.bus.worker.runner import load

SCHEMA = json.loads(gzip.decompress((Path(__file__).parent / "asyncapi-3.0.0.json.gz").read_bytes()))


@pytest.mark.parametrize(
    "app", ["headway.services.calls:calls", "headway.services.fax:fax", "headway.services.voicemail:voicemail"]
)
def test_the_document_of_a_reference_service_follows_the_specification(app):
    found = json.loads(json.dumps(document(load(app), version="v2", url="127.0.0.1:4222")))
    jsonschema.Draft7Validator(SCHEMA).validate(found)
    assert found["info"]["version"] == "v2"


def test_every_handler_is_an_operation_at_the_publishers_subject():
    service = load("headway.services.voicemail:voicemail")
    found = document(service)
    assert len(found["operations"]) == len(service.handlers)
    assert found["channels"]["job.deposit"]["address"] == "job.voicemail.{tenant}.deposit"
    assert found["channels"]["rpc.list"]["address"] == "rpc.voicemail.{tenant}.list"
    assert found["channels"]["on.call.missed"]["address"] == "event.{tenant}.call.missed"


def test_calls_have_a_reply_and_errors_and_jobs_have_their_retries():
    found = document(load("headway.services.fax:fax"))
    reply = found["operations"]["rpc.status"]["reply"]
    assert {"$ref": "#/channels/rpc.status.reply/messages/error"} in reply["messages"]
    assert found["operations"]["job.send"]["x-headway-retry"]["attempts"] == 6
    assert "reply" not in found["operations"]["job.send"]


def test_payloads_refer_to_schemas_that_are_there():
    found = document(load("headway.services.fax:fax"))
    text = json.dumps(found)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in found["components"]["schemas"]
