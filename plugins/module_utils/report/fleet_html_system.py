# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One system on the fleet's page: why its light is what it is, what was measured, what one can recover to, and what was found."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED
from ansible_collections.lifeboat.postgres.plugins.module_utils.monitoring.judge import FRESH
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet import (
    Asset,
    Audited,
    Drills,
    Judged,
    Key,
    Place,
    System,
    Window,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_drawings import calendar, marks, spans
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_light import Light, promised, worst
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.html_parts import (
    checks_of,
    code,
    counts_of,
    figure,
    mark,
    sentence,
    text,
    trends,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.trend import Point
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration, many, size

__all__ = ["details_of"]


def details_of(number: int, system: System, light: Light, unfolded: bool) -> str:
    """Everything about one system, to be folded; `number` is its place in the list above."""
    tier = system.objective.tier or ("an objective of its own" if system.objective.anything else "no objective")
    title = f'{mark(light.verdict, light.word)}<span>{text(system.system)}</span><span class="soft">{text(tier)}</span>'
    parts = [_reasons(light), _figures(system), _reach(system), _drills(system), _places(system), _keys(system.protected_keys)]
    parts += [_audit(system.audit), _freshness(system.freshness), _about(system)]
    return (
        f'<details class="system"{" open" if unfolded else ""}><summary><h2>{title}</h2></summary>'
        f'<div id="s{number}">{"".join(parts)}</div></details>'
    )


def _reasons(light: Light) -> str:
    listed = [f'<li class="{verdict}">{mark(verdict, _SAYS[verdict])}<span>{sentence(said)}</span></li>' for verdict, said in light.reasons]
    return f'<ul class="reasons">{"".join(listed)}</ul>' if listed else ""


_SAYS = {FAILED: "bad", UNVERIFIED: "in doubt"}


def _figures(system: System) -> str:
    tiles = []
    for what, label in (("rpo", "RPO measured"), ("rto", "RTO measured, to the last green check")):
        found = worst(system, what)
        several = len(system.drills) > 1 and found.asset
        notes = [f"of {found.asset}"] if several else []
        notes += [f"not measured of {', '.join(found.missing)}"] if found.missing and found.seconds is not None else []
        tiles.append(figure(label, found.seconds, promised(system, what), "nothing promised", "; ".join(notes)))
    return f'<dl class="figures">{"".join(tiles)}</dl>'


def _reach(system: System) -> str:
    """What one can recover to, as bars over one line of time that ends when the system was looked at."""
    begins = [asset.points[0] for asset in system.assets if asset.points]
    begins += [window.begins for archive in system.archives for window in archive.windows]
    if not begins:
        return ""
    begin, end = min(begins), system.looked_at
    rows = []
    for archive in system.archives:
        said = "; ".join(map(_span, archive.windows[-2:])) or "no moment between base backups"
        rows.append(_bar(f"log in {archive.repository}", spans(archive.windows, begin, end), said))
    for asset in system.assets:
        rows.append(_bar(f"{asset.kind} {asset.name}", marks(asset.points, begin, end), _held(asset)))
    ends = f'<div><span></span><span class="said ends"><span>{_minute(begin)}</span><span>{_minute(end)}</span></span></div>'
    return _part("What can be recovered", f'<div class="card reach">{"".join(rows)}{ends}</div>', "a band is any moment, a mark is one")


def _span(window: Window) -> str:
    end = "" if window.current else ", then a gap"
    return f"any moment from {_minute(window.begins)} to about {_minute(window.until or window.begins)}{end}"


def _held(asset: Asset) -> str:
    """How many moments the good backups of an asset hold, and how the newest one lies there."""
    if asset.newest_at is None:
        return "no good backup"
    sealed = "not sealed" if asset.encryption in ("", "none") else f"sealed with {asset.encryption}"
    newest = f"the newest {_minute(asset.newest_at)}, {size(asset.size_bytes)}, {sealed}"
    return f"{many(len(asset.points), 'moment')}; {newest}{', signed' if asset.signed else ''}"


def _bar(name: str, drawn: str, said: str) -> str:
    return f'<div><span class="name">{text(name)}</span>{drawn}<span class="said">{text(said)}</span></div>'


def _drills(system: System) -> str:
    if not system.drills:
        return ""
    return _part("Drills", "".join(map(_drilled, system.drills)))


def _drilled(drills: Drills) -> str:
    asset, last = f"{drills.kind} {drills.name}", drills.last
    if last is None:
        return f'<div class="card drill">{mark(UNVERIFIED, "never drilled")} <span class="name">{text(asset)}</span></div>'
    took = [f"RTO {duration(last.verified_seconds)}" if last.verified_seconds is not None else "RTO not measured"]
    took.append(f"RPO {duration(last.rpo_seconds)}" if last.rpo_seconds is not None else "RPO not measured")
    said = f"{_minute(last.started_at)} on {last.host}, backup {last.backup_id or 'none'}"
    folded = "" if last.verdict == PASSED else " open"
    head = (
        f'{mark(last.verdict)} <span class="name">{text(asset)}</span>: {sentence(last.reason)}'
        f'<br><span class="said">{text(said)}; {text(", ".join(took))}</span>'
    )
    checks = f"<details{folded}><summary>{text(counts_of(last.checks) or 'no check')}</summary>{checks_of(last.checks)}</details>"
    rto = [Point(one.at, one.verdict, one.rto_seconds, one.rto_promised) for one in drills.history]
    rpo = [Point(one.at, one.verdict, one.rpo_seconds, one.rpo_promised) for one in drills.history]
    drawn = trends(rto, rpo) if len(drills.history) > 1 else ""
    return f'<div class="card drill">{head}{drawn}{checks}</div>'


def _places(system: System) -> str:
    if not system.places:
        return ""
    newest = [dt.date.fromisoformat(day.date) for place in system.places for day in place.days]
    until = max([system.looked_at.date(), *(date for date in newest if date - system.looked_at.date() <= dt.timedelta(days=1))])
    return _part("Backups per repository", f'<div class="places">{"".join(_place(place, until) for place in system.places)}</div>')


def _place(place: Place, until: dt.date) -> str:
    kind = f"{place.type}, copied from {place.copy_from}" if place.copy_from else place.type
    if place.problem:
        said, drawn = f"{mark(UNVERIFIED, 'not reached')}<br>{text(place.problem)}", ""
    else:
        bad = f" {mark(FAILED, f'{place.bad} not good')}" if place.bad else ""
        reach = f"; {place.oldest:%Y-%m-%d} to {place.newest:%Y-%m-%d}" if place.oldest is not None and place.newest is not None else ""
        said = f'<span class="soft">{text(many(place.backups, "backup"))}, {size(place.size_bytes)}{reach}</span>{bad}'
        drawn = calendar(place.days, until)
    caption = f'<span class="name">{text(place.name)}</span> <span class="soft">{text(kind)}</span><br>{said}'
    return f'<figure class="card place"><figcaption>{caption}</figcaption>{drawn}</figure>'


def _keys(keys: Sequence[Key]) -> str:
    rows = []
    for key in keys:
        if not key.vault:
            verdict = mark("plain", "not looked")
        else:
            verdict = mark(FAILED, "missing" if not key.backup_id else "not whole") if key.problem else mark(PASSED, "there")
        known = key.fingerprint or key.needed
        needed = "the newest backups need it" if key.needed and key.needed == key.fingerprint else ""
        said = key.problem or needed or ("the vault was not looked into" if not key.vault else "no backup names it")
        rows.append([verdict, _name(key.name), text(key.vault), f"{f'{code(known)}<br>' if known else ''}{text(said)}"])
    return _table("Keys and fingerprints", ("", "key", "vault", "fingerprint"), rows)


def _audit(findings: Sequence[Audited]) -> str:
    order = ("weak", "unknown", "good")
    tones = {"weak": UNVERIFIED, "unknown": "plain", "good": PASSED}
    rows = [
        [mark(tones[one.verdict], one.verdict), _name(one.rule), text(one.where), _said(one.detail, one.advice)]
        for one in sorted(findings, key=lambda finding: order.index(finding.verdict))
    ]
    counts = ", ".join(f"{number} {word}" for word in order if (number := sum(one.verdict == word for one in findings)))
    return _folded("Audit", ("", "rule", "where", "found"), rows, counts, any(one.verdict == "weak" for one in findings))


def _name(value: str) -> str:
    return f'<span class="name">{text(value)}</span>'


def _said(detail: str, advice: str) -> str:
    return text(detail) + (f'<br><span class="soft">{text(advice)}</span>' if advice else "")


def _freshness(findings: Sequence[Judged]) -> str:
    rows = [
        [
            mark(PASSED if one.state == FRESH else FAILED, one.state),
            _name(one.asset),
            text(one.repository or one.what),
            text(one.reason or (_minute(one.moment) if one.moment is not None else "")),
        ]
        for one in sorted(findings, key=lambda finding: finding.state == FRESH)
    ]
    fresh = sum(one.state == FRESH for one in findings)
    return _folded("Freshness", ("", "what", "where", "newest"), rows, f"{fresh} of {len(findings)} fresh", fresh < len(findings))


def _about(system: System) -> str:
    return f'<p class="soft more">Seen by {code(system.host)} at {_minute(system.looked_at)}.</p>' if system.host else ""


def _folded(title: str, head: tuple[str, ...], rows: Sequence[Sequence[str]], counts: str, unfolded: bool) -> str:
    if not rows:
        return ""
    opened = " open" if unfolded else ""
    return _part(title, f'<details class="more"{opened}><summary>{text(counts)}</summary>{_rows(head, rows)}</details>')


def _table(title: str, head: tuple[str, ...], rows: Sequence[Sequence[str]]) -> str:
    return _part(title, _rows(head, rows)) if rows else ""


def _rows(head: tuple[str, ...], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already."""
    first = "".join(f"<span>{text(word)}</span>" for word in head)
    below = "".join(f'<div class="row">{"".join(f"<span>{cell}</span>" for cell in row)}</div>' for row in rows)
    return f'<div class="card wide"><div class="row head">{first}</div>{below}</div>'


def _part(title: str, body: str, aside: str = "") -> str:
    beside = f'<span class="soft">{text(aside)}</span>' if aside else ""
    return f"<h3>{text(title)}{beside}</h3>{body}"


def _minute(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
