// Recorded episodes of environments, run again: candles with what was bought and sold, position, equity.
import { LineSeries, LineType } from "lightweight-charts";
import React, { useEffect, useMemo, useRef, useState } from "react";
import { episode as fetchEpisode, episodes as fetchEpisodes } from "./api.js";
import { Candles, describeFill } from "./candles.js";
import { C } from "./colors.js";
import { clock, day, digitsOf, figures, guessDigits, interval, number, signed, tone } from "./format.js";
import { usePolled } from "./poll.js";
import { ms } from "./store.js";

const LIST_MS = 5000;
const NONE = [];
const dated = (at) => `${day(at)} ${clock(at).slice(0, 5)}`; // of any year

export const Episodes = React.memo(function Episodes({ base }) {
  const [picked, pick] = useState("");
  const list = usePolled((signal) => fetchEpisodes(base, signal), () => LIST_MS, base);
  const rows = list.told ?? NONE;
  const good = rows.filter((row) => !row.problem);
  const chosen = good.find((row) => row.name === picked) ?? good[0];
  return (
    <div className="training" data-testid="episodes">
      <section className="panel runs" aria-label="Episodes">
        <header className="legend">
          <h2>Episodes</h2>
          {list.told && <span className="count">{rows.length}</span>}
        </header>
        {list.error && (
          <p className="banner amber" role="alert">
            {list.told ? `${list.error}. What is shown is old.` : list.error}
          </p>
        )}
        <div className="scroll">
          {list.told && rows.length === 0 && (
            <p className="empty">
              No episode is recorded in this state folder yet. <code>don record MODEL</code> lets a model act for one and keeps
              it; it shows here then.
            </p>
          )}
          <ul>
            {rows.map((row) => (
              <li key={row.name}>
                <button
                  type="button"
                  aria-pressed={row === chosen}
                  disabled={Boolean(row.problem)}
                  onClick={() => pick(row.name)}
                  data-testid={`episode ${row.name}`}
                >
                  <b>{row.name.replace(/\.parquet$/, "")}</b>
                  {row.problem && <span className="tag red">damaged</span>}
                  <span className="dim">{row.problem || (row.ts_start ? `from ${dated(ms(row.ts_start))}` : "")}</span>
                  {!row.problem && (
                    <span className="right">
                      {number(row.steps, 0)} <small className="dim">{row.steps === 1 ? "step to" : "steps to"}</small>{" "}
                      {number(row.final_equity[0], 2)}
                      {row.final_equity.length > 1 && <small className="dim"> of {row.final_equity.length}</small>}
                    </span>
                  )}
                </button>
              </li>
            ))}
          </ul>
        </div>
      </section>
      {chosen ? (
        <Shown key={`${chosen.name} ${chosen.ts_written}`} base={base} name={chosen.name} />
      ) : (
        <section className="panel" />
      )}
    </div>
  );
});

function Shown({ base, name }) {
  const [{ told, error }, set] = useState({ told: null, error: "" });
  const [symbol, choose] = useState("");
  const [account, hold] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    fetchEpisode(base, name, abort.signal).then(
      (found) => set({ told: found, error: "" }),
      (failure) => abort.signal.aborted || set({ told: null, error: failure.message }),
    );
    return () => abort.abort();
  }, [base, name]);
  const own = told?.accounts[account];
  const symbols = own?.held.map((each) => each.symbol) ?? NONE;
  const at = symbols.includes(symbol) ? symbol : (symbols[0] ?? "");
  const held = own?.held.find((each) => each.symbol === at);
  const candles = told?.candles.find((each) => each.symbol === at);
  return (
    <section className="panel episode" aria-label="Episode">
      <header className="legend">
        <h2>{name.replace(/\.parquet$/, "")}</h2>
        <span className="tag amber">recorded episode, not trading</span>
        {told && (
          <span className="right choices">
            {told.accounts.length > 1 && (
              <select aria-label="Account" value={account} onChange={(event) => hold(Number(event.target.value))}>
                {told.accounts.map((each, n) => (
                  <option key={each.name} value={n}>
                    {each.name}
                  </option>
                ))}
              </select>
            )}
            <select aria-label="Symbol" value={at} onChange={(event) => choose(event.target.value)}>
              {symbols.map((each) => (
                <option key={each}>{each}</option>
              ))}
            </select>
          </span>
        )}
      </header>
      {error && (
        <p className="banner amber" role="alert">
          It cannot be shown: {error}
        </p>
      )}
      {!told && !error && <p className="empty">It is run again…</p>}
      {told && !told.same && (
        <p className="banner red" role="alert">
          It does not run as it was recorded: {told.what} differs from step {told.first_difference} on. What is shown is
          what it does now.
        </p>
      )}
      {told && <Facts told={told} own={own} held={held} />}
      {held && candles && <Chart key={`${own.name} ${at}`} told={told} own={own} held={held} candles={candles} />}
    </section>
  );
}

