"""An order book too simple to be wrong: one list, searched and sorted at every step."""

BID, ASK = 0, 1


class NaiveBook:
    def __init__(self):
        self.orders = []  # [id, side, price, size] in order of arrival; id 0 is the house

    def better(self, side, a, b):
        return a > b if side == BID else a < b

    def in_line(self, side):
        rows = [o for o in self.orders if o[1] == side]
        return sorted(
            rows, key=lambda o: -o[2] if side == BID else o[2]
        )  # stable: time after price

    def sweep_out(self):
        self.orders = [o for o in self.orders if o[3] > 0]

    def add(self, ident, side, price, size):
        self.orders.append([ident, side, price, size])

    def reduce(self, ident, size):
        for order in self.orders:
            if order[0] == ident:
                order[3] = min(order[3], size)
        self.sweep_out()

    def take(self, side, limit, size):
        fills = []
        for order in self.in_line(1 - side):
            if size == 0 or self.better(1 - side, limit, order[2]):
                break
            amount = min(size, order[3])
            order[3] -= amount
            size -= amount
            fills.append((order[0], order[2], amount))
        self.sweep_out()
        return fills, size

    def sweep(self, side, price, size):
        """A print of the tape: users first at better prices, then everyone in line at its price.

        What it takes of the house goes back to the end of the line.
        """
        fills, passed = [], 0
        for order in self.in_line(1 - side):
            if size == 0 or self.better(1 - side, price, order[2]):
                break
            if order[2] != price and order[0] == 0:
                continue
            amount = min(size, order[3])
            order[3] -= amount
            size -= amount
            if order[0]:
                fills.append((order[0], order[2], amount))
            else:
                passed += amount
        self.sweep_out()
        if passed:
            self.add(0, 1 - side, price, passed)
        return fills

    def house(self, side, price):
        return sum(o[3] for o in self.orders if o[:3] == [0, side, price])

    def lower(self, side, price, size):
        excess = self.house(side, price) - size
        for order in reversed(self.orders):
            if excess > 0 and order[:3] == [0, side, price]:
                amount = min(excess, order[3])
                order[3] -= amount
                excess -= amount
        self.sweep_out()

    def display(self, rows, snapshot):
        fills = []
        for side, price, size in rows:
            self.lower(side, price, size)
        if snapshot:
            named = {(side, price) for side, price, _ in rows}
            self.orders = [o for o in self.orders if o[0] or (o[1], o[2]) in named]
        for side, price, size in rows:
            if not size:
                continue
            self.orders = [
                o for o in self.orders if o[0] or o[1] == side or self.better(1 - side, price, o[2])
            ]
            got, left = self.take(side, price, size)
            fills += got
            # what met users' orders is gone until the next update; else the level grows to its size
            missing = left - self.house(side, price)
            if missing > 0:
                self.add(0, side, price, missing)
        return fills

    def levels(self, side):
        """[(price, [(id, size), ...]), ...], best first, neighbours of the house merged."""
        out = []
        for ident, _, price, size in self.in_line(side):
            if not out or out[-1][0] != price:
                out.append((price, []))
            queue = out[-1][1]
            if queue and queue[-1][0] == ident == 0:
                queue[-1] = (0, queue[-1][1] + size)
            else:
                queue.append((ident, size))
        return out
