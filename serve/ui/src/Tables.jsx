// Positions against their targets, open orders, recent fills.
import React, { useMemo } from "react";
import { base, clock, moment, number, percent, signed, signedPercent, size, tone } from "./format.js";
import { ms, useStore } from "./store.js";

const SHOWN_FILLS = 100;

function Table({ label, count, columns, rows, empty, className, note }) {
  return (
    <section className={`panel table ${className}`} aria-label={label}>
      <header className="legend">
        <h2>{label}</h2>
        {count !== undefined && <span className="count">{count}</span>}
        {note && <span className="right dim">{note}</span>}
      </header>
      <div className="scroll">
        <table>
          <thead>
            <tr>
              {columns.map(([name, kind]) => (
                <th key={name} className={kind}>
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>{rows}</tbody>
        </table>
        {rows.length === 0 && <p className="empty">{empty}</p>}
      </div>
    </section>
  );
}

export const Positions = React.memo(function Positions({ store, symbols, digits, choose }) {
  const desk = useStore(store, (s) => s.desk);
  const bySymbol = useMemo(() => new Map((desk?.positions ?? []).map((row) => [row.symbol, row])), [desk]);
  const gross = (desk?.positions ?? []).reduce((sum, row) => sum + Math.abs(row.weight ?? 0), 0);
  const targets = desk?.targets ?? {};
  const shown = symbols.filter((symbol) => bySymbol.has(symbol) || targets[symbol]);
  const rows = shown.map((symbol) => {
    const row = bySymbol.get(symbol);
    const way = row ? (Number(row.size) > 0 ? "buy" : "sell") : "";
    return (
      <tr key={symbol} onClick={() => choose(symbol)}>
        <td className={way}>{base(symbol)}</td>
        <td>{row ? size(row.size) : "0"}</td>
        <td>{row ? number(row.entry_price, digits(symbol)) : "\u2013"}</td>
        <td className="mid">{row ? number(row.mark, digits(symbol)) : "\u2013"}</td>
        <td className="wide">{row ? number(row.notional, 0) : "0"}</td>
        <td>{signedPercent(row?.weight ?? 0, 1)}</td>
        <td className="dim mid">{signedPercent(targets[symbol] ?? 0, 1)}</td>
        <td className={tone(row?.unrealized)}>{row ? signed(row.unrealized) : "\u2013"}</td>
      </tr>
    );
  });
  return (
    <Table
      className="positions"
      label="Positions"
      count={bySymbol.size}
      note={desk ? `gross ${percent(gross, 0)}` : ""}
      columns={[
        ["Symbol", "left"],
        ["Size"],
        ["Entry"],
        ["Mark", "mid"],
        ["Value", "wide"],
        ["Weight"],
        ["Target", "mid"],
        ["Unrealised"],
      ]}
      rows={rows}
      empty={desk ? "Flat." : "Waiting for the desk."}
    />
  );
});

export const Orders = React.memo(function Orders({ store, digits, choose }) {
  const orders = useStore(store, (s) => s.desk?.open_orders);
  const rows = (orders ?? []).map((row) => (
    <tr key={row.client_order_id} title={row.client_order_id} onClick={() => choose(row.symbol)}>
      <td className="left">{base(row.symbol)}</td>
      <td className={`left ${row.side}`}>{row.side}</td>
      <td>{row.price ? number(row.price, digits(row.symbol)) : row.type}</td>
      <td>{size(row.size)}</td>
      <td>{percent(Number(row.filled) / Number(row.size), 0)}</td>
      <td className="left dim wide">{row.cancelling ? "cancelling" : row.status}</td>
    </tr>
  ));
  return (
    <Table
      className="orders"
      label="Open orders"
      count={rows.length}
      columns={[["Symbol", "left"], ["Side", "left"], ["Price"], ["Size"], ["Filled"], ["Status", "left wide"]]}
      rows={rows}
      empty="None."
    />
  );
});

export const Fills = React.memo(function Fills({ store, digits, choose }) {
  const fills = useStore(store, (s) => s.fills);
  const total = useStore(store, (s) => s.desk?.counts.fills);
  const rows = useMemo(
    () =>
      fills
        .slice(-SHOWN_FILLS)
        .reverse()
        .map((row) => (
          <tr key={`${row.symbol}:${row.trade_id}`} onClick={() => choose(row.symbol)} title={row.client_order_id}>
            <td className="left dim">{moment(ms(row.ts_event))}</td>
            <td className="left">{base(row.symbol)}</td>
            <td className={`left ${row.side}`}>{row.side}</td>
            <td>{size(row.size)}</td>
            <td>{number(row.price, digits(row.symbol))}</td>
            <td className="dim mid">{number(row.fee, 2)}</td>
            <td className={tone(row.realized_pnl)}>
              {Number(row.realized_pnl ?? 0) ? signed(row.realized_pnl) : "\u2013"}
            </td>
          </tr>
        )),
    [fills, digits, choose],
  );
  return (
    <Table
      className="fills"
      label="Fills"
      count={total ?? rows.length}
      columns={[["Time", "left"], ["Symbol", "left"], ["Side", "left"], ["Size"], ["Price"], ["Fee", "mid"], ["Realised"]]}
      rows={rows}
      empty="None yet."
    />
  );
});
