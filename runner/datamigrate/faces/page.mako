<%def name="badge(text, tone)"><span class="badge ${tone}">${text}</span></%def>\
<%def name="remark_list(remarks)">
% if remarks:
<ul class="remarks">
% for remark in remarks:
% if remark.kind == "code":
<li class="code"><code>${remark.text}</code></li>
% else:
<li class="${remark.kind}">${remark.text}</li>
% endif
% endfor
</ul>
% endif
</%def>\
<%def name="value(shown)"><span class="${'none' if shown.faint else 'value'}">${shown.text}</span></%def>\
<%
    bad = [t for t in tried if t.is_refused]
    pending = sum(t.facts["pending"]["rows"] for t in tried if t.facts["pending"])
    unseen = facts["not_previewed"]
    tones = {"run": "good", "resume": "good", "blocked": "warn", "drifted": "warn"}
    names = {t.migration.name for t in tried}
%>\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Dry run: ${len(tried)} data migration${"" if len(tried) == 1 else "s"}</title>
<style>
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ground: #f5f6f8; --ink: #1c2330; --soft: #5c6675; --line: #dfe3e9;
  --good: #13703c; --good-bg: #e3f5ea; --warn: #8a5300; --warn-bg: #fdf0d8; --bad: #b3211e; --bad-bg: #fde7e5;
  --plain-bg: #e9edf3; --accent: #2456b8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #171b22; --ground: #0f1217; --ink: #e4e8ee; --soft: #98a3b3; --line: #2a313c;
    --good: #6bd598; --good-bg: #11311f; --warn: #f0bd68; --warn-bg: #36280d; --bad: #ff928c; --bad-bg: #3d1816;
    --plain-bg: #252c37; --accent: #8ab0ff;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 56px; }
