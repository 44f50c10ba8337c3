// The heat map: one canvas a stream; the worst state of each cell has its colour, so no gap is lost.
import React, { useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { C } from "./colors.js";
import { base, clock, day } from "./format.js";
import { share } from "./Data.jsx";
import { ms } from "./store.js";

export const STATES = {
  complete: "#1d7a70",
  repaired: C.buy,
  synthetic: "#b58cf5",
  gap: C.down,
  down: C.amber,
  unknown: "#2a323d",
};
export const NAMES = Object.keys(STATES);
const ROW = 14; // px
const LEAST = 0.4; // of the row's height, where a state is rare in its cell

export function Heat({ told }) {
  const [at, point] = useState(null); // {row, column, x, y}
  const box = useRef(null);
  const groups = useMemo(() => grouped(told.rows), [told]);
  return (
    <div className="heat scroll" ref={box} onMouseLeave={() => point(null)}>
      <Axis told={told} />
      {groups.map(([name, rows]) => (
        <div key={name} className="group" role="rowgroup" aria-label={name}>
          <h3>{name}</h3>
          {rows.map((row) => (
            <Row key={row.symbol} row={row} told={told} point={point} />
          ))}
        </div>
      ))}
      {at && <Tip at={at} told={told} />}
    </div>
  );
}

function grouped(rows) {
  const found = new Map();
  for (const row of rows) {
    const name = `${row.exchange} · ${row.channel}`;
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(row);
  }
  return [...found];
}

function Row({ row, told, point }) {
  const canvas = useRef(null);
  useLayoutEffect(() => {
    const element = canvas.current;
    const draw = () => paint(element, row, told.columns, told.step_s / 60);
    draw();
    const watch = new ResizeObserver(draw);
    watch.observe(element);
    return () => watch.disconnect();
  }, [row, told]);
  const move = (event) => {
    const box = canvas.current.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * told.columns);
    if (column >= 0 && column < told.columns) point({ row, column, x: event.clientX, y: box.bottom });
  };
  const good = (row.shares.complete ?? 0) + (row.shares.repaired ?? 0);
  return (
    <div className="stream" role="row" data-testid={`stream ${row.channel} ${row.symbol}`}>
      <span className="symbol" title={row.symbol}>
        {base(row.symbol)}
        <small className="dim">{row.symbol.split("-").slice(1).join("-")}</small>
      </span>
      <canvas
        ref={canvas}
        role="img"
        aria-label={`${row.exchange} ${row.channel} ${row.symbol}: ${NAMES.filter((n) => row.shares[n])
          .map((n) => `${share(row.shares[n])} ${n}`)
          .join(", ")}`}
        onMouseMove={move}
      />
      <span className="good" title="complete or repaired, of the time shown">
        {share(good)}
      </span>
      <span className={`lost ${row.gaps ? "down" : "dim"}`} title="gaps in the time shown">
        {row.gaps || ""}
      </span>
    </div>
  );
}

function paint(canvas, row, columns, minutes) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(ROW * ratio);
  if (!width) return;
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const pen = canvas.getContext("2d");
  const edge = (column) => Math.round((column * width) / columns);
  pen.fillStyle = STATES.unknown;
  pen.fillRect(0, 0, width, height);
  for (const run of row.runs) {
    const part = Math.min(1, (run.minutes[run.state] ?? 0) / minutes);
    const from = edge(run.first);
    const to = Math.max(edge(run.last + 1), from + 1);
    if (run.minutes.complete) {
      pen.fillStyle = STATES.complete;
      pen.fillRect(from, 0, to - from, height);
    }
    const tall = part >= 1 ? height : Math.round(height * Math.max(LEAST, Math.min(0.9, part)));
    pen.fillStyle = STATES[run.state];
    pen.fillRect(from, height - tall, to - from, tall);
  }
}

function Axis({ told }) {
  const start = ms(told.start);
  const length = told.columns * told.step_s * 1000;
  const box = useRef(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(entry.contentRect.width));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  const ticks = useMemo(() => marks(start, length, Math.max(1, Math.min(9, width / 52))), [start, length, width]);
  return (
    <div className="axis" aria-hidden="true">
      <span />
      <div ref={box}>
        {ticks.map(([time, text]) => (
          <span key={time} style={{ left: `${((time - start) / length) * 100}%` }}>
            {text}
          </span>
        ))}
      </div>
      <span>good</span>
      <span>gaps</span>
    </div>
  );
}

const STEPS = [10, 30, 60, 180, 360, 720, 1440, 2880, 10080, 43200].map((m) => m * 60_000);

function marks(start, length, most) {
  const step = STEPS.find((each) => length / each <= most) ?? STEPS[STEPS.length - 1] * 2;
  const found = [];
  for (let time = Math.ceil(start / step) * step; time < start + length * 0.97; time += step)
    found.push([time, time % 86400e3 === 0 ? day(time).slice(5) : clock(time).slice(0, 5)]);
  return found;
}

function Tip({ at, told }) {
  const { row, column, x, y } = at;
  const tip = useRef(null);
  const [left, setLeft] = useState(x);
  useEffect(() => {
    const width = tip.current.offsetWidth;
    setLeft(Math.max(8, Math.min(x + 12, window.innerWidth - width - 8)));
  }, [x]);
  const run = row.runs.find((each) => each.first <= column && column <= each.last);
  const from = ms(told.start) + column * told.step_s * 1000;
  const to = Math.min(from + told.step_s * 1000, ms(told.end));
  const minutes = Math.round((to - from) / 60_000);
  const known = Object.values(run?.minutes ?? {}).reduce((sum, n) => sum + n, 0);
  return (
    <div className="tip" ref={tip} role="tooltip" style={{ left, top: Math.min(y + 6, window.innerHeight - 120) }}>
      <b>
        {row.exchange} {row.channel} {row.symbol}
      </b>
      <span className="dim">
        {day(from)} {clock(from).slice(0, 5)} to {day(to) === day(from) ? "" : `${day(to)} `}
        {clock(to).slice(0, 5)} UTC
      </span>
      {NAMES.map((name) => {
        const count = name === "unknown" ? Math.max(0, minutes - known) : Math.min(minutes, run?.minutes[name] ?? 0);
        return count > 0 ? (
          <span key={name}>
            <i style={{ background: STATES[name] }} /> {name} {count === minutes ? "" : `${count} of ${minutes} min`}
          </span>
        ) : null;
      })}
      {run?.reason && <em>{run.reason}</em>}
    </div>
  );
}
