# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the fleet's page looks, beyond what every page has (report/html_style.py)."""

from __future__ import annotations

__all__ = ["FLEET_STYLE"]

FLEET_STYLE = """
main { max-width: 66rem; }
a { color: inherit; text-decoration-color: var(--soft); text-underline-offset: .2em; }
.label { display: none; }
.fleet .row { grid-template-columns: 6.25rem 1.5fr 1.15fr 1.15fr 1fr 1.1fr; }
.fleet .said { grid-column: 2 / -1; font-size: .875rem; color: var(--soft); margin-top: -.125rem; }
.fleet .failing { background: var(--failed-wash); }
.fleet .of { display: block; color: var(--soft); font-size: .8125rem; }
.wide .row { grid-template-columns: 6.25rem 1.1fr 1fr 1.6fr; }
.wide .row > :nth-child(n+3), .said { font-size: .875rem; }
details.system { margin-top: 2.5rem; border-top: 1px solid var(--faint); padding-top: 1.25rem; }
details.system > summary { color: var(--ink); }
details.system > summary h2 { display: inline-flex; flex-wrap: wrap; width: calc(100% - 1.25rem); margin: 0; vertical-align: baseline;
  justify-content: flex-start; gap: .25rem 1rem; font-size: 1.375rem; }
details.system > summary h2 .mark { font-size: 1rem; align-self: center; }
details.system > summary h2 .soft { margin-left: auto; align-self: center; }
.system .card summary, .more summary { padding: .5rem 0; }
h3 { font-size: .9375rem; font-weight: 620; margin: 1.75rem 0 .625rem; display: flex; gap: .75rem; justify-content: space-between; }
h3 .soft { font-weight: 400; }
.reasons { margin-top: 1rem; }
.reasons li { padding: .5rem .875rem; border-left: .25rem solid var(--tone); background: var(--wash); font-size: .9375rem;
  border-radius: .25rem; margin-top: .375rem; display: flex; gap: .75rem; }
.reasons .mark { flex: none; }
.figures { grid-template-columns: 1fr 1fr; margin-top: 1.25rem; }
.places { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: .75rem; }
.place { margin: 0; padding: .875rem 1rem; min-width: 0; font-size: .875rem; }
.place figcaption { margin-bottom: .5rem; }
.place .calendar { max-width: 17rem; }
.calendar .empty { fill: var(--trace); stroke: var(--faint); stroke-width: .5; }
.calendar .good { fill: var(--sea); }
.calendar .bad { fill: var(--failed-wash); stroke: var(--failed); stroke-width: 1; }
.calendar .out { fill: none; stroke: var(--failed); stroke-width: 2; stroke-linecap: round; }
.calendar text { font-size: 9px; }
.reach { padding: .375rem 1.25rem .75rem; }
.reach > div { display: grid; grid-template-columns: 12rem 1fr; gap: .125rem 1rem; align-items: center; padding: .4375rem 0; }
.reach .said { grid-column: 2; color: var(--soft); font-size: .8125rem; }
.reach .name { font-size: .9375rem; }
.reach .ends { display: flex; justify-content: space-between; }
.span { display: block; width: 100%; height: 1rem; }
.span .ground { fill: var(--faint); }
.span .point { fill: var(--ink); opacity: .75; }
.span .held { fill: var(--sea); }
.drill { padding: .875rem 1.25rem; font-size: .9375rem; margin-top: .75rem; }
.drill .said { color: var(--soft); }
.drill .card { margin-top: .25rem; }
.drill .trends { margin-top: .75rem; }
.drill + .trends { margin-top: .75rem; }
@media (max-width: 40rem) {
  .label { display: inline; color: var(--soft); font-size: .875rem; }
  .label::after { content: " "; }
  .fleet .row, .wide .row { grid-template-columns: 1fr; }
  .fleet .of { display: inline; font-size: .875rem; }
  .fleet .said { grid-column: 1; margin: 0; }
  .figures { grid-template-columns: 1fr; }
  .reach { padding: .375rem 1rem .75rem; }
  .reach > div { grid-template-columns: 1fr; }
  .reach .said { grid-column: 1; }
  details.system > summary h2 .soft { margin-left: 0; width: 100%; }
  .reasons li { display: block; }
  .reasons .mark { margin-right: .5rem; }
}
@media print {
  main { max-width: none; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .place, .drill, .reach > div, .reasons li { break-inside: avoid; }
  details.system { break-before: auto; }
  .reasons li, .fleet .failing, .calendar, .span { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
