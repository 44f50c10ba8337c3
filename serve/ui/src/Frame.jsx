// Frames that pages share: a list of what there is, and what went wrong with asking for it.
import React from "react";

// `asked`: as `usePolled` gives it.
export function Trouble({ asked }) {
  if (!asked.error) return null;
  return (
    <p className="banner amber" role="alert">
      {asked.told ? `${asked.error}. What is shown is old.` : asked.error}
    </p>
  );
}

// A panel that lists `rows`, or says why there are none; `children` draw them.
export function Listing({ label, asked, rows, right, empty, kind = "", children }) {
  return (
    <section className={`panel runs ${kind}`} aria-label={label}>
      <header className="legend">
        <h2>{label}</h2>
        {asked.told && <span className="count">{rows.length}</span>}
        {asked.told && right && <span className="right dim">{right}</span>}
      </header>
      <Trouble asked={asked} />
      <div className="scroll">
        {asked.told && rows.length === 0 && <p className="empty">{empty}</p>}
        {children}
      </div>
    </section>
  );
}
