// Trainings: which run, how far they are, what they learn. Updates while one runs.
import React, { useMemo, useState } from "react";
import { curve as fetchCurve, trainings as fetchTrainings } from "./api.js";
import { Listing, Trouble } from "./Frame.jsx";
import { Lines } from "./Lines.jsx";
import { clock, compact, figures, moment, number, percent, span } from "./format.js";
import { usePolled } from "./poll.js";
import { useNow } from "./TopBar.jsx";
import { ms } from "./store.js";

const POINTS = 400;
const LIVE_MS = 1500;
const LIST_MS = 3000; // so soon a training that begins is seen
const REST_MS = 10_000;
const QUIET_S = 120; // a running one that told nothing for so long is worth a look
const TAGS = { running: "run", done: "", stopped: "amber", failed: "red", died: "red" };
const NONE = [];

export const Training = React.memo(function Training({ base }) {
  const [picked, pick] = useState("");
  const list = usePolled(
    (signal) => fetchTrainings(base, signal),
    (told) => (told?.some((row) => row.state === "running") ? LIVE_MS : LIST_MS),
    base,
  );
  const rows = list.told ?? NONE;
  const chosen = rows.some((row) => row.id === picked) ? picked : (rows.find(shows)?.id ?? rows[0]?.id ?? "");
  return (
    <div className="training" data-testid="training">
      <Listing
        label="Trainings"
        asked={list}
        rows={rows}
        right={`${rows.filter((row) => row.state === "running").length} running`}
        empty={
          <>
            No training is known to this state folder yet. <code>don train CONFIG</code> begins one; it shows here from its
            first second on.
          </>
        }
      >
        <ul>
          {rows.map((row) => (
            <Run key={row.id} row={row} chosen={row.id === chosen} pick={pick} />
          ))}
        </ul>
      </Listing>
      {chosen ? <Curves key={chosen} base={base} run={chosen} /> : <section className="panel" />}
    </div>
  );
});

const shows = (row) => row.state === "running" && row.iteration !== null;

function Run({ row, chosen, pick }) {
  return (
    <li className={row.parent ? "part-of" : ""}>
      <button type="button" aria-pressed={chosen} onClick={() => pick(row.id)} data-testid={`training ${row.name}`}>
        <b>{row.name || row.folder.split("/").pop()}</b>
        <span className={`tag ${TAGS[row.state]}`}>{row.state}</span>
        <span className="dim">
          {row.kind === "train" ? "" : `${row.kind} `}
          {moment(ms(row.ts_start))}
        </span>
        <span className="right">
          {row.iteration === null ? (
            <span className="dim">{row.kind === "train" ? "no figures yet" : ""}</span>
          ) : (
            <>
              <span title="mean reward of an episode, in sample, while exploring">
                <small className="dim">reward</small> {figures(row.episode_return)}
              </span>{" "}
              <small className="dim">
                after {number(row.iteration, 0)} {row.iteration === 1 ? "iteration" : "iterations"}
              </small>
            </>
          )}
        </span>
      </button>
    </li>
  );
}

// Return first, then what is judged on other bars, then losses; each figure of all policies in one picture.
function charts(told) {
  const found = new Map();
  const band = {};
  for (const { name, values } of told?.series ?? NONE) {
    const steps = name.split("/");
    if (name === "episode_return/min") band.low = values;
    else if (name === "episode_return/max") band.high = values;
    else if (steps[0] === "losses" && steps.length === 3) add(found, `2 ${steps[2]}`, steps[1], values);
    else if (name === "episode_return/mean") add(found, "0 return", "mean", values);
    else if (steps[0].startsWith("eval")) add(found, `1 ${steps[0]}`, steps.slice(1).join(" ") || "mean", values);
    else if (name === "steps_per_s") add(found, "3 steps_per_s", "steps", values);
  }
  return [...found.entries()]
    .sort(([a], [b]) => (a[0] === b[0] ? 0 : a < b ? -1 : 1))
    .map(([key, lines]) => ({ key, lines, band: key === "0 return" && band.low && band.high ? band : undefined }));
}

