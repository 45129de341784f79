"""What is found as a secret, what is not, and that nothing is left to find after redaction."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.evidence.secrets import REDACTED, find_secrets, redact

SECRET = (
    ("password=hunter2", "hunter2"),
    ("PGPASSWORD: hunter22", "hunter22"),
    (r'{"ansible_password": "a\"b c"}', r"a\"b c"),
    (r'{"cmd":"x \"password\": \"hunter2 z\" y"}', "hunter2 z"),
    ("conninfo = 'host=x password=abc user=y'", "=abc"),
    ("postgresql://app:pw0rd@10.0.0.1:5432/app", "pw0rd"),
    ("redis://:pw0rd@h", "pw0rd"),
    ("Authorization: Bearer abcdefghijkl", "abcdefghijkl"),
    ("authorization: Basic dTpw", "dTpw"),
    ("X-Auth-Token: gAAAAABabcdef", "gAAAAABabcdef"),
    ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "wJalr"),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\nabcdef\n-----END OPENSSH PRIVATE KEY-----", "abcdef"),
    ('"key":"-----BEGIN PRIVATE KEY-----\\nabcdef\\n-----END PRIVATE KEY-----\\n"', "abcdef"),
    ("-----BEGIN RSA PRIVATE KEY-----\nabcdef", "abcdef"),
    ("passwd=x9", "x9"),
    ("--token=abcdef", "abcdef"),
    ("SECRET_KEY: abc", "abc"),
    ("密码\uff1aabc", "abc"),
    ("口令: 中文密语", "中文密语"),
    ("ansible_become_pass: foo", "foo"),
    ("secret => abc", "abc"),
    ("os_password='x y'", "x y"),
    ("ghp_0123456789abcdefghijABCDEFGHIJ0123", "ghp_0"),
    ("SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy", "c2FsdA"),
)
HARMLESS = (
    "PWD=/root/x",
    "password_encryption=scram-sha-256",
    "password: [redacted]",
    '"password": null',
    "password=",
    '"token": false',
    "the password is asked",
    "token: ***",
    "http://h:80/x@y",
    "tokens: 12345",
    "token={{ vault_token }}",
    "password=$PGPASSWORD",
    '{"k":"w","i":"r.x.1.00000001","s":5000.1,"e":5000.2,"o":"ok","c":201,"n":"a"}',
    "mail to a@b",
    "ssh_host_key_rsa_public: AAAAB3NzaC1yc2E",
    "-----BEGIN PUBLIC KEY-----",
    "synchronous_standby_names='ANY 1 (b)'",
)


@pytest.mark.parametrize(("text", "secret"), SECRET)
def test_a_secret_is_found_and_taken_out(text: str, secret: str) -> None:
    assert secret in text
    assert next(iter(find_secrets(f"first\n{text}\nlast"))).line == 2
    clean = redact(f"first\n{text}\nlast")
    assert REDACTED in clean and secret not in clean
    assert clean.startswith("first\n")
    assert list(find_secrets(clean)) == []


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert list(find_secrets(text)) == []
    assert redact(text) == text


def test_a_finding_never_holds_the_secret() -> None:
    assert "hunter2" not in repr(list(find_secrets("password=hunter2")))


@given(st.lists(st.one_of(st.text(max_size=12), st.sampled_from([s for s, _ in SECRET])), max_size=6))
def test_nothing_is_left_to_find(parts: list[str]) -> None:
    clean = redact(" ".join(parts))
    assert list(find_secrets(clean)) == []
    assert redact(clean) == clean


@pytest.mark.parametrize(
    "text", ["a" * 500_000 + "key", "token=" * 50_000, 'password="' * 30_000, "://" + "a:" * 200_000, "pwd" * 200_000]
)
def test_no_text_makes_it_slow(text: str) -> None:
    text += base64.b64encode(b"\0\1\2\3" * 50_000).decode()
    begin = time.monotonic()
    redact(text)
    list(find_secrets(text))
    assert time.monotonic() - begin < 10
