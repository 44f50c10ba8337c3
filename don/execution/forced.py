"""Orders that nobody of ours sent: the exchange closes a position by itself. Pure.

They are facts like any other fill. Binance marks them by how their client order ids begin, and the
paper exchange does the same.
"""

_KINDS = {
    "autoclose": "liquidation",
    "adl_autoclose": "auto-deleveraging",
    "settlement_autoclose": "settlement",
}


def forced_by(client_order_id: str) -> str:
    """What made the exchange send an order of this client id; empty if it was not the exchange."""
    return _KINDS.get(client_order_id.partition("-")[0], "")