function add(found, key, name, values) {
  if (!values.some((value) => value !== null)) return;
  found.set(key, [...(found.get(key) ?? []), { name, values }]);
}

const TITLES = {
  "2 kl": ["KL divergence", "of the update"],
  "2 explained": ["Explained variance", "of returns, by the value"],
  "0 return": ["Reward of an episode", "mean of an agent, in sample, while exploring; band from least to greatest"],
  "3 steps_per_s": ["Speed", "agent-steps a second"],
};
const titleOf = (key) =>
  TITLES[key] ?? [key.slice(2).replaceAll("_", " "), key[0] === "1" ? "on other bars" : ""];

function Curves({ base, run }) {
  const { told, error } = usePolled(
    (signal) => fetchCurve(base, run, POINTS, signal),
    (found) => (found && found.training.state !== "running" ? REST_MS : LIVE_MS),
    `${base} ${run}`,
  );
  const drawn = useMemo(() => charts(told), [told]);
  const row = told?.training;
  return (
    <section className="panel curves" aria-label="Learning curve">
      <header className="legend">
        <h2>{row ? row.name || row.id : "Learning curve"}</h2>
        {row && <span className={`tag ${TAGS[row.state]}`}>{row.state}</span>}
        {row && (
          <span className="right dim folder" title={row.folder}>
            <bdi>{row.folder}</bdi>
          </span>
        )}
      </header>
      <Trouble asked={{ told, error }} />
      {row && <Progress row={row} />}
      {row?.detail && <p className={`banner ${row.state === "failed" ? "red" : "amber"}`}>{row.detail}</p>}
      <div className="scroll grid">
        {drawn.map(({ key, lines, band }) => (
          <Lines
            key={key}
            title={titleOf(key)[0]}
            note={titleOf(key)[1]}
            testid={`curve ${key.slice(2)}`}
            x={told.iterations}
            lines={lines}
            band={band}
          />
        ))}
        {told && told.iterations.length === 0 && (
          <p className="empty">
            {row.state === "running"
              ? "The first iteration is not over yet."
              : row.kind === "tune" || row.kind === "study"
                ? "Its trainings are listed behind it."
                : "It ended before its first iteration was over."}
          </p>
        )}
      </div>
    </section>
  );
}

function Progress({ row }) {
  const now = useNow(1000);
  const running = row.state === "running";
  const done = row.seconds !== null && row.eta_s !== null ? row.seconds / Math.max(row.seconds + row.eta_s, 1e-9) : null;
  const quiet = row.ts_progress ? (now - ms(row.ts_progress)) / 1000 : 0;
  const facts = [
    ["Iteration", row.iteration === null ? "" : number(row.iteration, 0)],
    ["Agent-steps", row.steps === null ? "" : compact(row.steps)],
    ["Reward of an episode", row.episode_return === null ? "" : figures(row.episode_return)],
    ["Episode", row.episode_bars === null ? "" : `${number(row.episode_bars, 0)} ${row.episode_bars === 1 ? "bar" : "bars"}`],
    ["Trained", row.seconds === null ? "" : span(row.seconds)],
    ["Speed", row.steps_per_s === null ? "" : `${number(row.steps_per_s, 0)}/s`],
    ["Left", running && row.eta_s !== null ? `${span(row.eta_s)}, until ${clock(now + row.eta_s * 1000).slice(0, 5)} UTC` : ""],
    ["Ended", row.ts_end ? `${moment(ms(row.ts_end))} UTC` : ""],
  ].filter(([, value]) => value);
  return (
    <div className="progress">
      {running && done !== null && (
        <i className="bar" role="img" aria-label={`${percent(done, 0)} done`}>
          <i style={{ width: `${done * 100}%` }} />
        </i>
      )}
      <dl>
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {row.episode_return !== null && (
        <p className="dim">
          Rewards are sums over a whole episode of training, in sample, while exploring, in what <code>[env.reward]</code>{" "}
          counts: log returns, for instance, less its penalties. They are not the P&amp;L of the account above. What it is
          worth on other bars, <code>don evaluate</code> says.
        </p>
      )}
      {running && quiet > QUIET_S && <p className="amber">Nothing told for {span(quiet)}.</p>}
    </div>
  );
}