function Facts({ told, own, held }) {
  const equity = own.equity.filter((value) => value !== null);
  const change = equity[equity.length - 1] - equity[0];
  const rewards = Object.entries(told.rewards);
  const reward = told.rewards[own.name] ?? (rewards.length === 1 ? rewards[0][1] : null);
  const sides = (side) => held?.trades.filter((trade) => trade.side === side).length ?? 0;
  const facts = [
    ["Start", `${dated(ms(told.ts_start))} UTC`],
    ["Steps", number(told.episode.steps, 0)],
    ["Equity at the end", number(equity[equity.length - 1])],
    ["Change", <span className={tone(change)}>{signed(change)}</span>],
    ...(reward === null ? [] : [["Sum of rewards", figures(reward)]]),
    ["Bought, sold", `${number(sides("buy"), 0)}, ${number(sides("sell"), 0)}`],
    ["Replay", told.same ? "equal in every step" : `equal in ${told.equal} of ${told.episode.steps}`],
  ];
  return (
    <div className="progress">
      <dl data-testid="episode-facts">
        {facts.map(([label, value]) => (
          <div key={label}>
            <dt>{label}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {told.merged > 1 && (
        <p className="dim">
          {told.merged} bars of {interval(told.interval_s * 1e9)} are one candle here; positions are those at its end.
        </p>
      )}
      {told.accounts_of > told.accounts.length && (
        <p className="dim">
          The first {told.accounts.length} of {told.accounts_of} accounts.
        </p>
      )}
    </div>
  );
}

function Chart({ told, own, held, candles }) {
  const box = useRef(null);
  const [hover, setHover] = useState(null);
  const digits = digitsOf(Number(candles.tick).toFixed(10)) ?? guessDigits(candles.close.findLast((value) => value) ?? 1);
  const rows = useMemo(
    () =>
      told.ts_open
        .map((ts_open, n) => ({
          ts_open,
          n,
          open: candles.open[n],
          high: candles.high[n],
          low: candles.low[n],
          close: candles.close[n],
          volume: candles.volume[n],
        }))
        .filter((bar) => [bar.open, bar.high, bar.low, bar.close].every((value) => value !== null)),
    [told, candles],
  );
  useEffect(() => {
    const chart = new Candles(box.current, setHover);
    chart.load(rows, 1, digits); // candles of several bars begin anywhere
    const fills = held.trades.map((trade) => ({
      ...trade,
      symbol: held.symbol,
      ts_event: told.ts_open[trade.candle],
      size: Number(trade.size.toPrecision(10)),
    }));
    box.current.dataset.markers = chart.mark(fills);
    box.current.dataset.bars = rows.length;
    const line = (pane, title, values, color, lineType, places) => {
      const series = chart.chart.addSeries(
        LineSeries,
        {
          color,
          lineType,
          title,
          lineWidth: 2,
          priceLineVisible: false,
          priceFormat: { type: "custom", minMove: 10 ** -places, formatter: (value) => number(value, places) },
        },
        pane,
      );
      series.setData(
        rows.map((bar) =>
          values[bar.n] === null
            ? { time: ms(bar.ts_open) / 1000 }
            : { time: ms(bar.ts_open) / 1000, value: values[bar.n] },
        ),
      );
    };
    const most = Math.max(0, ...held.size.map((value) => Math.abs(value ?? 0)));
    const places = most === 0 ? 0 : Math.max(0, Math.min(8, 3 - Math.floor(Math.log10(most))));
    line(1, "position", held.size, C.amber, LineType.WithSteps, places);
    line(2, "equity", own.equity, C.text, LineType.Simple, 0);
    chart.chart.panes().forEach((pane, n) => pane.setStretchFactor(n === 0 ? 4 : 1));
    chart.chart.timeScale().fitContent();
    return () => chart.remove();
  }, [rows, told, own, held, digits]);
  const size = hover ? held.size[hover.n] : null;
  return (
    <>
      <p className="under dim" data-testid="episode-hover">
        {hover
          ? `${dated(ms(hover.ts_open))} UTC, close ${number(hover.close, digits)}${size === null ? "" : `, position ${figures(size)}, equity ${number(own.equity[hover.n])}`}${hover.fills.length ? `. ${hover.fills.map((fill) => describe(fill, digits)).join(", ")}` : ""}`
          : `${interval(told.interval_s * 1e9)} bars of ${held.symbol}: price, position after each step, equity. Prices of trades are with fees.`}
      </p>
      <div className="canvas" ref={box} data-testid="episode-chart" />
    </>
  );
}

const describe = (fill, digits) => {
  const known = fill.price !== null;
  const text = known ? describeFill(fill, digits) : describeFill(fill, digits).split(" at ")[0];
  return fill.liquidated ? `${text} (liquidated)` : text;
};
