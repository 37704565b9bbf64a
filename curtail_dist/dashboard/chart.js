// The course of a run in bands over one time axis, drawn by hand on a canvas each.

export const PHASES = ["join", "idle", "train", "sync", "parked"];
export const COLUMN = { index: 0, g: 1, below: 2, phases: 3, loss: 4, kg: 5, version: 6, epoch: 7, bytes: 8, stall: 9 };
const STEPS = [60, 300, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000];
const HEIGHTS = { site: 46, loss: 118, kg: 84, rounds: 52, exchange: 60, axis: 20 };
const LINE_H = 30; // of a site's band: the intensity; below it what the site did

export class Chart {
  constructor(root, model) {
    this.root = root;
    this.model = model;
    this.bands = [];
    this.colours = new Map();
    this.waiting = false;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.colours.clear(); this.soon(); });
    new ResizeObserver(() => this.soon()).observe(root);
  }

  soon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.draw(); });
  }

  colour(name) {
    if (!this.colours.has(name)) this.colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
    return this.colours.get(name);
  }

  layout() {
    const names = this.model.sites.map((site) => site.name);
    const wanted = [...names.map((name) => ["site", name]), ["loss", "Loss"], ["kg", "kg CO2"], ["rounds", "Rounds, epochs"], ["exchange", "Sent, stall"], ["axis", "UTC"]];
    const key = JSON.stringify(wanted);
    if (key === this.key) return;
    this.key = key;
    this.bands = wanted.map(([kind, name]) => {
      const row = document.createElement("div");
      row.className = `band ${kind}`;
      const label = row.appendChild(document.createElement("div"));
      label.className = "label";
      const title = label.appendChild(document.createElement("div"));
      title.className = "name";
      title.textContent = name;
      const now = label.appendChild(document.createElement("div"));
      now.className = "now";
      const canvas = row.appendChild(document.createElement("canvas"));
      canvas.style.height = `${HEIGHTS[kind]}px`;
      canvas.setAttribute("aria-hidden", "true"); // the tables say the same
      return { kind, name, row, now, canvas, height: HEIGHTS[kind] };
    });
    this.root.replaceChildren(...this.bands.map((band) => band.row));
  }

  draw() {
    this.layout();
    const ratio = devicePixelRatio || 1, end = this.model.end();
    const sites = new Map(this.model.sites.map((site) => [site.name, site]));
    const top = Math.max(50, ...this.model.sites.flatMap((site) => [...site.list().map((c) => c[COLUMN.g] ?? 0), ...(site.outlook ?? []).map((p) => p[1] ?? 0)]));
    for (const band of this.bands) {
      const width = band.canvas.clientWidth;
      if (!width) continue;
      const [w, h] = [Math.round(width * ratio), Math.round(band.height * ratio)];
      if (band.canvas.width !== w || band.canvas.height !== h) { band.canvas.width = w; band.canvas.height = h; }
      const g = band.canvas.getContext("2d");
      g.setTransform(ratio, 0, 0, ratio, 0, 0);
      g.clearRect(0, 0, width, band.height);
      g.font = "11px system-ui, sans-serif";
      const at = { g, w: width, h: band.height, end, x: (t) => (t / end) * width, col: (this.model.width / end) * width };
      if (band.kind !== "site") this.grid(at, band.kind === "axis");
      if (band.kind === "site") this.site(at, sites.get(band.name), top);
      else if (band.kind !== "axis") this[band.kind](at, band);
    }
  }

  left() { return this.bands[0]?.canvas.getBoundingClientRect() ?? { left: 0, width: 1 }; }

  grid({ g, w, h, x, end }, labelled) {
    const { start } = this.model;
    const step = STEPS.find((s) => x(s) >= (labelled && w < 400 ? 62 : 74)) ?? STEPS.at(-1);
    const offset = start === null ? 0 : (start / 1000) % Math.max(step, 86400);
    g.fillStyle = this.colour(labelled ? "muted-text" : "faint");
    for (let t = Math.ceil(offset / step) * step - offset; t <= end; t += step) {
      if (!labelled) { g.fillRect(Math.round(x(t)), 0, 1, h); continue; }
      const text = this.model.tick(t, step), wide = g.measureText(text).width;
      g.fillText(text, Math.min(w - wide, Math.max(0, x(t) - wide / 2)), 14);
    }
  }

  site({ g, w, x, col }, site, top) {
    if (!site) return;
    const list = site.list();
    const y = (value) => LINE_H - 1 - (value / top) * (LINE_H - 3);
    const future = this.model.outlook(site);
    g.fillStyle = this.colour("off");
    g.fillRect(0, LINE_H + 3, w, 12);
    g.fillStyle = this.colour("window");
    for (const [from, to] of runs(list, (c) => c[COLUMN.below] >= 50)) g.fillRect(x(from * this.model.width), 0, (to - from) * col, LINE_H);
    g.globalAlpha = 0.55;
    future.forEach((point, i) => {
      if (i + 1 < future.length && site.threshold !== null && point[1] < site.threshold) g.fillRect(x(point[0]), 0, x(future[i + 1][0]) - x(point[0]), LINE_H);
    });
    g.globalAlpha = 1;
    if (site.threshold !== null) {
      g.fillStyle = this.colour("muted");
      g.globalAlpha = 0.5;
      for (let at = 0; at < w; at += 6) g.fillRect(at, Math.round(y(site.threshold)), 3, 1);
      g.globalAlpha = 1;
    }
    this.line(g, list.filter((c) => c[COLUMN.g] !== null).map((c) => [x((c[0] + 0.5) * this.model.width), y(c[COLUMN.g]), c[0]]), this.colour("muted-text"), 1.2, 3 + 3 / col);
    this.line(g, future.flatMap((p, i) => (i ? [[x(p[0]), y(future[i - 1][1]), i], [x(p[0]), y(p[1]), i]] : [[x(p[0]), y(p[1]), i]])), this.colour("muted"), 1, 9, [2, 3]);
    for (const [from, to, shares] of phaseRuns(list)) {
      let bottom = LINE_H + 15;
      for (const phase of ["train", "sync", "join", "idle", "parked"]) {
        const height = (12 * shares[PHASES.indexOf(phase)]) / 100;
        if (height <= 0) continue;
        g.fillStyle = this.colour(phase === "train" ? `site-${site.colour}` : phase);
        g.fillRect(x(from * this.model.width), bottom - height, Math.max(0.6, (to - from) * col), height);
        bottom -= height;
      }
    }
    g.fillStyle = this.colour("lost");
    for (const mark of this.model.marks) {
      if (mark[3] !== "ranks_died" || mark[2] !== site.name) continue;
      const at = x(mark[1]);
      g.beginPath(); g.moveTo(at - 5, LINE_H - 3); g.lineTo(at + 5, LINE_H - 3); g.lineTo(at, LINE_H + 5); g.fill();
    }
  }

  // Points are [x, y, place]; a step between two places wider than `gap` breaks the line.
  line(g, points, colour, width, gap, dashes = []) {
    g.strokeStyle = colour; g.lineWidth = width; g.lineJoin = "round"; g.setLineDash(dashes);
    g.beginPath();
    points.forEach(([px, py, place], i) => (i && place - points[i - 1][2] <= gap ? g.lineTo(px, py) : g.moveTo(px, py)));
    g.stroke();
    g.setLineDash([]);
  }

  scale({ g, w, h }, low, high, digits) {
    g.fillStyle = this.colour("muted-text");
    for (const [value, y] of [[high, 11], [low, h - 3]]) this.over(g, value.toLocaleString("en", { maximumFractionDigits: digits }), 3, y);
    return (value) => h - 4 - ((value - low) / (high - low || 1)) * (h - 10);
  }

  loss(at, band) {
    const { g, x, h } = at, halves = [];
    for (const site of this.model.sites) halves.push([site, site.list().filter((c) => c[COLUMN.loss] !== null)]);
    const seen = halves.flatMap(([, list]) => list.map((c) => c[COLUMN.loss]));
    band.now.textContent = "nats/token; \u25C7 held out";
    if (!seen.length) return this.nothing(at, "no loss yet");
    const [low, high] = extent(seen), y = this.scale(at, low, high, 2);
    for (const [site, list] of halves) {
      const gap = Math.max(8, 1800 / this.model.width);
      const smooth = smoothed(list.map((c) => [c[0], c[COLUMN.loss]]), Math.max(1, Math.round(list.length * 0.02)), gap);
      this.line(g, list.map((c, i) => [x((c[0] + 0.5) * this.model.width), y(smooth[i]), c[0]]), this.colour(`site-${site.colour}`), 1.6, gap);
    }
    const marks = this.model.evaluated, [least, most] = extent(marks.map((m) => m[2]));
    let free = Infinity;
    [...marks].reverse().forEach(([t, , bpb]) => {
      const px = x(t), py = 30 + (1 - (bpb - least) / (most - least || 1)) * (h - 42);
      if (px > free) return;
      free = px - 34;
      g.strokeStyle = this.colour("ink"); g.fillStyle = this.colour("panel"); g.lineWidth = 1.3;
      g.beginPath(); g.moveTo(px, py - 4); g.lineTo(px + 4, py); g.lineTo(px, py + 4); g.lineTo(px - 4, py); g.closePath(); g.fill(); g.stroke();
      g.fillStyle = this.colour("ink");
      const text = bpb.toFixed(2), wide = g.measureText(text).width;
      this.over(g, text, Math.min(at.w - wide, Math.max(0, px - wide / 2)), py - 7);
    });
  }

  kg(at, band) {
    const { g, x, h } = at, points = this.model.totalKg();
    if (!points.length) return this.nothing(at, "nothing emitted yet");
    band.now.textContent = "all sites, marginal";
    const y = this.scale(at, 0, Math.max(1e-6, points.at(-1)[1]), 3);
    const drawn = points.map(([t, kg], i) => [x(t), y(kg), i]);
    this.line(g, drawn, this.colour("run"), 2, 2);
    g.lineTo(drawn.at(-1)[0], h); g.lineTo(drawn[0][0], h);
    g.globalAlpha = 0.12; g.fillStyle = this.colour("run"); g.fill(); g.globalAlpha = 1;
  }

  rounds(at, band) {
    const { g, x, h } = at, points = this.model.versions(), epochs = this.model.epochs();
    band.now.textContent = "ticks: new epochs";
    g.fillStyle = this.colour("site-1");
    for (const [t] of epochs) g.fillRect(x(t), h - 11, 1.5, 9);
    if (!points.length) return this.nothing(at, "no round is done yet");
    const y = this.scale(at, 0, points.reduce((most, p) => Math.max(most, p[1]), 1), 0);
    this.line(g, points.map(([t, version], i) => [x(t), y(version), i]), this.colour("ink"), 1.6, 2);
  }

  exchange(at, band) {
    const { g, x, h, col } = at, half = h / 2, columns = this.model.exchanged();
    const [bytes, stall] = [1, 2].map((k) => columns.reduce((most, c) => Math.max(most, c[k]), 0));
    band.now.textContent = "up: bytes; down: stall";
    if (!bytes && !stall) return this.nothing(at, "nothing was exchanged yet");
    for (const [index, sent, stalled] of columns) {
      const left = x(index * this.model.width), wide = Math.max(0.8, col);
      g.fillStyle = this.colour("site-0");
      if (sent) g.fillRect(left, half - (sent / bytes) * (half - 2), wide, (sent / bytes) * (half - 2));
      g.fillStyle = this.colour("site-1");
      if (stalled) g.fillRect(left, half + 1, wide, (stalled / stall) * (half - 3));
    }
    g.fillStyle = this.colour("muted-text");
    g.fillText(`${size(bytes)}`, 3, 11);
    g.fillText(`${stall.toPrecision(2)} s`, 3, h - 3);
  }

  // A text that can be read above lines.
  over(g, text, x, y) {
    g.strokeStyle = this.colour("panel"); g.lineWidth = 3; g.lineJoin = "round";
    g.strokeText(text, x, y);
    g.fillText(text, x, y);
  }

  nothing({ g, h }, text) {
    g.fillStyle = this.colour("muted-text");
    g.fillText(text, 3, h / 2 + 4);
  }
}

