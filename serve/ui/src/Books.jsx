// Several policies on one account: a book each, what they hold beside the account's net, and the limits.
import React, { useMemo } from "react";
import { Risk } from "./Risk.jsx";
import { base, compact, equal, number, percent, signed, signedPercent, size, tone, total } from "./format.js";
import { useStore } from "./store.js";

const NONE = [];
export const STATES = { active: "", reducing: "amber", halted: "red" };
const ORDER = ["live", "canary", "closing", "desk", "shadow"];
const isShadow = (book) => book.mode === "shadow";

export const Books = React.memo(function Books({ store, base: root }) {
  const desk = useStore(store, (s) => s.desk);
  const slots = desk?.slots ?? NONE;
  const books = useMemo(() => [...slots].sort((a, b) => ORDER.indexOf(a.mode) - ORDER.indexOf(b.mode)), [slots]);
  return (
    <div className="books" data-testid="books">
      <div className="books-left">
        <BookTable desk={desk} books={books} />
        <Holdings desk={desk} books={books} />
      </div>
      <Risk root={root} desk={desk} />
    </div>
  );
});

const NOTHING = <span className="dim">{"\u2013"}</span>;
const sum = (books, field) => total(books.map((book) => book[field]));
const gained = (pnl, capital) => (Number(capital) > 0 ? signedPercent(Number(pnl) / Number(capital)) : "");

function Share({ book }) {
  const told = percent(book.share, 1);
  const given = book.allocated ?? null;
  return (
    <>
      {told}
      {given !== null && percent(given, 1) !== told && <small className="dim"> of {percent(given, 1)}</small>}
    </>
  );
}

// name, class, what it means, of a book, of their sum
const COLUMNS = [
  ["Book", "", "", (book) => book.book],
  ["Mode", "left", "", (book) => <span className={`tag mode ${book.mode}`}>{book.mode}</span>],
  ["Policy", "left mid", "", (book) => book.policy || <span className="dim">{book.mode === "desk" ? "by hand, reserve" : "\u2013"}</span>],
  ["State", "left", "", (book) => (book.state ? <span className={`tag ${STATES[book.state] ?? ""}`}>{book.state}</span> : NOTHING)],
  ["Share", "mid", "of the account's equity, now; beside it what was allocated, if that differs; a shadow has none", (book) => (isShadow(book) ? NOTHING : <Share book={book} />)],
  ["Capital", "mid", "put in less taken out", (book) => number(book.capital), (books) => number(sum(books, "capital"))],
  ["Equity", "", "", (book) => number(book.equity), (books) => number(sum(books, "equity"))],
  ["P&L", "", "equity less capital", (book) => <Signed value={book.pnl} />, (books) => <Signed value={sum(books, "pnl")} />],
  [
    "",
    "mid",
    "P&L over capital",
    (book) => <span className={tone(book.pnl)}>{gained(book.pnl, book.capital)}</span>,
    (books) => <span className={tone(sum(books, "pnl"))}>{gained(sum(books, "pnl"), sum(books, "capital"))}</span>,
  ],
  ["Drawdown", "wide", "of the book's own curve", (book) => percent(book.drawdown)],
  ["Unrealised", "wide", "", (book) => <Signed value={book.unrealized} />, (books) => <Signed value={sum(books, "unrealized")} />],
  ["Realised", "wide", "", (book) => <Signed value={book.realized} />, (books) => <Signed value={sum(books, "realized")} />],
  ["Fees", "wide", "", (book) => number(book.fees), (books) => number(sum(books, "fees"))],
  ["Funding", "wide", "", (book) => <Signed value={book.funding} />, (books) => <Signed value={sum(books, "funding")} />],
  ["Traded", "wide dim", "notional at the exchange", (book) => compact(book.traded)],
  ["Crossed", "wide dim", "notional with other books, which never left", (book) => compact(book.crossed)],
];

const Signed = ({ value }) => <span className={tone(value)}>{signed(value)}</span>;

