"""Orders, trades, positions and accounts as the exchange writes them in JSON. Pure.

Every function gives plain dictionaries, with the exchange's own field names. Amounts keep every
digit, so that a client's books can agree with the exchange's to the last one.
"""

from decimal import Decimal
from typing import Any

from don.model.instrument import Instrument
from don.model.order import Side
from don.paper.config import PaperConfig
from don.paper.events import AccountUpdate, LeverageUpdate, OrderUpdate
from don.paper.server.text import average, ms, number
from don.paper.types import (
    AccountState,
    AccountTrade,
    Income,
    OrderKind,
    OrderState,
    PositionState,
    Status,
)

Json = dict[str, Any]
UNBOUNDED = "9223372036854775807"  # no notional cap is modelled
_PROTOCOL_KIND = {OrderKind.LIQUIDATION: "LIMIT"}  # the exchange shows its own orders as limit IOC


def _kind(order: OrderState) -> str:
    return _PROTOCOL_KIND.get(order.kind, order.kind.value)


def order(state: OrderState) -> Json:
    """Answer of the order queries."""
    answer: Json = {
        "orderId": state.order_id,
        "symbol": state.symbol,
        "status": state.status.value,
        "clientOrderId": state.client_order_id,
        "price": number(state.price),
        "avgPrice": average(state.average),
        "origQty": number(state.size),
        "executedQty": number(state.filled),
        "cumQuote": number(state.quote),
        "timeInForce": state.time_in_force.value,
        "type": _kind(state),
        "reduceOnly": state.reduce_only,
        "closePosition": state.close_position,
        "side": state.side.name,
        "positionSide": "BOTH",
        "stopPrice": "0",
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": state.origin or _kind(state),
        "priceMatch": "NONE",
        "selfTradePreventionMode": "NONE",
        "goodTillDate": ms(state.good_till),
        "time": ms(state.ts_created),
        "updateTime": ms(state.ts_updated),
    }
    return answer | {"rm": state.reason} if state.reason else answer


def placed(state: OrderState, *, result: bool) -> Json:
    """Answer to a new order: with `result` what became of it, else only that it was taken."""
    answer = order(state)
    del answer["time"]
    answer["cumQty"] = answer["executedQty"]
    if not result:
        answer |= {
            "status": Status.NEW.value,
            "avgPrice": "0.00",
            "executedQty": "0",
            "cumQty": "0",
            "cumQuote": "0",
            "updateTime": ms(state.ts_created),
        }
    return answer


def trade(fill: AccountTrade) -> Json:
    """An entry of `userTrades`."""
    return {
        "symbol": fill.symbol,
        "id": fill.id,
        "orderId": fill.order_id,
        "side": fill.side.name,
        "price": number(fill.price),
        "qty": number(fill.size),
        "realizedPnl": number(fill.realized),
        "quoteQty": number(fill.quote),
        "commission": number(fill.fee),
        "commissionAsset": fill.fee_asset,
        "time": ms(fill.ts),
        "positionSide": "BOTH",
        "buyer": fill.side is Side.BUY,
        "maker": fill.maker,
    }


def income(row: Income) -> Json:
    """An entry of `income`."""
    return {
        "symbol": row.symbol,
        "incomeType": row.kind.value,
        "income": number(row.amount),
        "asset": row.asset,
        "info": row.info or row.kind.value,
        "time": ms(row.ts),
        "tranId": row.tran_id,
        "tradeId": "" if row.trade_id is None else str(row.trade_id),
    }


