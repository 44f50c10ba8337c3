"""Secrets that nothing prints, in files that nobody else reads."""

import copy
import json
import pickle
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from don.errors import ConfigError
from don.model.section import Section
from don.security.secrets import Secret, ensure_token, new_token, read_secret, write_secret

TEXTS = st.text(min_size=6).map(lambda text: f"<{text}>")


@given(TEXTS)
def test_no_rendering_shows_the_text(text: str) -> None:
    secret = Secret(text)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", f"{secret:>40}"]
    shown += ["%s %r" % (secret, secret), repr([secret]), str({"key": secret}), repr((secret,))]  # noqa: UP031
    assert all(text not in rendering for rendering in shown)
    for refused in (lambda: json.dumps(secret), lambda: "".join(secret), lambda: secret + ""):  # type: ignore[arg-type,operator]
        with pytest.raises(TypeError) as caught:
            refused()
        assert text not in str(caught.value)


@given(TEXTS, TEXTS)
def test_it_behaves_as_a_value(one: str, other: str) -> None:
    secret = Secret(one)
    assert secret.reveal() == one == Secret(secret).reveal()
    assert pickle.loads(pickle.dumps(secret)) == copy.deepcopy(secret) == secret
    assert (secret == Secret(other)) == (one == other)
    assert secret != one and {secret: 1}[Secret(one)] == 1
    assert secret and not Secret("")


def test_configuration_takes_and_hides_it() -> None:
    class Keys(Section):
        api: Secret

    keys = Keys(api="hunter2")  # type: ignore[arg-type]
    assert keys.api.reveal() == "hunter2"
    assert "hunter2" not in f"{keys!r} {keys.model_dump_json()}"
    with pytest.raises(ValueError, match="must be text"):
        Keys(api=7)  # type: ignore[arg-type]


def test_file_is_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "state" / "token"
    token = new_token()
    write_secret(path, token)
    write_secret(path, token)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_secret(path) == token
    assert [found.name for found in path.parent.iterdir()] == ["token"]


def test_racing_starts_agree_on_one_token(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ensure_token(tmp_path / "token"), range(16)))
    assert len({token for token, _ in answers}) == 1
    assert [made for _, made in answers].count(True) == 1
    assert [found.name for found in tmp_path.iterdir()] == ["token"]


@pytest.mark.parametrize(
    ("text", "mode", "problem"),
    [("abc", 0o644, "readable by its owner only"), ("", 0o600, "is empty")],
)
def test_unsafe_file_is_refused(tmp_path: Path, text: str, mode: int, problem: str) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=problem):
        ensure_token(path)
    with pytest.raises(ConfigError, match="cannot read a secret"):
        read_secret(tmp_path / "none")
