"""Conditional orders as the exchange writes them in JSON. Pure."""

from typing import Any

from don.paper.algo import AlgoState
from don.paper.events import AlgoUpdate
from don.paper.server.text import average, ms, number
from don.paper.types import OrderState

Json = dict[str, Any]


def algo(state: AlgoState, order: OrderState | None) -> Json:
    """Answer to a new conditional order and to the queries; `order` is what it became, if known."""
    answer: Json = {
        "algoId": state.algo_id,
        "clientAlgoId": state.client_algo_id,
        "algoType": "CONDITIONAL",
        "orderType": state.kind.value,
        "symbol": state.symbol,
        "side": state.side.name,
        "positionSide": "BOTH",
        "timeInForce": state.time_in_force.value,
        "quantity": number(state.size),
        "algoStatus": state.status.value,
        "actualOrderId": str(state.order_id) if state.order_id else "",
        "actualPrice": average(order.average) if order else "0.00000",
        "actualQty": number(order.filled) if order else "0",
        "triggerPrice": number(state.trigger),
        "price": number(state.price),
        "icebergQuantity": None,
        "selfTradePreventionMode": "NONE",
        "workingType": state.working.value,
        "priceMatch": "NONE",
        "closePosition": state.close_position,
        "priceProtect": False,
        "reduceOnly": state.reduce_only,
        "createTime": ms(state.ts_created),
        "updateTime": ms(state.ts_updated),
        "triggerTime": ms(state.ts_triggered),
        "goodTillDate": ms(state.good_till),
    }
    if state.callback:
        answer |= {
            "activatePrice": number(state.activate),
            "callbackRate": number(state.callback),
        }
    return answer | {"rm": state.reason} if state.reason else answer


def cancelled(state: AlgoState) -> Json:
    """Answer to a cancel."""
    return {
        "algoId": state.algo_id,
        "clientAlgoId": state.client_algo_id,
        "code": "200",
        "msg": "success",
    }


def algo_event(update: AlgoUpdate) -> Json:
    """ALGO_UPDATE."""
    state, order = update.algo, update.order
    body: Json = {
        "caid": state.client_algo_id,
        "aid": state.algo_id,
        "at": "CONDITIONAL",
        "o": state.kind.value,
        "s": state.symbol,
        "S": state.side.name,
        "ps": "BOTH",
        "f": state.time_in_force.value,
        "q": number(state.size),
        "X": state.status.value,
        "ai": str(state.order_id) if state.order_id else "",
        "ap": average(order.average) if order else "0.00000",
        "aq": number(order.filled) if order else "0.00000",
        "act": order.kind.value if order else "0",
        "tp": number(state.trigger),
        "p": number(state.price),
        "V": "NONE",
        "wt": state.working.value,
        "pm": "NONE",
        "cp": state.close_position,
        "pP": False,
        "R": state.reduce_only,
        "tt": ms(state.ts_triggered),
        "gtd": ms(state.good_till),
        "rm": state.reason,
    }
    return {"e": "ALGO_UPDATE", "E": ms(update.ts), "T": ms(update.ts), "o": body}
