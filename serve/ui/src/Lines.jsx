// Lines over iterations: axes, a band, the values under the pointer. For curves that are no prices.
import React, { useEffect, useMemo, useRef, useState } from "react";
import { C } from "./colors.js";
import { compact, figures, number } from "./format.js";

const HEIGHT = 182;
const PAD = { top: 8, right: 12, bottom: 34, left: 56 };
const EDGE = 22; // from the right: marks nearer to it end there
export const PALETTE = ["#7cc4ff", "#b58cf5", "#e3e7ed", "#8fd6a8", "#f2a7c3", "#c9b458"];

// `lines`: [{name, values}]; `band`: {low, high} around the first one; `x`: iterations, rising.
export function Lines({ title, note, x, lines, band, testid }) {
  const box = useRef(null);
  const [width, setWidth] = useState(0);
  const [at, point] = useState(-1);
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(entry.contentRect.width));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  const scale = useMemo(() => scaled(x, lines, band, width), [x, lines, band, width]);
  const move = (event) => {
    if (!scale) return;
    const place = event.clientX - event.currentTarget.getBoundingClientRect().left;
    point(nearest(x, scale.left(place)));
  };
  const shown = at >= 0 && at < x.length ? at : -1;
  return (
    <figure className="lines" data-testid={testid} data-points={x.length}>
      <figcaption>
        <b>{title}</b>
        {note && <span className="dim">{note}</span>}
        {shown >= 0 && <span className="dim">iteration {x[shown].toLocaleString("en-US")}</span>}
        <span className="right values">
          {lines.map((line, n) => (
            <span key={line.name} style={{ color: PALETTE[n % PALETTE.length] }}>
              {lines.length > 1 && `${line.name} `}
              {figures(shown >= 0 ? line.values[shown] : newest(line.values))}
            </span>
          ))}
        </span>
      </figcaption>
      <div ref={box} style={{ height: HEIGHT }}>
        {scale ? (
          <svg width={width} height={HEIGHT} onMouseMove={move} onMouseLeave={() => point(-1)} role="img" aria-label={title}>
            {scale.ticks.map((value) => (
              <g key={value}>
                <line x1={PAD.left} x2={width - PAD.right} y1={scale.y(value)} y2={scale.y(value)} stroke={value === 0 ? "#3a4452" : C.grid} />
                <text x={PAD.left - 6} y={scale.y(value) + 3.5} textAnchor="end">
                  {Math.abs(value) >= 10_000 ? compact(value) : number(value, scale.digits)}
                </text>
              </g>
            ))}
            {scale.marks.map((value) => (
              <text
                key={value}
                className="mark"
                x={scale.x(value) > width - EDGE ? width - 2 : scale.x(value)}
                y={HEIGHT - 20}
                textAnchor={scale.x(value) > width - EDGE ? "end" : "middle"}
              >
                {compact(value)}
              </text>
            ))}
            <text className="axis" x={PAD.left + (width - PAD.left - PAD.right) / 2} y={HEIGHT - 5} textAnchor="middle">
              iteration
            </text>
            {band && <path d={area(x, band, scale)} fill={PALETTE[0]} opacity="0.13" />}
            {lines.map((line, n) => (
              <path key={line.name} d={path(x, line.values, scale)} fill="none" stroke={PALETTE[n % PALETTE.length]} strokeWidth="1.4" />
            ))}
            {shown >= 0 && (
              <line x1={scale.x(x[shown])} x2={scale.x(x[shown])} y1={PAD.top} y2={HEIGHT - PAD.bottom} stroke="#56606e" strokeDasharray="3 3" />
            )}
            {lines.map((line, n) => {
              const last = shown >= 0 ? shown : line.values.findLastIndex(is);
              const value = line.values[last];
              return is(value) ? (
                <circle key={line.name} cx={scale.x(x[last])} cy={scale.y(value)} r="2.5" fill={PALETTE[n % PALETTE.length]} />
              ) : null;
            })}
          </svg>
        ) : (
          <p className="empty">No figures yet.</p>
        )}
      </div>
    </figure>
  );
}

const is = (value) => value !== null && value !== undefined && Number.isFinite(value);

function newest(values) {
  for (let n = values.length - 1; n >= 0; n -= 1) if (is(values[n])) return values[n];
  return null;
}

function scaled(x, lines, band, width) {
  const all = [...lines.map((line) => line.values), ...(band ? [band.low, band.high] : [])].flat().filter(is);
  if (!all.length || width < 120) return null;
  let low = Infinity;
  let high = -Infinity;
  for (const value of all) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (high - low < 1e-12 * Math.max(1, Math.abs(high))) {
    const room = Math.abs(high) * 0.1 || 1;
    low -= room;
    high += room;
  }
  const alone = x.length === 1; // one iteration stands in the middle
  const first = alone ? x[0] - 0.5 : x[0];
  const span = alone ? 1 : x[x.length - 1] - first;
  const wide = width - PAD.left - PAD.right;
  const tall = HEIGHT - PAD.top - PAD.bottom;
  const ticks = steps(low, high, 5);
  const step = ticks.length > 1 ? ticks[1] - ticks[0] : 1;
  return {
    digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)),
    x: (value) => PAD.left + ((value - first) / span) * wide,
    y: (value) => PAD.top + (1 - (value - low) / (high - low)) * tall,
    left: (place) => first + ((place - PAD.left) / wide) * span,
    ticks,
    marks: alone ? [x[0]] : steps(first, first + span, Math.max(2, Math.floor(wide / 60))).filter(Number.isInteger),
  };
}

// Round numbers within a range, about so many.
function steps(low, high, wanted) {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((each) => each * power >= rough) * power;
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) found.push(Number((n * step).toPrecision(12)));
  return found;
}

function path(x, values, scale) {
  // some are told every few iterations only: from one to the next
  const known = x.map((_, n) => n).filter((n) => is(values[n]));
  return known.map((n, k) => `${k ? "L" : "M"}${scale.x(x[n]).toFixed(1)},${scale.y(values[n]).toFixed(1)}`).join("");
}

function area(x, { low, high }, scale) {
  const places = x.map((_, n) => n).filter((n) => is(low[n]) && is(high[n]));
  if (places.length < 2) return "";
  const there = places.map((n) => `${scale.x(x[n]).toFixed(1)},${scale.y(high[n]).toFixed(1)}`);
  const back = places.reverse().map((n) => `${scale.x(x[n]).toFixed(1)},${scale.y(low[n]).toFixed(1)}`);
  return `M${[...there, ...back].join("L")}Z`;
}

function nearest(x, value) {
  let low = 0;
  let high = x.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (x[middle] <= value) low = middle;
    else high = middle;
  }
  return Math.abs(x[low] - value) <= Math.abs(x[high] - value) ? low : high;
}
