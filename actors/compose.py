"""From configuration and a running exchange to what a session's actors are built from."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from actors.spec import SessionSpec
from don.books.config import features_needed, modules_needed, rows_needed, slots_name
from don.clock import NS_PER_MS, Clock, interval_ns
from don.config import DonConfig
from don.errors import ConfigError
from don.exchanges.ccxt_binance import BinanceGateway
from don.exchanges.config import GatewayConfig
from don.features.sets import FeatureSet
from don.feeds.config import FeedConfig
from don.model.instrument import Instrument
from don.model.messages import RULES, SessionStart
from don.paper.server.config import Ready
from don.paper.server.identity import load_api_keys
from don.security.secrets import Secret
from don.storage.database import Database


def gateway_config(config: DonConfig, ready: Ready) -> GatewayConfig:
    """Addresses and keys of the paper exchange.

    Raises:
        ConfigError: if the exchange has no such account.
    """
    keys = {key.account: key for key in load_api_keys(Path(ready.state_dir))}
    if config.account not in keys:
        raise ConfigError(
            f"account must be one of the exchange's ({', '.join(keys)}), was {config.account!r}"
        )
    key = keys[config.account]
    return GatewayConfig(
        rest_url=ready.rest_url,
        ws_url=ready.stream_url,
        ca_file=Path(ready.certificate),
        api_key=Secret(key.key),
        api_secret=Secret(key.secret),
    )


async def instruments(config: GatewayConfig, clock: Clock) -> list[Instrument]:
    """What the exchange lists, asked once before the actors start."""
    gateway = BinanceGateway(config, clock)
    try:
        return await gateway.instruments()
    finally:
        await gateway.close()


def session_spec(
    home: Path,
    database_url: Secret,
    session: str,
    config: DonConfig,
    ready: Ready,
    gateway: GatewayConfig,
    listed: Sequence[Instrument],
) -> SessionSpec:
    """Everything that the actors of a session need to know, the same for each of them."""
    names = {i.exchange_symbol: i.symbol for i in listed}
    symbols = config.symbols or tuple(names[name] for name in ready.symbols)
    needed = features_needed(config.policy, config.engine)
    modules = (*config.features.modules, *modules_needed(config.policy, config.engine))
    features = config.features.model_copy(
        update={
            "interval": ready.interval,
            "names": tuple(dict.fromkeys((*config.features.names, *needed))),
            "modules": tuple(dict.fromkeys(modules)),
            "rows": rows_needed(config.policy, config.engine),
        }
    )
    return SessionSpec(
        home=home,
        database_url=database_url,
        session=session,
        # Books made anew number their trades anew: they are another account, with its own journal.
        account=f"{config.account}-{ready.books}",
        symbols=symbols,
        interval_ns=interval_ns(ready.interval),
        config=config.model_copy(update={"features": features}),
        gateway=gateway.model_copy(update={"symbols": symbols}),
        feed=paper_feed(config, ready, symbols),
    )


def with_models(config: DonConfig, home: Path, db: Database, until: ExitStack) -> DonConfig:
    """The configuration with learned policies pinned to what they mean now.

    Args:
        config: of a session.
        home: its state folder.
        db: its database.
        until: it closes the models' files stay: their session is on record by then, or never is.

    Raises:
        UsageError, ConfigError, DataError: if a model is not there, or cannot trade here.
    """
    from don.learning.registry import Registry, store_of
    from don.learning.resolve import pinned

    store = store_of(home)
    registry = Registry(db, store)
    policy, engine = pinned(
        config.policy, config.engine, lambda: nullcontext(registry), store, until
    )
    return config.model_copy(update={"policy": policy, "engine": engine})


def has_models(db: Database) -> bool:
    """Whether the registry has an entry: else nobody needs what serves models."""
    with db.connection() as connection:
        return connection.execute("SELECT 1 FROM model_entry LIMIT 1").fetchone() is not None


def paper_feed(config: DonConfig, ready: Ready, symbols: tuple[str, ...]) -> FeedConfig:
    """The feed on the paper exchange."""
    return config.feed.model_copy(
        update={
            "symbols": symbols,
            "interval": ready.interval,
            "rest_url": ready.rest_url,
            "ws_url": ready.stream_url,
            "ca_file": Path(ready.certificate),
        }
    )


def first_entry(spec: SessionSpec, listed: Sequence[Instrument], now_ns: int) -> SessionStart:
    """The session's first journal entry, still without the state that the desk carries over."""
    told = spec.config.features
    features = FeatureSet(told.names, modules=told.modules)
    return SessionStart(
        key=f"start:{spec.session}",
        session=spec.session,
        account=spec.account,
        policy=slots_name(spec.config.policy, spec.config.engine),
        symbols=spec.symbols,
        instruments=tuple(i for i in listed if i.symbol in spec.symbols),
        interval_ns=spec.interval_ns,
        feature_set=features.hash,
        features=tuple(features.names),
        feature_config=spec.config.features.model_dump_json(),
        config=spec.config.engine.model_dump_json(),
        state="",
        ts_recv=now_ns,
        rules=RULES,
        market=_market(spec.config),
    )


def _market(config: DonConfig) -> str:
    """What the session is played from, so that it can be run again anywhere in the file system."""
    paper = config.paper
    files = tuple(file.absolute() for file in paper.tapes)
    funding = paper.funding.absolute() if paper.funding is not None else None
    exchange = paper.exchange.model_copy(update={"accounts": (config.account,)})
    return paper.model_copy(
        update={"tape": files or None, "funding": funding, "exchange": exchange}
    ).model_dump_json()


def session_view(spec: SessionSpec, listed: Sequence[Instrument], now_ns: int) -> dict[str, Any]:
    """What runs, for the board."""
    names = ("symbol", "exchange", "exchange_symbol", "base", "quote", "max_leverage")
    exact = ("tick_size", "lot_size", "min_size", "max_size", "min_notional")
    return {
        "session": spec.session,
        "account": spec.account,
        "policy": slots_name(spec.config.policy, spec.config.engine),
        "exchange": spec.feed.exchange,
        "mode": "paper",
        "symbols": list(spec.symbols),
        "interval_ns": spec.interval_ns,
        "ts_start": now_ns,
        "instruments": [
            {name: getattr(i, name) for name in names}
            | {name: str(getattr(i, name)) for name in (*exact, "maker_fee", "taker_fee")}
            for i in listed
            if i.symbol in spec.symbols
        ],
    }


def session_id(now_ns: int) -> str:
    """Nine characters of base 36 that sort by time: unique for one account, short in order ids."""
    digits, rest = "", now_ns // NS_PER_MS
    while rest:
        rest, digit = divmod(rest, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits.rjust(9, "0")


def ray_folder(home: Path) -> Path:
    """Where Ray keeps its sockets: short whatever the state folder is, one for each of them."""
    digest = hashlib.sha256(str(home).encode()).hexdigest()[:8]
    return Path(tempfile.gettempdir()) / f"don-{os.getuid()}-{digest}"