def position_risk(position: PositionState, asset: str, *, v2: bool) -> Json:
    """An entry of `positionRisk`, version 2 or 3."""
    entry: Json = {
        "symbol": position.symbol,
        "positionSide": "BOTH",
        "positionAmt": number(position.size),
        "entryPrice": number(position.entry_price),
        "breakEvenPrice": number(position.entry_price),
        "markPrice": number(position.mark),
        "unRealizedProfit": number(position.unrealized),
        "liquidationPrice": number(position.liquidation_price),
        "isolatedMargin": "0",
        "notional": number(position.notional),
        "isolatedWallet": "0",
        "updateTime": ms(position.ts_updated),
    }
    if v2:
        return entry | {
            "leverage": str(position.leverage),
            "maxNotionalValue": UNBOUNDED,
            "marginType": "cross",
            "isAutoAddMargin": "false",
            "isolated": False,
        }
    return entry | {
        "marginAsset": asset,
        "initialMargin": number(position.initial_margin),
        "maintMargin": number(position.maintenance_margin),
        "positionInitialMargin": number(position.position_margin),
        "openOrderInitialMargin": number(position.order_margin),
        "adl": 0,
        "bidNotional": "0",
        "askNotional": "0",
    }


def account_position(position: PositionState, *, v2: bool) -> Json:
    """A position within `account`, version 2 or 3."""
    entry: Json = {
        "symbol": position.symbol,
        "positionSide": "BOTH",
        "positionAmt": number(position.size),
        "unrealizedProfit": number(position.unrealized),
        "isolatedMargin": "0",
        "notional": number(position.notional),
        "isolatedWallet": "0",
        "initialMargin": number(position.initial_margin),
        "maintMargin": number(position.maintenance_margin),
        "updateTime": ms(position.ts_updated),
    }
    if v2:
        entry |= {
            "leverage": str(position.leverage),
            "entryPrice": number(position.entry_price),
            "breakEvenPrice": number(position.entry_price),
            "positionInitialMargin": number(position.position_margin),
            "openOrderInitialMargin": number(position.order_margin),
            "isolated": False,
            "maxNotional": UNBOUNDED,
            "bidNotional": "0",
            "askNotional": "0",
        }
    return entry


def held(state: AccountState) -> list[PositionState]:
    """Positions that version 3 answers show: those with a size or with orders."""
    return [p for p in state.positions if p.size or p.order_margin]


def account(state: AccountState, *, v2: bool) -> Json:
    """Answer of `account`, version 2 or 3."""
    sums = {
        "initialMargin": number(state.initial_margin),
        "maintMargin": number(state.maintenance_margin),
        "walletBalance": number(state.wallet),
        "unrealizedProfit": number(state.unrealized),
        "marginBalance": number(state.margin_balance),
        "positionInitialMargin": number(state.position_margin),
        "openOrderInitialMargin": number(state.order_margin),
        "crossWalletBalance": number(state.wallet),
        "crossUnPnl": number(state.unrealized),
    }
    free = {
        "availableBalance": number(state.available),
        "maxWithdrawAmount": number(state.max_withdraw),
    }
    asset = {"asset": state.asset, **sums, **free, "updateTime": ms(state.ts)}
    answer: Json = {f"total{name[0].upper()}{name[1:]}": value for name, value in sums.items()}
    answer |= free
    if v2:
        asset["marginAvailable"] = True
        answer |= {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": True,
            "canWithdraw": True,
            "feeBurn": False,
            "tradeGroupId": -1,
            "updateTime": 0,
            "multiAssetsMargin": False,
        }
    shown = state.positions if v2 else held(state)
    answer["assets"] = [asset]
    answer["positions"] = [account_position(p, v2=v2) for p in shown]
    return answer


def balance(state: AccountState) -> Json:
    """An entry of `balance`."""
    return {
        "accountAlias": state.account,
        "asset": state.asset,
        "balance": number(state.wallet),
        "crossWalletBalance": number(state.wallet),
        "crossUnPnl": number(state.unrealized),
        "availableBalance": number(state.available),
        "maxWithdrawAmount": number(state.max_withdraw),
        "marginAvailable": True,
        "updateTime": ms(state.ts),
    }


