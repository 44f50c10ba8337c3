"""Backtest results on disk: one JSON document, exact, or a folder of Parquet tables. Does I/O."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from don.backtest.result import FORMAT, BacktestResult
from don.backtest.summary import summary
from don.errors import DataError
from don.model import codec

DOCUMENT = "result.json"
EXACT = pa.decimal128(38, 18)


def save(result: BacktestResult, path: Path, *, tables: bool = False) -> Path:
    """Write a result.

    Args:
        result: what to write.
        path: a file ending in `.json`, or a folder, which then holds `result.json`.
        tables: also write fills, orders, funding and equity as Parquet into the folder.

    Returns:
        The document written. It is replaced in one step: a crash leaves the old one.
    """
    folder = path.parent if path.suffix == ".json" else path
    folder.mkdir(parents=True, exist_ok=True)
    document = path if path.suffix == ".json" else folder / DOCUMENT
    draft = document.with_suffix(".new")
    draft.write_bytes(codec.encode(result))
    draft.replace(document)
    if tables:
        for name, table in _tables(result).items():
            pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
    return document


def load(path: Path) -> BacktestResult:
    """Read a result; equal to the one that was saved, digest included.

    Raises:
        DataError: if there is none, or it cannot be read as one.
    """
    document = path if path.suffix == ".json" else path / DOCUMENT
    try:
        result = codec.decode_as(BacktestResult, document.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"backtest result {document} does not exist") from error
    except (OSError, ValueError) as error:
        raise DataError(f"backtest result {document} cannot be read: {error}") from error
    if result.format != FORMAT:
        raise DataError(
            f"backtest result {document} has format {result.format}, this version reads {FORMAT}"
        )
    return result


def _tables(result: BacktestResult) -> dict[str, pa.Table]:
    fills = [
        {
            "trade_id": fill.trade_id, "client_order_id": fill.client_order_id,
            "symbol": fill.symbol, "side": str(fill.side), "price": fill.price, "size": fill.size,
            "fee": fill.fee, "realized_pnl": fill.realized_pnl, "maker": fill.maker,
            "ts_event": fill.ts_event,
        }
        for fill in result.fills
    ]  # fmt: skip
    orders: list[dict[str, Any]] = [
        {
            "client_order_id": one.order.client_order_id, "decision": one.order.decision,
            "symbol": one.order.symbol, "side": str(one.order.side), "type": str(one.order.type),
            "size": one.order.size, "price": one.order.price, "status": str(one.status),
            "filled": one.filled, "detail": one.detail, "ts_event": one.order.ts_event,
        }
        for one in result.orders
    ]  # fmt: skip
    funding = [
        {"key": one.key, "symbol": one.symbol, "amount": one.amount, "ts_event": one.ts_event}
        for one in result.funding
    ]
    text, stamp = pa.string(), pa.int64()
    return {
        "fills": pa.Table.from_pylist(
            fills,
            pa.schema(
                [
                    ("trade_id", text), ("client_order_id", text), ("symbol", text), ("side", text),
                    ("price", EXACT), ("size", EXACT), ("fee", EXACT), ("realized_pnl", EXACT),
                    ("maker", pa.bool_()), ("ts_event", stamp),
                ]
            ),
        ),
        "orders": pa.Table.from_pylist(
            orders,
            pa.schema(
                [
                    ("client_order_id", text), ("decision", stamp), ("symbol", text),
                    ("side", text), ("type", text), ("size", EXACT), ("price", EXACT),
                    ("status", text), ("filled", EXACT), ("detail", text), ("ts_event", stamp),
                ]
            ),
        ),
        "funding": pa.Table.from_pylist(
            funding,
            pa.schema([("key", text), ("symbol", text), ("amount", EXACT), ("ts_event", stamp)]),
        ),
        "equity": pa.table({"ts_event": result.equity_ts, "equity": result.equity}),
        "summary": pa.table({"summary": [_json(summary(result))]}),
    }  # fmt: skip


def _json(value: Any) -> str:
    return codec.encode(value).decode()
