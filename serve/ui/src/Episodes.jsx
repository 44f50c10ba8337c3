// Recorded episodes of environments, run again: candles with what was bought and sold, position, equity.
import { BaselineSeries, LineSeries, LineType, createTextWatermark } from "lightweight-charts";
import React, { useEffect, useMemo, useRef, useState } from "react";
import { episode as fetchEpisode, episodes as fetchEpisodes } from "./api.js";
import { Candles, describeFill } from "./candles.js";
import { C, FONT } from "./colors.js";
import { Listing } from "./Frame.jsx";
import {
  base as baseOf,
  dated,
  digitsOf,
  figures,
  guessDigits,
  interval,
  number,
  percent,
  signed,
  signedPercent,
  size as sizeOf,
  tone,
} from "./format.js";
import { usePolled } from "./poll.js";
import { ms } from "./store.js";

const LIST_MS = 5000;
const NONE = [];

export const Episodes = React.memo(function Episodes({ base }) {
  const [picked, pick] = useState("");
  const list = usePolled((signal) => fetchEpisodes(base, signal), () => LIST_MS, base);
  const rows = list.told ?? NONE;
  const good = rows.filter((row) => !row.problem);
  const chosen = good.find((row) => row.name === picked) ?? good[0];
  return (
    <div className="training" data-testid="episodes">
      <Listing
        label="Episodes"
        asked={list}
        rows={rows}
        right="newest first"
        empty={
          <>
            No episode is recorded in this state folder yet. <code>don record MODEL</code> lets a model act for one and keeps
            it; it shows here then.
          </>
        }
      >
        <ul>
          {rows.map((row) => (
            <Row key={row.name} row={row} chosen={row === chosen} pick={pick} />
          ))}
        </ul>
      </Listing>
      {chosen ? (
        <Shown key={`${chosen.name} ${chosen.ts_written}`} base={base} name={chosen.name} />
      ) : (
        <section className="panel" />
      )}
    </div>
  );
});

function Row({ row, chosen, pick }) {
  const grown = row.final_equity.length && row.capital ? row.final_equity[0] / row.capital - 1 : null;
  return (
    <li>
      <button
        type="button"
        aria-pressed={chosen}
        disabled={Boolean(row.problem)}
        onClick={() => pick(row.name)}
        data-testid={`episode ${row.name}`}
      >
        <b>{row.name.replace(/\.parquet$/, "")}</b>
        {row.problem && <span className="tag red">damaged</span>}
        <span className="dim">{row.problem || describeRow(row)}</span>
        {!row.problem && (
          <span className="right">
            {number(row.final_equity[0], 2)} <span className={tone(grown)}>{grown === null ? "" : signedPercent(grown)}</span>
            {row.final_equity.length > 1 && <small className="dim"> first of {row.final_equity.length}</small>}
          </span>
        )}
      </button>
    </li>
  );
}

const describeRow = (row) =>
  [
    row.symbols.length > 3 ? `${row.symbols.length} symbols` : row.symbols.map(baseOf).join(", "),
    row.ts_start ? `from ${dated(ms(row.ts_start))}` : "",
    `${number(row.steps, 0)} ${row.steps === 1 ? "step" : "steps"}`,
  ]
    .filter(Boolean)
    .join(", ");