def leverage_bracket(instrument: Instrument, config: PaperConfig) -> Json:
    """An entry of `leverageBracket`: one tier without a cap."""
    return {
        "symbol": instrument.exchange_symbol,
        "brackets": [
            {
                "bracket": 1,
                "initialLeverage": instrument.max_leverage,
                "notionalCap": int(UNBOUNDED),
                "notionalFloor": 0,
                "maintMarginRatio": float(config.maintenance_rate),
                "cum": 0,
            }
        ],
    }


def symbol_config(position: PositionState) -> Json:
    """An entry of `symbolConfig`."""
    return {
        "symbol": position.symbol,
        "marginType": "CROSSED",
        "isAutoAddMargin": False,
        "leverage": position.leverage,
        "maxNotionalValue": UNBOUNDED,
    }


# ---- user-data stream ----------------------------------------------------------------------------


def order_event(update: OrderUpdate) -> Json:
    """ORDER_TRADE_UPDATE."""
    state, fill = update.order, update.trade
    zero = "0"
    body: Json = {
        "s": state.symbol,
        "c": state.client_order_id,
        "S": state.side.name,
        "o": _kind(state) if state.kind is not OrderKind.LIQUIDATION else "LIQUIDATION",
        "f": state.time_in_force.value,
        "q": number(state.size),
        "p": number(state.price),
        "ap": average(state.average),
        "sp": zero,
        "x": update.execution.value,
        "X": state.status.value,
        "i": state.order_id,
        "l": number(fill.size) if fill else zero,
        "z": number(state.filled),
        "L": number(fill.price) if fill else zero,
        "T": ms(fill.ts if fill else update.ts),
        "t": fill.id if fill else 0,
        "b": zero,
        "a": zero,
        "m": bool(fill and fill.maker),
        "R": state.reduce_only,
        "wt": "CONTRACT_PRICE",
        "ot": state.origin or _kind(state),
        "ps": "BOTH",
        "cp": state.close_position,
        "rp": number(fill.realized) if fill else zero,
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": "NONE",
        "pm": "NONE",
        "gtd": ms(state.good_till),
    }
    if fill:
        body |= {"N": fill.fee_asset, "n": number(fill.fee)}
    if state.reason:
        body["rm"] = state.reason
    return {"e": "ORDER_TRADE_UPDATE", "E": ms(update.ts), "T": ms(update.ts), "o": body}


def account_event(update: AccountUpdate) -> Json:
    """ACCOUNT_UPDATE."""
    wallet = number(update.wallet)
    return {
        "e": "ACCOUNT_UPDATE",
        "E": ms(update.ts),
        "T": ms(update.ts),
        "a": {
            "m": update.reason.value,
            "B": [{"a": update.asset, "wb": wallet, "cw": wallet, "bc": number(update.change)}],
            "P": [
                {
                    "s": p.symbol,
                    "pa": number(p.size),
                    "ep": number(p.entry_price),
                    "bep": number(p.entry_price),
                    "cr": number(p.realized),
                    "up": number(p.unrealized),
                    "mt": "cross",
                    "iw": "0",
                    "ps": "BOTH",
                }
                for p in update.positions
            ],
        },
    }


def leverage_event(update: LeverageUpdate) -> Json:
    """ACCOUNT_CONFIG_UPDATE."""
    return {
        "e": "ACCOUNT_CONFIG_UPDATE",
        "E": ms(update.ts),
        "T": ms(update.ts),
        "ac": {"s": update.symbol, "l": update.leverage},
    }


def expired_event(listen_key: str, ts_ns: int) -> Json:
    """The message `listenKeyExpired`."""
    return {"e": "listenKeyExpired", "E": ms(ts_ns), "listenKey": listen_key}


def commission_rate(instrument: Instrument) -> Json:
    """Answer of `commissionRate`."""
    return {
        "symbol": instrument.exchange_symbol,
        "makerCommissionRate": number(instrument.maker_fee),
        "takerCommissionRate": number(instrument.taker_fee),
        "rpiCommissionRate": number(Decimal(0)),
    }
