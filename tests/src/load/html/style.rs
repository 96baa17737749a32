//! The report's style sheet. The report is readable on a phone and on a wide screen, in light and
//! in dark mode.

use crate::load::plot::{GRID, INK, hex};

/// The style sheet. In dark mode it replaces the colours of ink and grid in the pictures.
pub fn style() -> String {
    let (ink, grid) = (hex(INK), hex(GRID));
    let colors = format!(
        ":root {{ color-scheme: light dark; --ink: {ink}; --soft: #5a5f66; --grid: {grid}; --back: #ffffff; --box: #f3f4f6; --bad: #b3261e; --good: #0b6b45; }}\n\
         @media (prefers-color-scheme: dark) {{ :root {{ --ink: #e4e6ea; --soft: #a3a8b0; --grid: #3c4047; --back: #17191c; --box: #22252a; --bad: #ff8a80; --good: #6fd3a6; }} }}\n\
         svg [fill=\"{ink}\"] {{ fill: var(--ink); }}\n\
         svg [stroke=\"{ink}\"] {{ stroke: var(--ink); }}\n\
         svg [stroke=\"{grid}\"] {{ stroke: var(--grid); }}\n"
    );
    colors + REST
}

const REST: &str = "\
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1rem; overflow-wrap: break-word; }
main > p, section > p, section > ul { max-width: 48rem; }
h1, h2, h3 { line-height: 1.2; margin: 1.6em 0 .5em; }
h1 { margin-top: .3em; }
h2 { border-top: 1px solid var(--grid); padding-top: .8em; }
a { color: inherit; }
code, pre { font-family: ui-monospace, monospace; font-size: .85rem; }
code { overflow-wrap: anywhere; }
pre { overflow-x: auto; line-height: 1.25; background: var(--box); padding: .6rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; margin: .5rem 0; padding: 0; }
figure { margin: 0; min-width: 0; }
figcaption { font-weight: bold; margin-bottom: .3rem; }
svg { display: block; width: 100%; height: auto; max-width: 36rem; }
svg.bars { max-width: 24rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); gap: 1.2rem 2rem; margin: 1rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr max-content 1fr; gap: .3rem 1rem; background: var(--box); padding: .8rem 1rem; margin: 0; }
dt { font-weight: bold; }
dd { margin: 0; }
dfn { font-style: normal; }
.wide { overflow-x: auto; max-width: 100%; }
.hint { display: none; color: var(--soft); margin: .2rem 0; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25em .6em; border-bottom: 1px solid var(--grid); text-align: right; vertical-align: bottom; }
tbody th, th:first-child, td.text { text-align: left; }
tbody th { white-space: nowrap; }
.wide tbody th { position: sticky; left: 0; background: var(--back); font-weight: normal; }
.wide tr.first th { position: static; font-weight: bold; }
.wide tr.first span { position: sticky; left: .6em; }
td.text { white-space: normal; }
table.stack { width: 100%; font-size: .95rem; }
table.stack th, table.stack td { text-align: left; vertical-align: top; white-space: normal; }
table.answer th { white-space: nowrap; }
table.answer td:nth-child(2) { font-weight: bold; color: var(--good); }
tr.first th, tr.first td { border-top: 2px solid var(--grid); }
details { border: 1px solid var(--grid); border-radius: .3rem; padding: .4rem .8rem; margin: .6rem 0; }
summary { cursor: pointer; font-weight: bold; }
.soft { color: var(--soft); }
.best { color: var(--good); font-weight: bold; }
.bad { color: var(--bad); font-weight: bold; }
.dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .4em; }
@media (min-width: 64rem) {
  section.plot { display: grid; grid-template-columns: 34rem 1fr; gap: 0 2rem; align-items: start; }
  section.plot > h3 { grid-column: 1 / -1; }
}
@media (max-width: 64rem) {
  .hint { display: block; }
  dl { grid-template-columns: max-content 1fr; }
}
@media (max-width: 40rem) {
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; }
  pre { font-size: .6rem; }
  table.stack thead { position: absolute; clip-path: inset(50%); }
  table.stack, table.stack tbody, table.stack tr, table.stack th, table.stack td { display: block; }
  table.stack tr { padding: .5rem 0; border-bottom: 2px solid var(--grid); }
  table.stack th, table.stack td { border: 0; padding: .1rem 0; }
  table.stack td::before { content: attr(data-label) ': '; font-weight: normal; color: var(--soft); }
}
";
