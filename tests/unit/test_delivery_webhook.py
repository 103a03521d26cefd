"""Callbacks against a real HTTP server that verifies, refuses, redirects, hangs and resets."""

import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from standardwebhooks import Webhook, WebhookVerificationError
from tests.receiver import receiving

from darkroom.delivery import webhook
from darkroom.delivery.webhook import body_of, check_secrets, deliver, message_id
from darkroom.errors import BadRequest, CallbackGone, HostNotAllowed, NotDelivered

SECRET = "whsec_" + "c2VjcmV0" * 4
EVENT = {"type": "batch.completed", "timestamp": "2030-01-01T00:00:00Z", "data": {"batch_id": "ü\u2028"}}
HERE = ["127.0.0.1"]


def certificate_for(name, folder):
    """The files of a key and of a certificate that it signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    files = folder / "key.pem", folder / "certificate.pem"
    files[0].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    files[1].write_bytes(certificate.public_bytes(pem))
    return files


@pytest.fixture
def receiver():
    with receiving() as server:
        yield server


def test_a_receiver_verifies_what_it_gets_with_the_library(receiver):
    assert deliver(receiver.url, "msg_1", EVENT, SECRET, HERE) == 204
    (headers, body), = receiver.got  # fmt: skip
    assert Webhook(SECRET).verify(body, headers) == EVENT
    assert headers["webhook-id"] == "msg_1"
    assert headers["Host"] == f"127.0.0.1:{receiver.server_port}"
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "b3RoZXI=" * 4).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace(b"completed", b"cancelled"), headers)


def test_while_one_secret_replaces_the_other_a_receiver_may_have_either(receiver):
    new = "whsec_" + "bmV3LS0t" * 4
    deliver(receiver.url, "msg_1", EVENT, f"{SECRET} {new}", HERE)
    headers, body = receiver.got[0]
    for secret in (SECRET, new):
        assert Webhook(secret).verify(body, headers) == EVENT


@pytest.mark.parametrize(
    "secret",
    ["", " ", "hush", "whsec_", "whsec_c2hvcnQ=", SECRET[6:], f"whsec_!!!!{SECRET[6:]}", f"{SECRET} x"],
)
def test_what_is_no_secret_is_refused_and_not_shown(secret):
    with pytest.raises(BadRequest) as caught:
        check_secrets(secret)
    assert not secret.removeprefix("whsec_").strip() or secret not in str(caught.value)
    check_secrets(SECRET)


def test_every_try_sends_the_same_id_and_the_same_bytes_signed_anew(receiver):
    receiver.answers = [503, 500, 200]
    for _ in range(2):
        with pytest.raises(NotDelivered, match="answers 50"):
            deliver(receiver.url, "msg_1", EVENT, SECRET, HERE)
    deliver(receiver.url, "msg_1", EVENT, SECRET, HERE)
    assert {headers["webhook-id"] for headers, _ in receiver.got} == {"msg_1"}
    assert {body for _, body in receiver.got} == {body_of(EVENT)}
    for headers, body in receiver.got:
        Webhook(SECRET).verify(body, headers)
        assert abs(int(headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 60


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(receiver, status):
    receiver.answers = [status]
    with pytest.raises(NotDelivered, match=f"answers {status}"):
        deliver(receiver.url, "msg_1", EVENT, SECRET, HERE)
    assert len(receiver.got) == 1


def test_gone_is_for_good(receiver):
    receiver.answers = [410]
    with pytest.raises(CallbackGone) as caught:
        deliver(receiver.url, "msg_1", EVENT, SECRET, HERE)
    assert not caught.value.retryable


@pytest.mark.parametrize("answer", ["hang", "reset"])
def test_a_receiver_that_hangs_or_resets_is_tried_later(receiver, answer, monkeypatch):
    monkeypatch.setattr(webhook, "ANSWER_S", 0.2)
    receiver.answers = [answer]
    with pytest.raises(NotDelivered) as caught:
        deliver(receiver.url, "msg_1", EVENT, SECRET, HERE)
    assert caught.value.retryable


def test_an_answer_without_end_is_not_read(receiver):
    receiver.answers = ["endless"]
    assert deliver(receiver.url, "msg_1", EVENT, SECRET, HERE) == 200


def test_nobody_there_is_tried_later(receiver):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}/"
    with pytest.raises(NotDelivered, match="ConnectError"):
        deliver(nobody, "msg_1", EVENT, SECRET, HERE)


def test_what_follows_the_question_mark_is_in_no_message(receiver):
    receiver.answers = [500, 410]
    for _ in range(2):
        with pytest.raises((NotDelivered, CallbackGone)) as caught:
            deliver(receiver.url, "msg_1", EVENT, SECRET, HERE)
        assert "hush" not in str(caught.value)


def test_nothing_is_sent_to_a_host_that_is_not_allowed(receiver):
    with pytest.raises(HostNotAllowed):
        deliver(receiver.url, "msg_1", EVENT, SECRET, ["localhost"])
    assert receiver.got == []


def test_a_proxy_of_the_environment_is_not_asked(receiver, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert deliver(receiver.url, "msg_1", EVENT, SECRET, HERE) == 204


def test_a_second_answer_of_dns_changes_nothing(receiver, monkeypatch):
    """DNS rebinding: the name leads elsewhere as soon as it was checked."""
    real, asked = socket.getaddrinfo, []

    def getaddrinfo(host, port, *args, **kwargs):
        if host == "hooks.example":
            asked.append(host)
            host = "127.0.0.1" if len(asked) == 1 else "127.0.0.99"
        return real(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    url = f"http://hooks.example:{receiver.server_port}/"
    assert deliver(url, "msg_1", EVENT, SECRET, ["hooks.example", "127.0.0.1"]) == 204
    assert asked == ["hooks.example"]
    assert receiver.got[0][0]["Host"] == f"hooks.example:{receiver.server_port}"


def test_over_https_the_certificate_is_that_of_the_name_not_of_the_address(receiver, monkeypatch, tmp_path):
    key, certificate = certificate_for("hooks.example", tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **more: real("127.0.0.1", *rest, **more))
    allowed = ["hooks.example", "other.example", "127.0.0.1"]
    with pytest.raises(NotDelivered, match="CERTIFICATE_VERIFY_FAILED"):
        deliver(f"https://hooks.example:{receiver.server_port}/", "msg_1", EVENT, SECRET, allowed)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert deliver(f"https://hooks.example:{receiver.server_port}/", "msg_1", EVENT, SECRET, allowed) == 204
    with pytest.raises(NotDelivered, match="CERTIFICATE_VERIFY_FAILED"):
        deliver(f"https://other.example:{receiver.server_port}/", "msg_1", EVENT, SECRET, allowed)


def test_ids_differ_where_anything_does():
    ids = {message_id("b1", "batch.completed", "t1"), message_id("b1", "batch.late", "t1"),
           message_id("b1batch", ".late", "t1"), message_id("b2", "batch.completed", "t1")}  # fmt: skip
    assert len(ids) == 4
    assert message_id("b1", "batch.completed", "t1") in ids
