# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the report's page looks: one style sheet, for light and dark, wide and narrow, screen and paper."""

from __future__ import annotations

__all__ = ["ICON", "STYLE"]

ICON = """<svg class="icon" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
<circle cx="16" cy="16" r="10.5" fill="none" stroke="currentColor" stroke-opacity=".28" stroke-width="7"/>
<circle cx="16" cy="16" r="10.5" fill="none" stroke="var(--ring)" stroke-width="7" stroke-dasharray="8.247 8.247" stroke-dashoffset="4.12"/>
</svg>"""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f7f6f3; --card: #ffffff; --ink: #1d2329; --soft: #5c6670; --faint: #e4e1da; --trace: #efede8;
  --ring: #c8502b; --sea: #2c5d7c;
  --passed: #1c7248; --failed: #b3261e; --unverified: #8a5a00;
  --passed-wash: #e6f2ea; --failed-wash: #fae9e7; --unverified-wash: #faf0dc;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161a; --card: #1a2026; --ink: #e6e4df; --soft: #9aa5af; --faint: #2e363e; --trace: #232a31;
    --ring: #e2714c; --sea: #7fb2d1;
    --passed: #6cc795; --failed: #f28b82; --unverified: #e5b566;
    --passed-wash: #173326; --failed-wash: #3d201e; --unverified-wash: #382b14;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", Arial, sans-serif;
  -webkit-text-size-adjust: 100%; overflow-wrap: anywhere;
}
main { max-width: 54rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1, h2, p, dl, dd, ol, ul { margin: 0; padding: 0; }
ol, ul { list-style: none; }
code, .code { font-family: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, "DejaVu Sans Mono", monospace; font-size: .875em; }
.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.soft { color: var(--soft); }
.icon { width: 1.5rem; height: 1.5rem; flex: none; }
.brand { display: flex; gap: .625rem; align-items: center; color: var(--soft); font-size: .9375rem; }
.passed { --tone: var(--passed); --wash: var(--passed-wash); }
.failed { --tone: var(--failed); --wash: var(--failed-wash); }
.unverified { --tone: var(--unverified); --wash: var(--unverified-wash); }
.plain { --tone: var(--soft); --wash: var(--trace); }

.verdict { margin-top: 1.75rem; padding-left: 1.25rem; border-left: .3125rem solid var(--tone); }
.verdict h1 { font-size: clamp(2rem, 6vw, 2.75rem); line-height: 1.1; letter-spacing: -.02em; color: var(--tone); font-weight: 650; }
.verdict p { margin-top: .625rem; font-size: 1.0625rem; max-width: 44rem; }
.verdict .soft { font-size: .9375rem; margin-top: .375rem; }

.figures { margin-top: 2rem; display: grid; grid-template-columns: repeat(3, 1fr); gap: 1px; background: var(--faint);
  border: 1px solid var(--faint); border-radius: .5rem; overflow: hidden; }
.figure { background: var(--card); padding: 1.125rem 1.25rem 1.25rem; display: flex; flex-direction: column; }
.figure dt { font-size: .875rem; color: var(--soft); }
.figure dd { font-size: 1.875rem; font-weight: 600; letter-spacing: -.02em; line-height: 1.2; margin-top: .25rem; }
.figure .promise { font-size: .875rem; color: var(--soft); font-weight: 400; letter-spacing: 0; line-height: 1.5; margin-top: .25rem; }
.unmeasured { font-size: 1.25rem; font-weight: 500; color: var(--soft); letter-spacing: 0; }
.gauge { height: .25rem; border-radius: .125rem; background: var(--trace); margin-top: .75rem; overflow: hidden; }
.gauge i { display: block; height: 100%; background: var(--tone); border-radius: .125rem; }
.objective { margin-top: .75rem; font-size: .9375rem; }

.warnings { margin-top: 1.5rem; padding: .875rem 1.25rem; border-radius: .5rem; background: var(--unverified-wash);
  border-left: .3125rem solid var(--unverified); font-size: .9375rem; }
.warnings h2 { font-size: .9375rem; margin-bottom: .25rem; color: var(--unverified); }
.warnings li + li { margin-top: .25rem; }

.trends { display: grid; grid-template-columns: 1fr 1fr; gap: 1px; background: var(--faint); border: 1px solid var(--faint);
  border-radius: .5rem; overflow: hidden; }
.trend { margin: 0; background: var(--card); padding: .875rem 1rem .5rem; min-width: 0; }
.trend figcaption { font-size: .875rem; color: var(--soft); padding-left: .25rem; }
.trend figcaption span { color: var(--ink); font-variant-numeric: tabular-nums; }
.chart { display: block; width: 100%; height: auto; }
.chart text { font: 11px ui-sans-serif, system-ui, sans-serif; fill: var(--soft); font-variant-numeric: tabular-nums; }
.chart .end { text-anchor: end; }
.chart .ground { stroke: var(--faint); }
.chart .promise { fill: none; stroke: var(--soft); stroke-width: 1; stroke-dasharray: 3 3; }
.chart .path { fill: none; stroke: var(--sea); stroke-width: 1.5; stroke-linejoin: round; }
.chart .dot { fill: var(--tone); stroke: var(--card); stroke-width: 1; }
.chart .dot.plain { fill: var(--sea); }
.chart .cross { fill: none; stroke: var(--tone); stroke-width: 2; stroke-linecap: round; }
.chart .middle { text-anchor: middle; }
.window .held { fill: var(--sea); }
.window .lost { fill: none; stroke: var(--failed); stroke-dasharray: 3 3; }
.window path.state { stroke: var(--ink); stroke-width: 1.5; }
.window circle.state { fill: var(--card); stroke: var(--ink); stroke-width: 2.5; }
.trend.card { padding: 1rem 1.25rem .25rem; margin-bottom: .75rem; }
details { margin-top: .75rem; font-size: .9375rem; }
summary { cursor: pointer; color: var(--soft); }
.past li { display: grid; grid-template-columns: 7rem 9.5rem 1fr 1fr 8rem; gap: .125rem 1rem; padding: .375rem .25rem;
  border-bottom: 1px solid var(--faint); font-variant-numeric: tabular-nums; }

section { margin-top: 2.75rem; }
h2 { font-size: 1.125rem; font-weight: 620; letter-spacing: -.005em; margin-bottom: .875rem; display: flex; gap: .75rem;
  align-items: baseline; justify-content: space-between; }
h2 .soft { font-weight: 400; font-size: .9375rem; }
.card { background: var(--card); border: 1px solid var(--faint); border-radius: .5rem; }

.bar { display: flex; gap: 2px; height: 1.5rem; border-radius: .25rem; overflow: hidden; }
.bar i { min-width: 2px; background: var(--sea); }
.legend { margin-top: .75rem; display: grid; grid-template-columns: repeat(auto-fill, minmax(12rem, 1fr));
  gap: .125rem 2rem; font-size: .9375rem; }
.legend li { display: flex; gap: .5rem; align-items: baseline; }
.legend i { width: .625rem; height: .625rem; border-radius: .125rem; background: var(--sea); flex: none; }
.legend span:last-child { margin-left: auto; }

.row { padding: .625rem 1.25rem; border-top: 1px solid var(--faint); font-size: .9375rem;
  display: grid; grid-template-columns: 6.5rem 1.1fr 1fr 1fr; gap: .25rem 1.125rem; align-items: baseline; }
.row:first-child { border-top: 0; }
.head { color: var(--soft); font-size: .875rem; padding-top: .75rem; }
.mark { display: inline-flex; gap: .4375rem; align-items: baseline; white-space: nowrap;
  color: var(--tone); font-size: .875rem; font-weight: 600; }
.mark::before { font-weight: 700; }
.mark.passed::before { content: "\\2713"; }
.mark.failed::before { content: "\\2715"; }
.mark.unverified::before { content: "?"; padding: 0 .1em; }
.name { font-weight: 550; }
.expected, .found { font-size: .875rem; }
.expected { color: var(--soft); }
.detail { grid-column: 2 / -1; font-size: .875rem; margin: .125rem 0 .25rem; padding: .5rem .75rem; border-radius: .25rem;
  background: var(--wash); }

.facts { display: grid; grid-template-columns: 12rem 1fr; font-size: .9375rem; }
.facts > * { padding: .5625rem 1.25rem; border-top: 1px solid var(--faint); }
.facts > dt { color: var(--soft); padding-right: 0; }
.facts > :nth-child(-n+2) { border-top: 0; }
.facts .settings { columns: 2; column-gap: 1.5rem; }

table { width: 100%; border-collapse: collapse; font-size: .9375rem; }
th { text-align: left; font-weight: 400; color: var(--soft); font-size: .875rem; }
th, td { padding: .625rem .5rem .625rem 1.25rem; vertical-align: top; border-top: 1px solid var(--faint); }
thead th { border-top: 0; }
th:last-child, td:last-child { text-align: right; padding-right: 1.25rem; }
.title { font-weight: 550; min-width: 8.5rem; }
th, td.expected { white-space: nowrap; overflow-wrap: normal; }
.unexpected td { background: var(--failed-wash); }
footer { margin-top: 3rem; color: var(--soft); font-size: .875rem; border-top: 1px solid var(--faint); padding-top: 1rem; }

@media (max-width: 40rem) {
  main { padding: 1.5rem 1rem 3rem; }
  .figures { grid-template-columns: 1fr; }
  .figure dd { font-size: 1.625rem; }
  .row { grid-template-columns: 1fr; padding: .875rem 1rem; }
  .row.head { display: none; }
  .row.head + .row { border-top: 0; }
  .row .mark { justify-self: start; }
  .row .expected:not(:empty)::before { content: "expected: "; }
  .row .found:not(:empty)::before { content: "found: "; color: var(--soft); }
  .detail { grid-column: 1; }
  .trends { grid-template-columns: 1fr; }
  .window text { font-size: 19px; }
  .trend.card { padding: .75rem .5rem 0; }
  .past li { grid-template-columns: 1fr 1fr; }
  .facts { grid-template-columns: 1fr; }
  .facts > dt { padding: .625rem 1rem 0; }
  .facts > dd { padding: 0 1rem .625rem; border-top: 0; }
  .facts > :nth-child(2) { border-top: 0; }
  .facts .settings { columns: 1; }
  .legend { grid-template-columns: 1fr; }
  thead { display: none; }
  tr { display: grid; grid-template-columns: 1fr auto; gap: .125rem 1rem; padding: .75rem 1rem; border-top: 1px solid var(--faint); }
  tbody tr:first-child { border-top: 0; }
  td, td:last-child { border: 0; padding: 0; }
  td.expected { display: none; }
  td.reason { grid-column: 1 / -1; grid-row: 2; color: var(--soft); font-size: .875rem; }
  td.seconds { grid-column: 1 / -1; grid-row: 3; text-align: left; color: var(--soft); font-size: .875rem; }
  td.said { text-align: right; }
}
@media print {
  :root { --page: #fff; --card: #fff; }
  main { max-width: none; padding: 0; }
  .row, tr, .figure { break-inside: avoid; }
  .bar i, .legend i, .gauge i, .detail { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