export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  const power = bytes > 0 ? Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3)) : 0;
  return `${(bytes / 1000 ** power).toLocaleString("en", { maximumSignificantDigits: 3 })} ${units[power]}`;
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  return [low, high];
}

function runs(list, holds) {
  const found = [];
  for (const column of list) {
    if (!holds(column)) continue;
    if (found.length && found.at(-1)[1] === column[0]) found.at(-1)[1] = column[0] + 1;
    else found.push([column[0], column[0] + 1]);
  }
  return found;
}

// Neighbours with the same shares are one rectangle.
function phaseRuns(list) {
  const found = [];
  for (const column of list) {
    const shares = column[COLUMN.phases], key = shares.join(), last = found.at(-1);
    if (last && last[1] === column[0] && last[3] === key) last[1] += 1;
    else found.push([column[0], column[0] + 1, shares, key]);
  }
  return found;
}

// Moving means of [place, value], none of them over a gap: losses of the day before would be a rise that was none.
export function smoothed(points, width, gap) {
  let sum = 0, from = 0;
  return points.map(([place, value], i) => {
    if (i && place - points[i - 1][0] > gap) [sum, from] = [0, i];
    sum += value - (i - from >= width ? points[i - width][1] : 0);
    return sum / Math.min(i - from + 1, width);
  });
}