function BookTable({ desk, books }) {
  const real = books.filter((book) => !isShadow(book));
  const same = desk && real.length > 0 && equal(sum(real, "equity"), desk.equity);
  return (
    <section className="panel table virtual" aria-label="Books">
      <header className="legend">
        <h2>Books</h2>
        {books.length > 0 && <span className="count">{books.length}</span>}
        {books.length > 0 && (
          <span className={`right ${same ? "dim" : "down"}`} data-testid="books-sum">
            {same
              ? `sum equals the account's equity${real.length < books.length ? ", shadows apart" : ""}`
              : `sum is ${number(sum(real, "equity"))}, the account has ${number(desk.equity)}`}
          </span>
        )}
      </header>
      <div className="scroll">
        {books.length > 0 && (
          <table>
            <thead>
              <tr>
                {COLUMNS.map(([name, kind, title], n) => (
                  <th key={name || n} className={kind} title={title}>
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {books.map((book) => (
                <tr key={`${book.book} ${book.mode}`} className={isShadow(book) ? "shadow" : ""} data-testid={`book ${book.book}`}>
                  {COLUMNS.map(([name, kind, , cell], n) => (
                    <td key={name || n} className={kind}>
                      {cell(book)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
            <tfoot>
              <tr>
                {COLUMNS.map(([name, kind, , , foot], n) => (
                  <td key={name || n} className={kind}>
                    {n === 0 ? "Sum" : foot?.(real)}
                  </td>
                ))}
              </tr>
            </tfoot>
          </table>
        )}
        {desk && books.length === 0 && (
          <p className="empty">
            One policy, <b>{desk.policy || "manual"}</b>, has the whole account: {number(desk.equity)} USDT,{" "}
            <span className={tone(desk.pnl)}>{signed(desk.pnl)}</span> in this session. To run several side by side,
            each with a book, capital and a state of its own, name them under <code>[[engine.slots]]</code> in don.toml.
          </p>
        )}
        {!desk && <p className="empty">Waiting for the desk.</p>}
      </div>
    </section>
  );
}

// Symbols down, books across: what each holds, their net, and the account's own position beside it.
function Holdings({ desk, books }) {
  const real = books.filter((book) => !isShadow(book));
  const shadows = books.filter(isShadow);
  const symbols = useMemo(() => {
    const names = new Set((desk?.positions ?? []).map((row) => row.symbol));
    for (const book of books) for (const row of book.positions) names.add(row.symbol);
    return [...names].sort();
  }, [desk]);
  const held = new Map((desk?.positions ?? []).map((row) => [row.symbol, row]));
  const of = (book, symbol) => book.positions.find((row) => row.symbol === symbol);
  if (books.length === 0) return null;
  return (
    <section className="panel table holdings" aria-label="Holdings">
      <header className="legend">
        <h2>Holdings by book</h2>
        <span className="right dim">base units; long blue, short orange</span>
      </header>
      <div className="scroll">
        <table>
          <thead>
            <tr>
              <th>Symbol</th>
              {real.map((book) => (
                <th key={book.book}>{book.book}</th>
              ))}
              <th className="mid">Net of books</th>
              <th>Account</th>
              <th className="wide">Value</th>
              <th>Unrealised</th>
              {shadows.map((book) => (
                <th key={`shadow ${book.book}`} title="on paper only">
                  {book.book} <small>shadow</small>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {symbols.map((symbol) => {
              const net = total(real.map((book) => of(book, symbol)?.size ?? "0"));
              const own = held.get(symbol);
              const same = equal(net, own?.size ?? "0");
              return (
                <tr key={symbol} data-testid={`holding ${symbol}`}>
                  <td>{base(symbol)}</td>
                  {real.map((book) => (
                    <Held key={book.book} value={of(book, symbol)?.size} />
                  ))}
                  <td className={`mid ${same ? way(net) : "down"}`}>{size(net)}</td>
                  <td className={same ? way(own?.size) : "down"} title={same ? "" : `the books have ${size(net)}`}>
                    <b>{own ? size(own.size) : "0"}</b>
                  </td>
                  <td className="wide">{number(own?.notional ?? 0, 0)}</td>
                  <td className={tone(own?.unrealized)}>{own ? signed(own.unrealized) : "\u2013"}</td>
                  {shadows.map((book) => (
                    <Held key={`shadow ${book.book}`} value={of(book, symbol)?.size} faint />
                  ))}
                </tr>
              );
            })}
          </tbody>
        </table>
        {symbols.length === 0 && <p className="empty">No book holds anything.</p>}
      </div>
    </section>
  );
}

const way = (value) => (Number(value) > 0 ? "buy" : Number(value) < 0 ? "sell" : "");

const Held = ({ value, faint }) =>
  Number(value ?? 0) ? <td className={`${way(value)} ${faint ? "faint" : ""}`}>{size(value)}</td> : <td className="dim">{"\u00b7"}</td>;
