// How the account stands against its limits: use beside bound, states and who set them, what has no stop.
import React from "react";
import { risk as fetchRisk } from "./api.js";
import { STATES } from "./Books.jsx";
import { compact, number, percent, times as multiple } from "./format.js";
import { usePolled } from "./poll.js";

const EVERY_MS = 2000;
const NEAR = 0.7; // of a bound: from there it asks for attention
const AT = 0.95;

const times = (value) => multiple(value);
const rate = (value) => percent(value, Math.abs(value) < 0.1 ? 2 : 1);
const count = (value) => number(value, 0);
const money = (value) => number(value, 0);

// [name, figure, limit, as text, where a softer limit reduces, whether the figure must stay above]
const LIMITS = [
  ["Gross leverage", "gross_leverage", "max_gross_leverage", times],
  ["Net leverage", "net_leverage", "max_net_leverage", times],
  ["Largest position", "largest", "max_position_notional", money],
  ["Concentration", "concentration", "max_concentration", rate],
  ["Initial margin", "margin", "max_margin", rate],
  ["Liquidation distance", "liquidation_distance", "min_liquidation_distance", rate, null, true],
  ["Loss today", "daily_loss", "max_daily_loss", rate, "reduce_at_daily_loss"],
  ["Drawdown", "drawdown", "max_drawdown", rate, "reduce_at_drawdown"],
  ["Losing trades in a row", "loss_streak", "max_loss_streak", count],
  ["Value at risk, a bar", "var", "max_var", rate],
  ["Expected shortfall, a bar", "cvar", "max_cvar", rate],
  ["Worst stress", "stress_loss", "max_stress_loss", rate],
  ["Correlation break", "correlation_break", "max_correlation_break", (value) => number(value, 2)],
  ["Open orders", "open_orders", "max_open_orders", count],
];
const known = (value) => value !== null && value !== undefined;

function rowsOf(told, desk) {
  const largest = Math.max(0, ...(desk?.positions ?? []).map((row) => Math.abs(Number(row.notional ?? 0))));
  const figures = { ...told.figures, largest };
  const rows = LIMITS.map(([name, figure, limit, text, soft, above]) => ({
    name,
    text,
    above,
    signless: figure === "net_leverage", // long or short; a negative loss is a gain
    use: figures[figure],
    bound: told.limits[limit],
    soft: soft && told.limits[soft],
    changed: limit in told.changed || (soft && soft in told.changed),
    note: figure === "stress_loss" ? figures.stress_scenario : "",
  }));
  for (const group of told.limits.groups ?? [])
    for (const kind of ["gross", "net"])
      if (known(group[`max_${kind}`]))
        rows.push({
          name: `${group.name}, ${kind}`,
          text: rate,
          signless: kind === "net",
          use: figures.groups?.[group.name]?.[kind],
          bound: group[`max_${kind}`],
        });
  return rows.filter((row) => known(row.use) || known(row.bound));
}

export function Risk({ root, desk }) {
  const { told, error } = usePolled((signal) => fetchRisk(root, signal), () => EVERY_MS, root);
  const rows = told ? rowsOf(told, desk) : [];
  return (
    <section className="panel risk" aria-label="Risk">
      <header className="legend">
        <h2>Risk</h2>
        {told && (
          <span className={`tag ${STATES[told.state] || "good"}`} data-testid="risk-state">
            {told.state}
          </span>
        )}
        <span className="right dim">use of the bound</span>
      </header>
      {error && (
        <p className="banner amber" role="alert">
          {told ? `${error}. What is shown is old.` : error}
        </p>
      )}
      {told && (
        <div className="scroll">
          {Object.entries(told.states).map(([scope, standing]) => (
            <p key={scope} className="standing">
              <span className={`tag ${STATES[standing.state] ?? ""}`}>{standing.state}</span> <b>{scope}</b>{" "}
              {standing.reason || "no reason given"} <span className="dim">{standing.actor && `by ${standing.actor}`}</span>
            </p>
          ))}
          <ul className="limits">
            {rows.map((row) => (
              <Limit key={row.name} row={row} />
            ))}
          </ul>
          <h3>Each order</h3>
          <dl className="pairs">
            <Pair name="Value at most" value={money(told.limits.max_order_notional)} />
            <Pair name="Price from mark at most" value={rate(told.limits.price_collar)} />
            <Pair
              name="Slippage at most"
              value={known(told.limits.max_slippage) ? rate(told.limits.max_slippage) : "off"}
            />
            <Pair
              name="Rate at most"
              value={`${count(told.limits.max_orders)} in ${number(told.limits.order_window_s, 0)} s`}
            />
          </dl>
          <h3>Without a stop at the exchange</h3>
          <dl className="pairs" data-testid="unprotected">
            <Pair name="Now" value={`${money(told.unprotected.now)} USDT`} />
            <Pair
              name="While Don was not running"
              value={`${compact(Number(told.unprotected.notional_s) / 3600)} USDT hours`}
            />
          </dl>
        </div>
      )}
      {!told && !error && <p className="empty">Waiting for the desk.</p>}
    </section>
  );
}

const Pair = ({ name, value }) => (
  <div>
    <dt>{name}</dt>
    <dd>{value}</dd>
  </div>
);

function Limit({ row }) {
  const { name, use, bound, soft, text, above, signless, changed, note } = row;
  const bounded = known(bound) && known(use) && Number(bound) > 0;
  const part = !bounded ? null : above ? Number(bound) / Math.max(Number(use), 1e-12) : Math.max(0, signless ? Math.abs(use) : use) / Number(bound);
  const reduces = known(soft) && Number(use) >= Number(soft);
  const level = part === null ? "" : part >= AT ? "at" : part >= NEAR || reduces ? "near" : "";
  return (
    <li className={`limit ${level}`} data-testid={`limit ${name}`}>
      <span className="name" title={note}>
        {name}
        {note && <small className="dim"> {note.replaceAll("_", " ")}</small>}
        {changed && <span className="tag">changed</span>}
      </span>
      <span className="use">{known(use) ? text(Number(use)) : "\u2013"}</span>
      <span className="bound dim">{known(bound) ? `${above ? "min " : ""}${text(Number(bound))}` : "no limit"}</span>
      <i className="bar" role="img" aria-label={part === null ? "no limit" : `${Math.round(part * 100)}% of the limit`}>
        {part !== null && <i style={{ width: `${Math.min(1, part) * 100}%` }} />}
        {known(soft) && bounded && <b style={{ left: `${(Number(soft) / Number(bound)) * 100}%` }} title={`reduces from ${text(Number(soft))}`} />}
      </i>
    </li>
  );
}
