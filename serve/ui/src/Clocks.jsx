// Our clock against each exchange's: how far ahead, how sure.
import React from "react";
import { number, signed, span } from "./format.js";

const APART_S = 1; // further apart than that, for certain: ages and latencies mean little
const OLD_S = 180; // they are compared every minute

export function offset(clock) {
  const error = clock.error_s === null || clock.error_s === undefined ? "" : ` ± ${number(clock.error_s * 1000, 1)}`;
  return `${signed(clock.ahead_s * 1000, 1)}${error} ms`;
}

export const apart = (clock) => Math.abs(clock.ahead_s) - (clock.error_s ?? 0) > APART_S;

export function Clocks({ clocks, compact }) {
  if (!clocks.length) return null;
  return (
    <ul className={compact ? "clocks inline" : "clocks"} aria-label="Clocks">
      {clocks.map((clock) => (
        <li
          key={`${clock.exchange} ${clock.source}`}
          className={clock.age_s > OLD_S ? "faint" : apart(clock) ? "amber" : ""}
          title={`Our clock before that of ${clock.exchange}, measured by ${clock.source}`}
          data-testid={`clock ${clock.exchange}`}
        >
          <span className="name">Clock to {clock.exchange}</span>
          <span className="value">{offset(clock)}</span>
          {clock.age_s > OLD_S && <span>measured {span(clock.age_s)} ago</span>}
        </li>
      ))}
    </ul>
  );
}
