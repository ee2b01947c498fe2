"""The page's style sheet: system fonts, light and dark, wide and narrow; colors and charts serve images, too."""

from __future__ import annotations

PALETTE = """
:root {
  color-scheme: light dark;
  --paper: #fcfcfa; --card: #ffffff; --ink: #1d2329; --soft: #5c6670; --rule: #dfe2e4; --track: #eceeef;
  --accent: #20639b; --heat: #2f7fc1; --cold: #cf6a32; --bad: #c62f3e; --good: #2c8a57;
  --c0: #1b6ca8; --c1: #d1661c; --c2: #2c8a57; --c3: #a3458f; --c4: #8c6d1f; --c5: #5a5fc7; --c6: #c62f3e;
  --c7: #4e8b93;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181c; --card: #1b2127; --ink: #e6e9ec; --soft: #98a3ad; --rule: #323a42; --track: #272e35;
    --accent: #72b4ea; --heat: #3f93d8; --cold: #dd7c46; --bad: #f2707c; --good: #5fc48c;
    --c0: #62aeea; --c1: #f0964f; --c2: #5fc48c; --c3: #d684c4; --c4: #d0b058; --c5: #9a9ef5; --c6: #f2707c;
    --c7: #7cc0ca;
  }
}
"""

CHARTS = """
.chart svg { width: 100%; height: auto; display: block; overflow: visible; }
.chart text { fill: var(--soft); font-size: 11px; font-family: inherit; }
.chart .grid { stroke: var(--rule); stroke-width: 1; } .chart .zero { stroke: var(--soft); stroke-width: 1; }
.chart polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.chart .dashed { stroke-dasharray: 4 3; opacity: .75; } .chart .faint { opacity: .25; stroke-width: 1; }
.c0 { stroke: var(--c0); } .c1 { stroke: var(--c1); } .c2 { stroke: var(--c2); } .c3 { stroke: var(--c3); }
.c4 { stroke: var(--c4); } .c5 { stroke: var(--c5); } .c6 { stroke: var(--c6); } .c7 { stroke: var(--c7); }
.dot { fill: none; stroke-width: 4; }
"""

