"""What servers that run elsewhere are given: `headway init`."""

import json
import re

import pytest
from click.testing import CliRunner

from headway.broker.claims import Account, decode
from headway.broker.identity import Identities
from headway.commands.init import init

THREE = ("--node", "n1=east", "--node", "n2=west", "--node", "n3=south")


@pytest.fixture
def made(tmp_path):
    def run(*arguments):
        return CliRunner().invoke(init, ["--dir", str(tmp_path / "keys"), "--out", str(tmp_path), *arguments])

    return run


def config(tmp_path, name):
    return json.loads((tmp_path / name / "server.json").read_text())


def test_one_server_stands_alone(tmp_path, made):
    assert made("--node", "nats").exit_code == 0
    found = config(tmp_path, "nats")
    assert "cluster" not in found
    assert "server_tags" not in found
    assert found["jetstream"]["store_dir"] == str(tmp_path / "nats" / "data")
    assert found["port"] == 4222


def test_several_are_a_cluster_over_tls_with_copies_in_different_zones(tmp_path, made):
    assert made(*THREE, "--home", "/node").exit_code == 0
    found = config(tmp_path, "n2")
    assert found["cluster"]["routes"] == ["nats://n1:6222", "nats://n3:6222"]
    assert found["cluster"]["advertise"] == "n2:6222", "called by its address, its certificate is not believed"
    assert found["cluster"]["tls"]["verify"] is True
    assert found["cluster"]["tls"]["key_file"] == "/node/tls/server.key"
    assert found["server_tags"] == ["az:west"]
    assert found["jetstream"]["unique_tag"] == "az:"


def test_a_server_gets_no_secret_of_the_installation(tmp_path, made):
    made(*THREE)
    given = "".join(path.read_text() for path in (tmp_path / "n1").rglob("*") if path.is_file())
    assert not re.search(r"\bS[ACNOUX][A-Z2-7]{56}\b", given), "a seed"
    assert (tmp_path / "keys" / "tls" / "ca.key").read_text() not in given
    assert not [path for path in (tmp_path / "n1").rglob("*") if path.stat().st_mode & 0o077]


def test_done_again_it_keeps_keys_and_certificates(tmp_path, made):
    def files():
        names = ("keys/keys.json", "keys/creds/operator.creds", "n1/tls/server.crt", "n1/tls/server.key")
        return [(tmp_path / name).read_bytes() for name in names]

    made(*THREE)
    before = files()
    assert made(*THREE).exit_code == 0
    assert files() == before


def test_a_certificate_that_does_not_hold_is_made_anew(tmp_path, made):
    made(*THREE)
    (tmp_path / "n1/tls/server.crt").write_bytes((tmp_path / "n2/tls/server.crt").read_bytes())
    made(*THREE)
    assert (tmp_path / "n1/tls/server.crt").read_bytes() != (tmp_path / "n2/tls/server.crt").read_bytes()


def test_its_tokens_count_less_than_any_that_was_pushed(tmp_path, made):
    made("--node", "nats")
    account = Identities.create_or_load(tmp_path / "keys").account
    token = decode(config(tmp_path, "nats")["resolver_preload"][account], Account)
    assert token.iat == 1


@pytest.mark.parametrize(
    "arguments", [("--node", "n1", "--node", "n1=east"), ("--node", "N_1"), ("--node", "n1="), ("--home", "/node")]
)
def test_what_cannot_be_meant_is_refused(made, arguments):
    result = made(*arguments)
    assert result.exit_code
    assert type(result.exception).__name__ in {"UsageError", "InvalidSubject"}


def test_websockets_are_compressed_where_that_is_wanted_only(tmp_path, made):
    made("--node", "nats")
    assert config(tmp_path, "nats")["websocket"]["compression"] is False
    made("--node", "nats", "--websocket-compression")
    assert config(tmp_path, "nats")["websocket"]["compression"] is True


def test_strict_durability_is_written_down(tmp_path, made):
    made("--node", "nats", "--durability", "strict")
    assert config(tmp_path, "nats")["jetstream"]["sync_interval"] == "always"


def test_an_installation_of_the_version_before_is_upgraded_with_one_line_about_it(tmp_path, made):
    made("--node", "nats")
    keys = tmp_path / "keys" / "keys.json"
    younger = json.loads(keys.read_text())
    del younger["clients"]
    keys.write_text(json.dumps(younger))
    keys.with_name("keys.sha256").unlink()
    assert "older credentials of the role client are refused" in made("--node", "nats").output
    assert "refused" not in made("--node", "nats").output
    identities = Identities.create_or_load(tmp_path / "keys")
    known = config(tmp_path, "nats")["resolver_preload"]
    clients = decode(known[identities.clients], Account)
    assert clients.iss == identities.operator
    assert [(one.subject, one.type) for one in clients.nats.exports] == [("rpc.*.*.*.*", "stream")]
