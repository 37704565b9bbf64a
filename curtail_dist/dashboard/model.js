// What the page knows of the run: the last picture, mended by what came since.

import { COLUMN, PHASES } from "./chart.js";

const MARKED = new Set(["ranks_died", "joined", "drained", "epoch", "fault", "rewound", "signal_lost", "store_lost", "run_finished"]);
const MOST_MARKS = 5000;

class Site {
  constructor() { this.columns = new Map(); this.sorted = null; }

  take(told, anew) {
    if (anew) this.columns.clear();
    const { columns, outlook, ...now } = told;
    Object.assign(this, now);
    if (outlook) this.outlook = outlook;
    for (const column of columns) this.columns.set(column[0], column);
    if (anew || columns.length) this.sorted = null;
  }

  list() { return (this.sorted ??= [...this.columns.values()].sort((a, b) => a[0] - b[0])); }

  // The last column at or before a place that knows this value.
  before(index, key) {
    const list = this.list();
    let low = 0, high = list.length;
    while (low < high) { const middle = (low + high) >> 1; if (list[middle][0] <= index) low = middle + 1; else high = middle; }
    for (let i = low - 1; i >= 0; i--) if (list[i][key] !== null) return list[i];
    return null;
  }
}

export class Model {
  constructor() { this.sites = []; this.facts = {}; this.width = 1; this.t = 0; this.start = null; this.marks = []; this.evaluated = []; this.generation = null; }

  take(told) {
    const again = told.whole || told.generation !== this.generation;
    if (again) { this.sites = []; this.marks = []; }
    const known = new Map(this.sites.map((site) => [site.name, site])), anew = again || told.width !== this.width;
    this.generation = told.generation;
    this.width = told.width;
    this.facts = told.facts;
    this.t = told.facts.t ?? 0;
    this.start = told.facts.start ? Date.parse(/Z|[+-]\d\d:\d\d$/.test(told.facts.start) ? told.facts.start : `${told.facts.start}Z`) : null;
    this.evaluated = told.evaluated.filter((one) => one[0] !== null && one[2] !== null);
    this.heldOut = told.evaluated.at(-1)?.[2]; // null: it is no finite number
    this.sites = told.sites.map((one) => { const site = known.get(one.name) ?? new Site(); site.take(one, anew); return site; });
    this.mark(told.log);
    return again;
  }

  mark(entries) {
    const fresh = entries.filter((entry) => MARKED.has(entry[3]));
    if (!fresh.length) return;
    this.marks = [...this.marks, ...fresh].sort((a, b) => a[1] - b[1]).slice(-MOST_MARKS);
  }

  // Run time at the right edge: an unfinished run shows what is ahead of it, as far as it was planned.
  end() {
    const ahead = Math.max(...this.sites.map((site) => site.outlook?.at(-1)?.[0] ?? 0), 0);
    const shown = this.facts.finished ? this.t : Math.max(this.t, Math.min(ahead, Math.max(this.t + 21600, this.t * 1.25)));
    return Math.max(shown, 60);
  }

  // What was foreseen of a site's intensity for the time ahead: [run time from which, value], in steps.
  outlook(site) {
    const points = (site.outlook ?? []).filter((point) => point[0] !== null && point[1] !== null);
    const held = points.findLast((point) => point[0] <= this.t), ahead = points.filter((point) => point[0] > this.t);
    return held && ahead.length ? [[this.t, held[1]], ...ahead] : ahead;
  }

  when(t) {
    if (this.start === null) return `${(t / 3600).toFixed(2)} h`;
    const text = new Date(this.start + t * 1000).toISOString();
    return `${text.slice(0, 10)} ${this.end() < 3600 ? text.slice(11, 19) : text.slice(11, 16)} UTC`;
  }

  // The same, without the day where another moment has it.
  until(t, other) {
    const text = this.when(t);
    return this.start !== null && this.when(other).startsWith(text.slice(0, 10)) ? text.slice(11) : text;
  }

  tick(t, step) {
    if (this.start === null) return `${+(t / 3600).toFixed(2)} h`;
    const at = new Date(this.start + Math.round(t) * 1000), midnight = at.getUTCHours() + at.getUTCMinutes() === 0;
    if (step >= 86400 || midnight) return `${at.getUTCDate()} ${at.toLocaleString("en", { month: "short", timeZone: "UTC" })}`;
    return at.toISOString().slice(11, 16);
  }

  // What a site did at a moment; null: at the newest event.
  at(site, t) {
    const newest = t === null || t >= this.t - 1e-9, index = Math.floor((newest ? this.t : t) / this.width);
    if (newest) return { phase: site.phase, g: site.g_per_kwh, loss: site.loss, diverged: site.diverged, kg: site.kg, version: this.facts.version };
    const column = site.columns.get(index), shares = column?.[COLUMN.phases] ?? [0, 0, 0, 0, 0];
    const most = Math.max(...shares), off = 100 - shares.reduce((a, b) => a + b, 0);
    const of = (key) => site.before(index, key)?.[key] ?? null;
    return { phase: most > off ? PHASES[shares.indexOf(most)] : "off", g: column?.[COLUMN.g] ?? null, loss: most > off ? of(COLUMN.loss) : null, kg: of(COLUMN.kg) ?? 0, version: of(COLUMN.version) };
  }

  // One entry for each column in which a site tells a new value of it: [index, values by site].
  *carried(key) {
    const value = this.sites.map(() => 0), at = this.sites.map(() => 0), lists = this.sites.map((site) => site.list());
    for (;;) {
      const index = Math.min(...lists.map((list, i) => list[at[i]]?.[0] ?? Infinity));
      if (index === Infinity) return;
      lists.forEach((list, i) => { if (list[at[i]]?.[0] === index) { value[i] = list[at[i]][key] || value[i]; at[i] += 1; } });
      yield [index, value];
    }
  }

  totalKg() { return Array.from(this.carried(COLUMN.kg), ([index, values]) => [Math.min(this.t, (index + 1) * this.width), values.reduce((a, b) => a + b, 0)]); }

  versions() {
    const points = this.sites.flatMap((site) => site.list().filter((c) => c[COLUMN.version]).map((c) => [c[0], c[COLUMN.version]]));
    const by = new Map();
    for (const [index, version] of points) by.set(index, Math.max(version, by.get(index) ?? 0));
    return [...by].sort((a, b) => a[0] - b[0]).map(([index, version]) => [Math.min(this.t, (index + 1) * this.width), version]);
  }

  epochs() {
    const first = new Map();
    for (const site of this.sites) for (const c of site.list()) if (c[COLUMN.epoch]) first.set(c[COLUMN.epoch], Math.min(c[0], first.get(c[COLUMN.epoch]) ?? Infinity));
    return [...first].map(([epoch, index]) => [(index + 0.5) * this.width, epoch]);
  }

  exchanged() {
    const by = new Map();
    for (const site of this.sites) {
      for (const c of site.list()) {
        if (!c[COLUMN.bytes] && !c[COLUMN.stall]) continue;
        const sum = by.get(c[0]) ?? by.set(c[0], [c[0], 0, 0]).get(c[0]);
        sum[1] += c[COLUMN.bytes]; sum[2] += c[COLUMN.stall] ?? 0;
      }
    }
    return [...by.values()];
  }
}
