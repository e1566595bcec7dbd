from __future__ import annotations

import pytest

from dynamod.schema.secrecy import is_secret_name, redact_text


@pytest.mark.parametrize(
    "name",
    [
        *("API_KEY", "HF_TOKEN", "token", "db.password", "AWS_SECRET_ACCESS_KEY", "my-secret", "apiKey", "accessToken"),
        *(
            "SSH_PRIVATE_KEY",
            "privateKey",
            "PGPASSWORD",
            "DB_PASS",
            "NPM_AUTH",
            "http.authorization",
            "GCP_CREDENTIALS",
        ),
    ],
)
def test_secret_names(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("MAX_TOKENS", "tokens", "KEYBOARD", "monkey", "tokenizer", "TOKENIZERS_PARALLELISM", "block_size", "author"),
        *("token_ids", "token_budget", "PATH", "COMPASS", "keys"),
    ],
)
def test_names_that_only_look_like_it(name: str) -> None:
    assert not is_secret_name(name)


def test_running_text_loses_its_secrets() -> None:
    text = redact_text(
        "Authorization: Bearer abcdefghijkl; HF_TOKEN=hf_123456 postgresql://me:hunter2@db/x max_tokens=512"
    )
    assert text == "Authorization: Bearer ***; HF_TOKEN=*** postgresql://me:***@db/x max_tokens=512"
    assert redact_text('{"api_key": "abcdef", "n": 1}') == '{"api_key": "***", "n": 1}'


@pytest.mark.parametrize(
    "text", ["exited with code 3", "waits for GPU 0: foreign: process 7 holds 4.5 GiB", "revision 1 -> 2", "", "a: b"]
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert redact_text(text) == text
