// The page: follows the server's stream and shows it. Nothing is sent back.

import { Chart, PHASES, size } from "./chart.js";
import { Log } from "./log.js";
import { Model } from "./model.js";

const $ = (id) => document.getElementById(id);
const model = new Model();
const chart = new Chart($("bands"), model);
const log = new Log((t) => (model.start === null ? model.when(t) : new Date(model.start + t * 1000).toISOString().slice(5, 19).replace("T", " ")));
const number = (value, digits = 0, unknown = "\u2013") => (value === null || value === undefined ? unknown : value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits }));
const MOST_BARS = 12;
const ODD = "no number"; // a loss that is not finite: the run has diverged
let moment = null; // run time that the table tells of; null: the newest event
let connected = false;
let reckoning = null;
let said = { at: 0, text: "", next: "" };

function element(name, text, properties = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text; // never as HTML: what an event says is not ours
  return Object.assign(made, properties);
}

function put(cell, text) { if (cell.textContent !== text) cell.textContent = text; }

function figures() {
  const f = model.facts, share = f.rows_total ? f.rows / f.rows_total : null;
  const sites = model.sites.filter((site) => site.phase !== "off" && site.phase !== "parked");
  const losses = sites.filter((site) => site.loss !== null).map((site) => site.loss), diverged = sites.filter((site) => site.diverged);
  const told = [
    ["Done", share === null ? "\u2013" : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`, `${number(f.rows)} rows`],
    ["Version", number(f.version), `epoch ${number(f.epoch)}`],
    ["Sites at work", `${sites.length} of ${model.sites.length}`, ""],
    ["Tokens", compact(f.tokens), f.tokens_per_s === null ? "" : `${compact(f.tokens_per_s)}/s`],
    diverged.length ? ["Loss", ODD, `at ${diverged.map((site) => site.name).join(", ")}`] : ["Loss", losses.length ? number(losses.reduce((a, b) => a + b, 0) / losses.length, 3) : "\u2013", "nats/token"],
    ["Held out", model.heldOut === null ? ODD : number(model.heldOut, 3), "bits/byte"],
    ["Emitted", number((f.finished ? reckoning?.kg : null) ?? f.kg, 3), "kg CO2"],
    ["Always on", number(reckoning?.reference_kg, 3), "kg, mean of sites"],
    ["Sent", size(f.bytes_sent ?? 0), ""],
    ["Stall", number(f.stall_s, 1), "s, all sites"],
  ];
  const box = $("figures");
  if (box.children.length !== told.length) {
    box.replaceChildren(...told.map(([name]) => { const div = element("div"); div.append(element("dt", name), element("dd")); div.lastChild.append(document.createTextNode(""), element("small")); return div; }));
  }
  told.forEach(([, value, unit], i) => { const dd = box.children[i].lastChild; if (dd.firstChild.data !== value) dd.firstChild.data = value; put(dd.lastChild, unit); });
}

function compact(value) { return value === null || value === undefined ? "\u2013" : Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 }).format(value); }

function state() {
  const f = model.facts;
  const kind = !connected ? "away" : f.finished ? "finished" : f.run || f.events ? "live" : "reading";
  $("state").dataset.state = kind;
  put($("state"), { away: "connection lost, trying again", finished: "finished", live: "live", reading: "waiting for the run" }[kind]);
  put($("run"), f.run || "curtail");
  const title = f.run ? `${f.run}, ${kind === "away" ? "connection lost" : kind}` : "curtail";
  if (document.title !== title) document.title = title;
  put($("moment"), f.events ? `newest event ${model.when(model.t)}` : "");
  const odd = f.odd ? `${f.odd} events could not be made sense of; they are in the log, not in the figures.` : "";
  const problem = [model.problem, odd].filter(Boolean).join(" ");
  put($("problem"), problem);
  $("problem").hidden = !problem;
}

function sitesTable() {
  const body = $("sites").tBodies[0];
  while (body.rows.length > model.sites.length) body.deleteRow(-1);
  model.sites.forEach((site, i) => {
    let row = body.rows[i];
    if (!row) {
      row = body.insertRow();
      const head = element("th", undefined, { scope: "row" });
      head.append(element("span", "", { className: "dot" }), document.createTextNode(""));
      row.append(head);
      for (let k = 0; k < 9; k++) row.insertCell();
    }
    const then = model.at(site, moment), now = moment === null;
    row.cells[0].firstChild.style.background = `var(--site-${site.colour})`;
    if (row.cells[0].lastChild.data !== site.name) row.cells[0].lastChild.data = site.name;
    const below = then.g !== null && site.threshold !== null && then.g < site.threshold;
    const window = site.window ? `${site.window[0] <= model.t ? "open" : model.when(site.window[0])}${site.window[1] === null ? "" : ` to ${model.until(site.window[1], Math.max(model.t, site.window[0]))}`}` : "none in sight";
    const texts = [then.phase + (now && site.storeless ? " (no store)" : ""), number(then.g, 0, "unknown"), then.diverged ? ODD : number(then.loss, 3), number(then.kg, 3), now ? number(site.tokens_per_s) : "", now ? number(site.round) : "", now ? number(site.joins) : "", now ? number(site.deaths) : "", now ? window : ""];
    texts.forEach((text, k) => put(row.cells[k + 1], text));
    row.cells[2].className = below ? "green" : "";
    row.cells[3].className = then.diverged ? "bad" : "";
    row.cells[8].className = now && site.deaths ? "bad" : "";
  });
  put($("sites-title"), moment === null ? "Sites, at the newest event" : `Sites, at ${model.when(moment)}`);
}

function bandLabels() {
  for (const band of chart.bands) {
    const site = band.kind === "site" && model.sites.find((one) => one.name === band.name);
    if (!site) continue;
    const then = model.at(site, moment);
    put(band.now, `${then.phase}, ${number(then.g, 0, "unknown")} g/kWh`);
  }
}

function courseTable() {
  if (!$("course-table").open) return;
  const table = $("course-table").querySelector("table");
  const head = element("tr");
  for (const title of ["when", "version", "kg CO2", ...model.sites.map((site) => site.name)]) head.append(element("th", title, { scope: "col" }));
  table.tHead.replaceChildren(head);
  table.tBodies[0].replaceChildren(...Array.from({ length: 25 }, (_, i) => {
    const t = (model.t * i) / 24, then = model.sites.map((site) => model.at(site, t)), row = element("tr");
    row.append(element("th", model.when(t), { scope: "row" }));
    const version = Math.max(0, ...then.map((one) => one.version ?? 0)), kg = then.reduce((sum, one) => sum + (one.kg ?? 0), 0);
    for (const text of [number(version), number(kg, 3), ...then.map((one) => `${one.phase}, ${number(one.g, 0, "?")} g${one.loss === null ? "" : `, loss ${one.loss.toFixed(2)}`}`)]) row.append(element("td", text));
    return row;
  }));
}

function hair() {
  const chartBox = $("chart").getBoundingClientRect(), band = chart.left();
  const t = moment ?? model.t;
  $("hair").hidden = moment === null;
  $("hair").style.left = `${band.left - chartBox.left + (t / model.end()) * band.width}px`;
  const slider = $("chart");
  slider.setAttribute("aria-valuemax", Math.round(model.t));
  slider.setAttribute("aria-valuenow", Math.round(t));
  slider.setAttribute("aria-valuetext", [model.when(t), ...model.sites.map((site) => { const then = model.at(site, moment); return `${site.name}: ${then.phase}, ${number(then.g, 0, "unknown")} grams per kilowatt-hour${then.loss === null ? "" : `, loss ${then.loss.toFixed(2)}`}`; })].join("; "));
}

function go(t) {
  moment = t === null ? null : Math.max(0, Math.min(model.t, t));
  sitesTable(); bandLabels(); hair();
}

function against() {
  const r = reckoning;
  if (!r) return;
  const body = $("against").tBodies[0];
  if (r.problem) { put($("against-note"), `Not reckoned: ${r.problem}`); body.replaceChildren(); $("notes").hidden = true; return; }
  const all = Object.entries(r.always_on).sort((a, b) => a[1] - b[1]);
  const always = all.length > MOST_BARS ? all.filter(([name]) => !name.includes("+")) : all; // pairs of many sites are too many
  const rows = [["this run", r.kg, "run"], ["optimum, known only afterwards", r.optimum_kg, "optimum"], ...always.map(([name, kg]) => [`always on: ${name.replaceAll("+", " + ")}`, kg, ""])].filter((row) => row[1] !== null);
  const most = Math.max(1e-9, ...rows.map((row) => row[1]));
  body.replaceChildren(...rows.map(([name, kg, kind]) => {
    const row = element("tr", undefined, { role: "row", className: kind === "run" ? "own" : "" }), bar = element("div", undefined, { className: `bar ${kind}` }), cell = element("td", undefined, { role: "cell" });
    bar.style.width = `${(100 * kg) / most}%`;
    cell.append(bar);
    row.append(element("th", name, { scope: "row", role: "rowheader" }), element("td", number(kg, 3), { role: "cell" }), cell);
    return row;
  }));
  const saved = r.saved === null ? "" : ` Beside always-on sites: ${r.saved}.`;
  put($("against-note"), `kg CO2 by marginal intensity, for the work done by ${model.when(r.t)}.${saved}${r.synthetic ? " The trace is synthetic." : ""}`);
  $("notes").hidden = !r.notes.length;
  put($("notes").firstElementChild, r.notes.length === 1 ? "One note" : `${r.notes.length} notes`);
  $("notes").lastElementChild.replaceChildren(...r.notes.map((note) => element("li", note)));
}

// What changed of the whole, in words, at most every ten seconds: a reader of the screen is not talked at.
function say() {
  const f = model.facts, at = model.sites.filter((site) => !["off", "parked"].includes(site.phase)).map((site) => site.name);
  said.next = !connected ? "Connection lost, trying again." : f.finished ? "The run is finished." : `Epoch ${f.epoch}. At work: ${at.join(", ") || "nobody"}.`;
  if (said.next === said.text || performance.now() - said.at < 10000) return;
  const first = said.text === "";
  said = { at: performance.now(), text: said.next, next: "" };
  if (!first) $("said").textContent = said.text;
}

function show() {
  state(); figures(); sitesTable(); courseTable();
  chart.soon();
  requestAnimationFrame(() => { bandLabels(); hair(); });
  say();
}

function key() {
  const items = [["train", "site-0"], ...PHASES.filter((phase) => phase !== "train").map((phase) => [phase, phase]), ["window (below the threshold)", "window"], ["off", "off"]];
  $("key").replaceChildren(...items.map(([name, colour]) => { const item = element("li"), dot = element("i"); dot.style.background = `var(--${colour})`; item.append(dot, name === "train" ? "train (the site\u2019s colour)" : name); return item; }));
}

function follow() {
  const source = new EventSource("events");
  const here = (is) => { if (connected !== is) { connected = is; state(); say(); } };
  source.onopen = () => here(true);
  source.onerror = () => {
    here(false);
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, 1000); // the answer was no stream: it does not try again
  };
  source.addEventListener("picture", (event) => {
    const told = JSON.parse(event.data);
    if (model.take(told)) log.clear();
    model.problem = told.problem;
    log.take(told.log);
    connected = true;
    show();
    document.documentElement.dataset.rev = told.rev; // when the picture is there, for who measures it
    if (performance.getEntriesByName("picture").length === 0) requestAnimationFrame(() => performance.mark("picture"));
  });
  source.addEventListener("log", (event) => { const told = JSON.parse(event.data); model.mark(told); log.take(told); chart.soon(); });
  source.addEventListener("reckoning", (event) => { reckoning = JSON.parse(event.data); against(); figures(); });
}

$("chart").addEventListener("pointermove", (event) => point(event));
$("chart").addEventListener("pointerdown", (event) => point(event));
$("chart").addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") go(null); });
function point(event) {
  const band = chart.left(), share = (event.clientX - band.left) / band.width;
  if (share >= 0 && share <= 1 && model.t > 0) go(share * model.end() >= model.t ? null : share * model.end());
}

$("chart").addEventListener("keydown", (event) => {
  const t = moment ?? model.t, step = Math.max(model.width, model.end() / 200) * (event.shiftKey ? 10 : 1);
  const next = model.marks.find((mark) => mark[1] > t + 1e-6)?.[1], last = model.marks.findLast((mark) => mark[1] < t - 1e-6)?.[1];
  const to = { ArrowLeft: t - step, ArrowDown: t - step, ArrowRight: t + step, ArrowUp: t + step, Home: 0, End: null, Escape: null, PageUp: next ?? model.t, PageDown: last ?? 0 };
  if (!(event.key in to) || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  go(to[event.key] !== null && to[event.key] >= model.t ? null : to[event.key]);
});
$("course-table").addEventListener("toggle", () => courseTable());
setInterval(say, 2000);
key();
follow();