h1 { font-size: 28px; line-height: 1.2; letter-spacing: -.015em; margin: 0 0 6px; }
h2 { font-size: 13px; text-transform: uppercase; letter-spacing: .07em; color: var(--soft); margin: 36px 0 10px; font-weight: 600; }
h3 { font-size: 19px; margin: 0; letter-spacing: -.01em; overflow-wrap: anywhere; }
h4 { font-size: 13px; color: var(--soft); font-weight: 600; margin: 22px 0 6px; }
p { margin: 6px 0; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
code, .value, .none, td.key, td.column { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 13px; }
.soft { color: var(--soft); overflow-wrap: anywhere; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 12px; padding: 20px 22px; margin: 0 0 16px; }
.card.bad { border-left: 4px solid var(--bad); }
.head { display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center; }
.badge { display: inline-block; border-radius: 999px; padding: 1px 10px; font-size: 12.5px; font-weight: 600; white-space: nowrap;
  background: var(--plain-bg); color: var(--soft); }
.badge.good { background: var(--good-bg); color: var(--good); }
.badge.warn { background: var(--warn-bg); color: var(--warn); }
.badge.bad { background: var(--bad-bg); color: var(--bad); }
.verdict { border-radius: 12px; padding: 14px 18px; margin: 22px 0 16px; font-weight: 600; background: var(--good-bg); color: var(--good); }
.verdict.bad { background: var(--bad-bg); color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 12px; margin: 0; }
.tiles div { background: var(--paper); border: 1px solid var(--line); border-radius: 12px; padding: 12px 16px; }
.card .tiles { margin: 16px 0 4px; }
.card .tiles div { background: none; padding: 8px 14px; border-radius: 9px; }
.tiles dt { color: var(--soft); font-size: 12.5px; }
.tiles dd { margin: 0; font-size: 21px; font-weight: 600; font-variant-numeric: tabular-nums; letter-spacing: -.01em; }
.card .tiles dd { font-size: 17px; }
.tiles small { display: block; font-size: 12px; font-weight: 400; color: var(--soft); letter-spacing: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-size: 12.5px; color: var(--soft); font-weight: 600; padding: 4px 12px 6px 0; white-space: nowrap; }
td { padding: 6px 12px 6px 0; border-top: 1px solid var(--line); vertical-align: baseline; }
th:last-child, td:last-child { padding-right: 0; }
table.diff { table-layout: fixed; min-width: 560px; }
table.diff td { padding: 5px 10px; line-height: 1.45; }
table.diff th { padding-left: 10px; }
table.diff .key { width: 15%; } table.diff .column { width: 19%; }
td.key, td.column { overflow-wrap: anywhere; }
.value, .none { white-space: pre-wrap; overflow-wrap: anywhere; }
.none { color: var(--soft); font-style: italic; }
td.before { background: var(--bad-bg); } td.after { background: var(--good-bg); }
td.before.still, td.after.still { background: none; }
.remarks { list-style: none; margin: 14px 0 0; padding: 0; }
.remarks li { padding: 2px 0 2px 16px; position: relative; overflow-wrap: anywhere; }
.remarks li::before { content: ""; position: absolute; left: 2px; top: 12px; width: 5px; height: 5px; border-radius: 50%; background: var(--soft); }
.remarks li.loud { color: var(--warn); font-weight: 600; }
.remarks li.loud::before { background: var(--warn); }
.remarks li.code::before { display: none; }
.remarks code { display: block; background: var(--ground); border: 1px solid var(--line); border-radius: 7px; padding: 6px 10px; white-space: pre-wrap; overflow-wrap: anywhere; }
.error { background: var(--bad-bg); color: var(--bad); border-radius: 9px; padding: 12px 14px; margin: 14px 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.error b { display: block; }
.card > .error:first-child { margin-top: 0; }
footer { color: var(--soft); font-size: 13.5px; margin-top: 32px; }
@media print {
  :root { color-scheme: light; --paper: #fff; --ground: #fff; --ink: #000; --soft: #444; --line: #bbb;
    --good: #0b5c2e; --good-bg: #e8f6ed; --warn: #704300; --warn-bg: #fdf3e0; --bad: #9b1815; --bad-bg: #fdeceb; --plain-bg: #eee; --accent: #000; }
  @page { margin: 16mm 14mm; }
  body { font-size: 11pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  tr, .remarks li, .error, .tiles, .verdict, .head { break-inside: avoid; }
  h2, h3, h4 { break-after: avoid; }
  thead { display: table-header-group; }
  .scroll { overflow: visible; }
  table.diff { min-width: 0; }
}
</style>
</head>
<body>
<main>
<header>
<h1>Dry run</h1>
<p class="soft">${database} · schema at ${", ".join(facts["heads"]) or "no revision"} · <time datetime="${now.isoformat()}">${f"{now:%Y-%m-%d %H:%M}"} UTC</time> · datamigrate ${version}</p>
% if bad:
<p class="verdict bad">Nothing was written. ${", ".join(t.migration.name for t in bad)} would not go well.</p>
% elif tried:
<p class="verdict">Nothing was written. What was tried went well.</p>
% else:
<p class="verdict">Nothing was written, and there was nothing to try.</p>
% endif
<dl class="tiles">
<div><dt>tried</dt><dd>${len(tried)}</dd></div>
<div><dt>would not go well</dt><dd>${len(bad)}</dd></div>
<div><dt>rows pending</dt><dd>${f"{pending:,}"}</dd></div>
<div><dt>not previewed</dt><dd>${len(unseen)}</dd></div>
</dl>
</header>

<h2>Plan</h2>
<section class="card" id="plan"><div class="scroll"><table>
<thead><tr><th>#</th><th>migration</th><th>what it does</th><th>action</th><th>reason</th></tr></thead>
<tbody>
% for number, step in enumerate(facts["steps"], 1):
<tr><td class="soft">${number}</td><td>\
% if step["name"] in names:
<a href="#${step["name"]}">${step["name"]}</a>\
% else:
${step["name"]}\
% endif
</td><td>${titles.get(step["name"], "")}</td><td>${badge(step["action"], tones.get(step["action"], "plain"))}</td><td class="soft">${step["reason"]}</td></tr>
% endfor
</tbody></table></div>
${remark_list(remarks)}
</section>
% if facts["problems"]:
<h2>Scripts that cannot be used</h2>
% for problem in facts["problems"]:
<section class="card bad"><p class="error"><b>${problem["message"]}</b>${problem["hint"]}</p></section>
% endfor
% endif

% if tried:
<h2>What was tried</h2>
% endif
% for one in tried:
<section class="card${" bad" if one.is_refused else ""}" id="${one.migration.name}">
<div class="head"><h3>${one.migration.name}</h3>
% for text, tone in one.verdicts:
${badge(text, tone)}
% endfor
</div>
<p>${one.migration.title}</p>
<p class="soft">${one.migration.kind} · <code>${one.migration.file.name}</code> · requires ${", ".join(one.migration.requires) or "nothing"}\
% if one.migration.depends_on:
 · depends on ${", ".join(one.migration.depends_on)}\
% endif
</p>
<dl class="tiles">
% if one.facts["pending"]:
<div><dt>rows pending</dt><dd>${f'{one.facts["pending"]["rows"]:,}'}<small>${one.facts["pending"]["source"]}</small></dd></div>
% endif
<div><dt>rows tried</dt><dd>${f'{sum(s["rows"] for s in one.facts["samples"]):,}'}<small>${len(one.facts["samples"])} sample${"" if len(one.facts["samples"]) == 1 else "s"}</small></dd></div>
% if one.facts["rows_per_second"]:
<div><dt>pace of the samples</dt><dd>${f'{one.facts["rows_per_second"]:,.0f}'}<small>rows/s</small></dd></div>
% endif
% if one.cost:
<div><dt>all of it</dt><dd>${one.cost.expected}<small>${one.cost.band}</small></dd></div>
<div><dt>batches to come</dt><dd>${f"{one.cost.batches:,}"}<small>of up to ${f"{one.cost.rows:,}"} rows</small></dd></div>
% endif
% if one.facts["idempotent"] is not None:
<div><dt>second pass</dt><dd>${"nothing to do" if one.facts["idempotent"] else "changes rows"}</dd></div>
% endif
</dl>
% if one.facts["error"]:
<p class="error"><b>${one.facts["error"]["message"]}</b>${one.facts["error"]["hint"]}</p>
% endif
${remark_list(one.remarks)}
% if one.failures:
<h4>Rows that would fail</h4>
<div class="scroll"><table class="diff">
<thead><tr><th class="column">from the</th><th class="key">key</th><th>error</th></tr></thead>
<tbody>
% for failure in one.failures:
<tr><td class="column">${failure["where"]}</td><td class="key">${failure["key"] or ""}</td><td class="before">${value(shown(failure["error"]))}</td></tr>
% endfor
</tbody></table></div>
% endif
% for sample in one.facts["samples"]:
% if sample["changes"]:
<h4>Rows from the ${sample["where"]}</h4>
<div class="scroll"><table class="diff">
<thead><tr><th class="key">key</th><th class="column">column</th><th>before</th><th>after</th></tr></thead>
<tbody>
% for line in one.lines(sample):
<tr><td class="key">${line.key}</td><td class="column">${line.column}</td>\
% if not line.column:
<td class="before still" colspan="2">${value(line.before)}</td></tr>
% else:
<td class="before${" still" if line.before.faint else ""}">${value(line.before)}</td><td class="after${" still" if line.after is None or line.after.faint else ""}">\
% if line.after is None:
<span class="none">deleted</span>\
% else:
${value(line.after)}\
% endif
</td></tr>
% endif
% endfor
</tbody></table></div>
% endif
% endfor
</section>
% endfor

% if unseen:
<h2>Not previewed</h2>
<section class="card"><ul class="remarks">
% for one in unseen:
<li><b>${one["name"]}</b>, because ${one["reason"]}.</li>
% endfor
</ul></section>
% endif

<footer><p>${not_undone}</p></footer>
</main>
</body>
</html>