function Shown({ base, name }) {
  const [{ told, error }, set] = useState({ told: null, error: "" });
  const [symbol, choose] = useState("");
  const [account, take] = useState(0);
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
  const hold = useMemo(() => (own ? holding(told, own) : NONE), [told, own]);
  return (
    <section className="panel episode" aria-label="Episode">
      <header className="legend">
        <h2>{name.replace(/\.parquet$/, "")}</h2>
        <span className="tag amber">recorded episode, not trading</span>
        {told && (
          <span className="right choices">
            {told.accounts.length > 1 && (
              <select aria-label="Account" value={account} onChange={(event) => take(Number(event.target.value))}>
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
      {told && <Facts told={told} own={own} held={held} hold={hold} />}
      {held && candles && (
        <Chart key={`${own.name} ${at}`} told={told} own={own} held={held} hold={hold} candles={candles} />
      )}
    </section>
  );
}

// What the account would be worth had it bought all that it trades at the start, in equal parts, without costs.
function holding(told, own) {
  const bought = own.held
    .map((each) => told.candles.find((row) => row.symbol === each.symbol)?.close ?? NONE)
    .filter((close) => close[told.start] > 0);
  const last = bought.map(() => 1);
  return told.ts_open.map((_, n) => {
    if (n < told.start || bought.length === 0) return null;
    bought.forEach((close, k) => {
      if (close[n] !== null) last[k] = close[n] / close[told.start];
    });
    return (own.equity[told.start] * last.reduce((sum, each) => sum + each, 0)) / bought.length;
  });
}

function worst(values) {
  let peak = -Infinity;
  let down = 0;
  for (const value of values) {
    peak = Math.max(peak, value);
    down = Math.min(down, value / peak - 1);
  }
  return down;
}

const quote = (symbol) => symbol.split("-")[1] ?? "";

function Facts({ told, own, held, hold }) {
  const equity = own.equity.filter((value) => value !== null);
  const end = equity[equity.length - 1];
  const change = end - equity[0];
  const ended = hold[hold.length - 1];
  const rewards = Object.entries(told.rewards);
  const reward = told.rewards[own.name] ?? (rewards.length === 1 ? rewards[0][1] : null);
  const sides = (side) => held?.trades.reduce((sum, trade) => sum + (trade.side === side ? trade.count : 0), 0) ?? 0;
  const facts = [
    ["First decision", `${dated(ms(told.ts_start))} UTC`],
    ["Steps", number(told.episode.steps, 0)],
    [`Equity at the end${held ? `, ${quote(held.symbol)}` : ""}`, number(end)],
    [
      "Change",
      <span className={tone(change)}>
        {signed(change)} <small>{signedPercent(change / equity[0])}</small>
      </span>,
    ],
    ...(ended === null ? [] : [["Holding instead", <span className={tone(ended - equity[0])}>{signedPercent(ended / equity[0] - 1)}</span>]]),
    ...(told.merged === 1 ? [["Drawdown", percent(worst(equity))]] : []),
    ...(reward === null ? [] : [["Sum of rewards", figures(reward)]]),
    ["Buys, sells", `${number(sides("buy"), 0)}, ${number(sides("sell"), 0)}`],
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
          {told.merged} bars of {interval(told.interval_s * 1e9)} are one candle here; positions and equity are those at its end.
        </p>
      )}
      {held?.merged > 0 && (
        <p className="dim">
          Too many trades to show each: what {held.merged === 1 ? "a candle" : `${held.merged} candles`} bought is one trade
          here and what {held.merged === 1 ? "it" : "they"} sold another, at their mean price.
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

const MARK_PX = 8; // that an arrow needs beside the next

function caption(pane, text) {
  createTextWatermark(pane, {
    horzAlign: "left",
    vertAlign: "top",
    lines: [{ text, color: C.dim, fontSize: 11, fontFamily: FONT }],
  });
}

function Chart({ told, own, held, hold, candles }) {
  const box = useRef(null);
  const [hover, setHover] = useState(null);
  const [crowded, crowd] = useState(false);
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
    chart.chart.applyOptions({ timeScale: { minBarSpacing: 0.01, rightOffset: 2 } }); // all of a long one can be seen
    chart.load(rows, 1, digits); // candles of several bars begin anywhere
    const places = new Map(rows.map((bar, place) => [bar.n, place]));
    const fills = held.trades.map((trade) => ({
      ...trade,
      symbol: held.symbol,
      ts_event: told.ts_open[trade.candle],
      place: places.get(trade.candle),
      size: Number(trade.size.toPrecision(10)),
    }));
    box.current.dataset.bars = rows.length;
    const line = (pane, kind, values, options, places) => {
      const series = chart.chart.addSeries(
        kind,
        {
          lineWidth: 2,
          priceLineVisible: false,
          priceFormat: { type: "custom", minMove: 10 ** -places, formatter: (value) => number(value, places) },
          ...options,
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
    line(1, BaselineSeries, held.size, SIDES, most === 0 ? 0 : Math.max(0, Math.min(8, 2 - Math.floor(Math.log10(most)))));
    const money = own.equity[told.start] >= 10_000 ? 0 : 2;
    line(2, LineSeries, hold, { color: C.dim, lineWidth: 1 }, money);
    line(2, LineSeries, own.equity, { color: C.text }, money);
    const [prices, positions, worth] = chart.chart.panes();
    caption(prices, `${held.symbol}, ${quote(held.symbol)}, times are UTC`);
    caption(positions, `position, ${baseOf(held.symbol)}: blue long, orange short`);
    caption(worth, `equity (white) and holding instead (grey), ${quote(held.symbol)}`);
    prices.setStretchFactor(4);
    for (const pane of [positions, worth]) pane.setStretchFactor(1.3);
    let drawn = null;
    const scale = chart.chart.timeScale();
    const mark = (range) => {
      if (!range) return;
      const seen = fills.filter((fill) => fill.place >= range.from && fill.place <= range.to);
      const side = Math.max(...["buy", "sell"].map((name) => seen.filter((fill) => fill.side === name).length));
      const crowding = (side * MARK_PX) / (scale.width() || 900);
      const size = crowding <= 1 ? 1 : crowding <= 3 ? 0.4 : 0;
      if (size === drawn) return;
      drawn = size;
      box.current.dataset.markers = chart.mark(fills, size);
      crowd(size === 0);
    };
    scale.fitContent();
    mark({ from: 0, to: rows.length });
    scale.subscribeVisibleLogicalRangeChange(mark);
    return () => chart.remove();
  }, [rows, told, own, held, hold, digits]);
  const size = hover ? held.size[hover.n] : null;
  return (
    <>
      <p className="under dim" data-testid="episode-hover">
        {hover
          ? `Bar of ${dated(ms(hover.ts_open))} UTC, close ${number(hover.close, digits)}${size === null ? "" : `, position after it ${sizeOf(Number(size.toPrecision(10)))} ${baseOf(held.symbol)}, equity ${number(own.equity[hover.n])}`}${hover.fills.length ? `. ${hover.fills.map((fill) => describe(fill, digits)).join(", ")}` : ""}`
          : `${interval(told.interval_s * 1e9)} bars. Prices of trades are with fees. Holding: bought at the start in equal parts, without costs.${crowded ? " Trades are too close to be drawn: zoom in." : ""}`}
      </p>
      <div className="canvas" ref={box} data-testid="episode-chart" />
    </>
  );
}

const SIDES = {
  baseValue: { type: "price", price: 0 },
  lineType: LineType.WithSteps,
  lineWidth: 1,
  topLineColor: C.buy,
  topFillColor1: "rgba(76,154,255,.3)",
  topFillColor2: "rgba(76,154,255,.3)",
  bottomLineColor: C.sell,
  bottomFillColor1: "rgba(255,169,77,.3)",
  bottomFillColor2: "rgba(255,169,77,.3)",
};

const describe = (fill, digits) => {
  const known = fill.price !== null;
  const text = known ? describeFill(fill, digits) : describeFill(fill, digits).split(" at ")[0];
  const more = fill.count > 1 ? ` in ${number(fill.count, 0)} trades` : "";
  return `${text}${more}${fill.liquidated ? " (liquidated)" : ""}`;
};
