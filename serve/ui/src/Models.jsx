// The registry of trained models: how versions stand, where they trade, what they were worth. Read only.
import React, { useState } from "react";
import { model as fetchModel, models as fetchModels } from "./api.js";
import { STATES } from "./Books.jsx";
import { Listing, Trouble } from "./Frame.jsx";
import { dated, figures, interval, number, percent, signed, signedPercent, span, tone } from "./format.js";
import { usePolled } from "./poll.js";
import { ms, useStore } from "./store.js";

const LIST_MS = 5000;
const ONE_MS = 15_000;
const NONE = [];
const STAGES = { live: "mode live", canary: "mode canary", shadow: "mode" };
const GRADES = { better: "good", worse: "red" };
const SINGLE = { live: "retired", canary: "candidate" }; // stages of one version: what the one before becomes

export const Models = React.memo(function Models({ store, base }) {
  const [picked, pick] = useState("");
  const [deleted, showDeleted] = useState(false);
  const list = usePolled((signal) => fetchModels(base, deleted, signal), () => LIST_MS, `${base} ${deleted}`);
  const rows = list.told?.models ?? NONE;
  const chosen = rows.find((row) => row.model === picked) ?? rows.find((row) => row.places.length > 0) ?? rows[0];
  const more = list.told && list.told.count > rows.length;
  return (
    <div className="models" data-testid="models">
      <Listing
        label="Models"
        asked={list}
        rows={rows}
        kind="table"
        right={
          <>
            {more ? `those that trade and the newest of ${list.told.count}` : "figures are out of sample"}
            <label>
              <input type="checkbox" checked={deleted} onChange={(event) => showDeleted(event.target.checked)} /> deleted too
            </label>
          </>
        }
        empty={
          <>
            No model is in this state folder's registry yet. <code>don models import FOLDER</code> takes in what a training
            exported; it shows here then.
          </>
        }
      >
        {rows.length > 0 && (
          <table>
            <thead>
              <tr>
                {COLUMNS.map(([name, kind, title]) => (
                  <th key={name} className={kind} title={title}>
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.model} aria-selected={row === chosen} onClick={() => pick(row.model)} data-testid={`model ${row.model}`}>
                  {COLUMNS.map(([name, kind, , cell]) => (
                    <td key={name} className={kind}>
                      {cell(row, () => pick(row.model))}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Listing>
      {chosen ? (
        <One key={chosen.model} store={store} base={base} row={chosen} rows={rows} session={list.told.session} />
      ) : (
        <section className="panel" />
      )}
    </div>
  );
});

const Stage = ({ row }) =>
  row.deleted ? <span className="tag red">deleted</span> : <span className={`tag ${STAGES[row.stage] ?? ""}`}>{row.stage}</span>;

// Depths are shown below zero, as everywhere on this console.
const down = (value) => percent(-Math.abs(value), 1);

const Place = ({ place }) => (
  <span className={place.held ? "" : "amber"} title={place.held ? "" : "it was moved since the session began"}>
    {place.mode} <span className="dim">{place.slot || "whole account"}</span>
  </span>
);

// name, class, what it means, of a row
const COLUMNS = [
  [
    "Model",
    "",
    "",
    (row, pick) => (
      <button type="button" className="plain" onClick={pick}>
        {row.model}
        {row.places.length > 0 && <i className="dot live" role="img" aria-label="in the running session" />}
      </button>
    ),
  ],
  ["Stage", "left", "", (row) => <Stage row={row} />],
  ["Since, UTC", "left mid", "when it came to its stage", (row) => <span className="dim">{dated(ms(row.ts_since))}</span>],
  ["In session", "left mid", "how the running session has it, and in which slot", (row) => row.places.map((place) => <Place key={place.slot} place={place} />)],
  ["Algorithm", "left wide", "", (row) => row.algorithm],
  ["Steps", "wide", "agent-steps of training", (row) => number(row.steps, 0)],
  ["Return", "", "out of sample", (row) => (row.total_return === null ? "" : <span className={tone(row.total_return)}>{signedPercent(row.total_return, 1)}</span>)],
  ["Sharpe", "", "out of sample, a year", (row) => (row.sharpe === null ? "" : number(row.sharpe))],
  ["Deflated", "mid", "probability that the true Sharpe ratio is above zero, knowing of the trials", (row) => (row.deflated_sharpe === null ? "" : number(row.deflated_sharpe))],
  ["Drawdown", "mid", "the deepest, out of sample", (row) => (row.max_drawdown === null ? "" : down(row.max_drawdown))],
  ["Verdict", "left", "of the last evaluation", (row) => <Verdict row={row} />],
];

function Verdict({ row }) {
  if (row.grade) return <span className={`tag ${GRADES[row.grade] ?? ""}`}>{row.grade}</span>;
  return <span className="dim">{row.evaluated ? "" : "not evaluated"}</span>;
}

function One({ store, base, row, rows, session }) {
  const asked = usePolled(
    (signal) => fetchModel(base, row.model, signal),
    () => ONE_MS,
    `${base} ${row.model} ${row.stage} ${row.ts_since}`,
  );
  const told = asked.told;
  return (
    <section className="panel model" aria-label="Model">
      <header className="legend">
        <h2>{row.model}</h2>
        <Stage row={row} />
        <span className="right dim">{row.id}</span>
      </header>
      <Trouble asked={asked} />
      <div className="scroll" data-testid="model-details">
        <Session store={store} row={row} session={session} />
        {told && <Worth told={told} />}
        <Moving row={row} rows={rows} />
        {told && <History told={told} />}
        {told && <Card told={told} />}
      </div>
    </section>
  );
}

function Session({ store, row, session }) {
  const slots = useStore(store, (s) => s.desk?.slots) ?? NONE;
  if (session === null) return <p className="note amber">Whether the running session has it is not known: the board does not answer.</p>;
  if (!session) return <p className="note dim">No session runs.</p>;
  if (row.places.length === 0) return <p className="note dim">Session {session} does not have it.</p>;
  return row.places.map((place) => {
    const book = slots.find((each) => each.book === place.slot);
    return (
      <p key={place.slot} className="note" data-testid="model-place">
        Session {session} has it as <b>{place.mode}</b>, {place.slot ? `slot ${place.slot}` : "with the whole account"}
        {book?.state && book.state !== "active" && <span className={`tag ${STATES[book.state] ?? ""}`}>{book.state}</span>}
        {book && (
          <>
            , P&L {place.mode === "shadow" ? "on paper " : ""}<span className={tone(book.pnl)}>{signed(book.pnl)}</span>
          </>
        )}
        .
        {!place.held && (
          <span className="amber">
            {" "}
            It is {row.deleted ? "deleted" : row.stage} in the registry now; the session goes on with it until it ends, unless
            its slot is halted.
          </span>
        )}
      </p>
    );
  });
}

const WORDS = {
  total_return: ["Return", (value) => <span className={tone(value)}>{signedPercent(value, 1)}</span>],
  sharpe: ["Sharpe, a year", (value) => number(value)],
  deflated_sharpe: ["Deflated Sharpe", (value) => number(value)],
  max_drawdown: ["Drawdown", down],
};

const Facts = ({ values }) => (
  <dl>
    {[...Object.keys(WORDS).filter((name) => name in values), ...Object.keys(values).filter((name) => !(name in WORDS))].map((name) => {
      const value = values[name];
      const [label, show] = WORDS[name] ?? [name.replaceAll("_", " "), figures];
      return (
        <div key={name}>
          <dt>{label}</dt>
          <dd>{show(value)}</dd>
        </div>
      );
    })}
  </dl>
);

function Worth({ told }) {
  const { row, evaluation, evaluation_run: run } = told;
  return (
    <div className="progress">
      <h3>Out of sample</h3>
      {!row.evaluated && (
        <p>
          Not evaluated. <code>don evaluate {row.model}</code> says what it is worth on bars that it has not seen.
        </p>
      )}
      <Facts values={told.out_of_sample} />
      {evaluation && (
        <p data-testid="model-answer">
          <span className={`tag ${GRADES[evaluation.grade] ?? ""}`}>{evaluation.grade}</span> {evaluation.answer.replace(/(^|[\s(])-(?=\d)/g, "$1\u2212")}{" "}
          <span className="dim">
            Run {evaluation.run} of the research ledger, {dated(ms(evaluation.ts_end))} UTC.
          </span>
        </p>
      )}
      {!evaluation && run !== null && <p className="dim">What run {run} answered is not in this research ledger.</p>}
      {row.evaluated && run === null && <p className="dim">These figures came with its card: no evaluation of Don's is on record.</p>}
      <h3>In sample</h3>
      <Facts values={told.in_sample} />
      <p className="dim">
        {Object.keys(told.in_sample).length > 0
          ? "Of training, on bars that it has seen: no measure of what it is worth."
          : "Its training told nothing."}
      </p>
    </div>
  );
}

function Moving({ row, rows }) {
  if (row.deleted) return null;
  const next = row.next_stage;
  const room = SINGLE[next] && rows.find((each) => each.name === row.name && each.stage === next);
  return (
    <div className="progress">
      <h3>To move it</h3>
      <p className="dim">Nothing is moved from here: versions are moved by command, where DON_HOME is this Don's, and each move keeps its reason.</p>
      {next && <Line text={`don models promote ${row.model} --from ${row.stage} --reason "WHY"`} note={`to ${next}`} />}
      {row.stage in STAGES && <Line text={`don models demote ${row.model} --reason "WHY"`} note="to candidate" />}
      {next in SINGLE && row.grade !== "better" && (
        <p className="amber">
          {next === "live" ? "It would trade" : "It would trade with bounded capital"} from the next <code>don up</code> on, and it is
          not shown to be better than holding out of sample.
        </p>
      )}
      {room && (
        <p>
          {room.model} is {next} and would become {SINGLE[next]}.
        </p>
      )}
    </div>
  );
}

function Line({ text, note }) {
  const [copied, copy] = useState(false);
  return (
    <p className="command">
      <code>{text}</code>
      {navigator.clipboard && (
        <button type="button" onClick={() => navigator.clipboard.writeText(text).then(() => copy(true), () => copy(false))}>
          {copied ? "copied" : "copy"}
        </button>
      )}
      <span className="dim">{note}</span>
    </p>
  );
}

function History({ told }) {
  const events = [
    { ...told.imported, what: "imported" },
    ...told.moves.map((move) => ({ ...move, what: `${move.before} \u2192 ${move.after}` })),
    ...(told.deletion ? [{ ...told.deletion, what: "deleted" }] : []),
  ].reverse();
  return (
    <div className="progress">
      <h3>History, newest first</h3>
      <ol className="history" data-testid="model-history">
        {events.map((event, n) => (
          <li key={n}>
            <span className="dim">{dated(ms(event.ts))} UTC</span> <b>{event.what}</b> <span className="dim">by</span> {event.who}
            {event.rule && <span className="tag amber">rule: {event.rule}</span>}
            {event.why && <p>{event.why}</p>}
          </li>
        ))}
      </ol>
    </div>
  );
}

// Of what a training noted of its data, as JSON: name and value.
function named(text) {
  if (!text) return "";
  try {
    return Object.entries(JSON.parse(text))
      .map(([name, value]) => `${name} ${Array.isArray(value) ? value.join(" ") : value}`)
      .join(", ");
  } catch {
    return text;
  }
}

function Card({ told }) {
  const { card, row } = told;
  const notes = card.notes ?? {};
  const shares = Object.entries(card.data_shares ?? {}).filter(([, value]) => value);
  const facts = [
    ["Trained", `${row.algorithm || "unknown algorithm"}, ${number(row.steps, 0)} agent-steps, ${span(card.trained.seconds)}, seed ${row.seed}`],
    ["Trained from", card.parent || "nothing: from the start"],
    ["Networks", Object.entries(card.policies).map(([name, spec]) => `${name} (${spec.net.kind})`).join(", ")],
    ["Form, actions", `${card.env.form}, ${card.env.action.kind}`],
    ["Symbols", row.symbols.join(", ")],
    ["Bars", interval(row.interval_s * 1e9)],
    ["Features", card.features.join(", ")],
    ["Data", [card.data_source || "unknown", ...shares.map(([name, value]) => `${percent(value, 1)} ${name}`)].join(", ")],
    ["Data from, to", notes.data_start && `${dated(ms(notes.data_start))} to ${dated(ms(notes.data_end))} UTC`],
    ["Data as named", named(notes.data)],
    ["Counted", notes.ledger_run && `run ${notes.ledger_run} of research ledger ${notes.ledger}, ${notes.ledger_trials} trials of these data by then`],
    ["Imported from", told.source],
    ["Content (id)", row.id],
    ["Configuration hash", told.config_hash],
    ["Feature hash", card.feature_hash],
    ["Schema hash", told.schema_hash || "unknown: its files cannot be read"],
    ["Data hash", card.data_hash],
    ["Code", card.code_version],
  ].filter(([, value]) => value);
  return (
    <div className="progress">
      <h3>Card</h3>
      <dl className="card">
        {facts.map(([name, value]) => (
          <React.Fragment key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </React.Fragment>
        ))}
      </dl>
    </div>
  );
}
