"""What trainings and studies keep: whole or not at all, and never what was there before."""

import os
from pathlib import Path

import pytest
from support.envs import market

from don.envs import EnvMarket
from don.errors import DataError
from experiments.durable import put
from experiments.rllib.market_file import read_market, write_market


def test_a_market_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, done, synced = tmp_path / "market.npz", os.fsync, []

    def sync(handle: int) -> None:
        synced.append((os.fstat(handle).st_ino, os.fstat(handle).st_size, path.exists()))
        done(handle)

    monkeypatch.setattr(os, "fsync", sync)
    write_market(market(30, 1), path)
    now = path.stat()
    assert synced[0] == (now.st_ino, now.st_size, False)  # then its name
    assert (synced[1][0], synced[1][2]) == (tmp_path.stat().st_ino, True) and len(synced) == 2


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    one, other, path = market(30, 1, seed=0), market(30, 1, seed=1), tmp_path / "market.npz"

    def read() -> EnvMarket:
        return read_market(str(path))

    write_market(one, path)
    assert read().hash == one.hash and read() is read()
    write_market(other, path)
    assert read().hash == other.hash
    path.write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read"):
        read()
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read()


def test_what_failed_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "told.json"
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match="half"), put(path) as file:
        file.write(b"aft")
        raise ValueError("half of it")
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["told.json"]