STYLE = (
    PALETTE
    + CHARTS
    + """
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 1120px; margin: 0 auto; padding: 36px 28px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 2px 0 6px; letter-spacing: -0.01em; text-wrap: balance; }
h2 { font-size: 20px; margin: 52px 0 4px; padding-top: 14px; border-top: 1px solid var(--rule); }
h3 { font-size: 15px; margin: 26px 0 6px; }
p { margin: 4px 0 12px; max-width: 78ch; }
.eyebrow, .soft, .lead, figcaption, .note, dt { color: var(--soft); }
.eyebrow { font-size: 13px; margin: 0; }
.note { font-size: 12.5px; line-height: 1.35; }
code, pre { font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { background: var(--track); padding: 10px 12px; border-radius: 6px; overflow-x: auto; margin: 6px 0 0; }
.facts code { overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin: 20px 0 22px; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 12px 16px; }
.card b { display: block; font-size: 27px; line-height: 1.25; font-weight: 600; }
.card b small { font-size: 15px; font-weight: 400; color: var(--soft); }
.card.first { border-color: var(--accent); border-width: 2px; padding: 11px 15px; }
dl.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 3px 18px; margin: 0 0 14px;
  font-size: 14px; }
dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: 14px; }
th { font-weight: 500; text-align: left; color: var(--soft); font-size: 13px; }
td, th { padding: 5px 10px 5px 0; vertical-align: middle; }
td.n, th.n { text-align: right; }
td.n { white-space: nowrap; }
th.n { vertical-align: bottom; max-width: 130px; }
.scroll { overflow-x: auto; max-width: 100%; }
.result { width: 100%; }
.result td { border-top: 1px solid var(--rule); }
.result tr.group td { border-top: 2px solid var(--soft); }
.result tr.own td { border-top: 2px solid var(--accent); }
.result tr.own .name, .result tr.own .figure { font-weight: 650; }
.result tr.own .note { font-weight: 400; }
.result .name { min-width: 150px; max-width: 330px; line-height: 1.3; }
.result .barcell { width: 38%; min-width: 130px; padding-right: 20px; }
.bar { position: relative; height: 14px; background: var(--track); border-radius: 3px; }
.bar i { position: absolute; inset: 0 auto 0 0; background: var(--soft); opacity: .55; border-radius: 3px 0 0 3px; }
.bar.own i { background: var(--accent); opacity: .9; }
.bar.merged i { background: var(--accent); opacity: .5; }
.bar em { position: absolute; top: 6px; height: 2px; background: var(--ink); }
.bar em::before, .bar em::after { content: ""; position: absolute; top: -3px; width: 1.5px; height: 8px;
  background: var(--ink); }
.bar em::before { left: 0; } .bar em::after { right: 0; }
.bar u { position: absolute; top: -5px; bottom: -5px; width: 0; border-left: 1.5px dashed var(--cold); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(310px, 100%), 1fr)); gap: 18px 22px; }
figure { margin: 0; }
.chart { max-width: 410px; }
figcaption { font-size: 13px; margin-bottom: 2px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 13px; margin: 8px 0 12px; padding: 0;
  list-style: none; }
.legend i { display: inline-block; width: 18px; height: 0; border-top: 3px solid; vertical-align: 4px;
  margin-right: 6px; }
.legend i.dash { border-top: 2px dashed var(--ink); }
.heat { margin: 14px 0 6px; min-width: 0; }
.side { display: flex; flex-wrap: wrap; gap: 0 44px; align-items: flex-start; }
.side > * { max-width: 100%; min-width: 0; }
.side > .grow { flex: 1 1 380px; max-width: 620px; }
.heat table { font-size: 12.5px; border-spacing: 2px; border-collapse: separate; }
.heat td { padding: 4px 5px; min-width: 46px; text-align: center; border-radius: 3px; }
.heat td { background: color-mix(in srgb, var(--heat) calc(var(--v) * 76%), var(--track)); }
.heat td.minus { background: color-mix(in srgb, var(--cold) calc(var(--v) * 76%), var(--track)); }
.heat td.void { background: none; color: var(--soft); }
.heat tbody th { padding-right: 10px; white-space: nowrap; position: sticky; left: 0; background: var(--paper);
  z-index: 1; }
.heat thead th { text-align: center; vertical-align: bottom; padding: 2px 3px; font-size: 12px; }
.heat thead th.tall span { writing-mode: vertical-rl; transform: rotate(180deg); white-space: nowrap; }
.heat tr.own th { color: var(--ink); font-weight: 650; }
.bars { display: grid; grid-template-columns: max-content minmax(60px, 420px) max-content; gap: 6px 14px;
  align-items: center; font-size: 14px; }
.sheet { margin: 22px 0 0; }
.strip { display: grid; grid-template-columns: 74px minmax(0, 1fr); gap: 4px 12px; margin: 8px 0 10px; }
.strip > b { font-size: 13px; font-weight: 600; }
.strip.in > b { color: var(--good); } .strip.out > b { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, 78px); gap: 10px 8px; }
.tile { font-size: 11px; line-height: 1.3; overflow-wrap: anywhere; }
.tile img { display: block; width: 72px; height: 72px; border-radius: 4px; object-fit: contain;
  background: var(--track); }
.tile .gauge { position: relative; width: 72px; height: 4px; margin: 3px 0 2px; background: var(--track); }
.gauge i { position: absolute; inset: 0 auto 0 0; background: var(--soft); }
.in .gauge i { background: var(--good); }
.gauge u { position: absolute; top: -2px; bottom: -2px; width: 2px; background: var(--ink); }
.tile.wrong img { outline: 3px solid var(--bad); outline-offset: -3px; }
.tile.wrong span { color: var(--bad); font-weight: 600; display: block; }
details { margin-top: 16px; } summary { cursor: pointer; font-weight: 500; }
@media (max-width: 640px) {
  main { padding: 20px 14px 48px; }
  h1 { font-size: 24px; }
  .cards { grid-template-columns: 1fr 1fr; } .card b { font-size: 21px; }
  dl.facts { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 7px; }
  .result .wide { display: none; }
  .result .name { min-width: 110px; } .result .barcell { min-width: 80px; padding-right: 10px; }
  .strip { grid-template-columns: 1fr; }
}
"""
)
