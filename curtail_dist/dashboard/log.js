// The events as lines, with a filter. Lines are [number, run time, site, kind, text, notable, ...], newest first.

const KEPT = 20000; // as many as the server keeps
const PORTION = 100; // rows that are made at once; more when somebody scrolls there
const BAD = new Set(["ranks_died", "trouble", "signal_lost", "store_lost", "round_discarded", "peer_missed", "rewound"]);

export class Log {
  constructor(when) {
    const $ = (id) => document.getElementById(id);
    this.when = when;
    this.lines = [];
    this.found = [];
    this.shown = 0;
    this.known = new Set();
    [this.site, this.kind, this.text, this.count, this.box, this.more] = ["by-site", "by-kind", "by-text", "count", "lines", "more"].map($);
    this.body = this.box.querySelector("tbody");
    for (const control of [this.site, this.kind]) control.addEventListener("change", () => this.filter());
    this.text.addEventListener("input", () => this.filter());
    document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
    this.more.addEventListener("click", () => this.grow());
    this.box.addEventListener("scroll", () => { if (this.box.scrollTop + this.box.clientHeight > this.box.scrollHeight - 300) this.grow(); });
  }

  clear() { this.lines = []; this.filter(); }

  // Lines that are new stand above those that are known, lines of before below them.
  take(entries) {
    if (!entries.length) return;
    for (const entry of entries) { this.offer(this.site, entry[2], entry[2]); this.offer(this.kind, entry[3], entry[3]); }
    const matching = entries.filter((entry) => this.matches(entry));
    if (!this.lines.length || entries.at(-1)[0] > this.lines[0][0]) {
      this.lines = [...entries, ...this.lines].slice(0, KEPT);
      this.found = [...matching, ...this.found].slice(0, KEPT);
      this.above(matching);
    } else {
      const last = this.lines.at(-1)[0];
      this.lines = [...this.lines, ...entries.filter((entry) => entry[0] < last)].slice(0, KEPT);
      this.found = [...this.found, ...matching.filter((entry) => entry[0] < last)].slice(0, KEPT);
      if (this.shown < PORTION) this.grow();
    }
    this.tell();
  }

  above(entries) {
    const kept = this.box.scrollTop, before = this.box.scrollHeight;
    this.body.prepend(...entries.slice(0, PORTION).map((entry) => this.row(entry)));
    this.shown = Math.min(this.shown + Math.min(entries.length, PORTION), this.found.length);
    if (entries.length > PORTION || this.body.rows.length > 20 * PORTION && !kept) this.again();
    else if (kept > 0) this.box.scrollTop = kept + this.box.scrollHeight - before; // who reads further down is not moved
  }

  offer(select, value, text) {
    const key = `${select.id} ${value}`;
    if (this.known.has(key) || this.known.size > 2000) return;
    this.known.add(key);
    const option = new Option(text, value);
    const place = [...select.options].slice(select === this.kind ? 2 : 1).find((other) => other.text > text);
    select.add(option, place ?? null);
  }

  matches([, , site, kind, text, notable]) {
    if (this.site.value && site !== this.site.value) return false;
    if (this.kind.value ? this.kind.value !== "*" && kind !== this.kind.value : !notable) return false;
    const wanted = this.text.value.trim().toLowerCase();
    return !wanted || `${site} ${kind} ${text}`.toLowerCase().includes(wanted);
  }

  filter() {
    this.found = this.lines.filter((entry) => this.matches(entry));
    this.again();
    this.box.scrollTop = 0;
    this.tell();
  }

  again() {
    this.body.replaceChildren();
    this.shown = 0;
    this.grow();
  }

  grow() {
    const next = this.found.slice(this.shown, this.shown + PORTION);
    this.body.append(...next.map((entry) => this.row(entry)));
    this.shown += next.length;
    this.more.hidden = this.shown >= this.found.length;
  }

  row([, t, site, kind, text]) {
    const row = document.createElement("tr");
    row.setAttribute("role", "row"); // it is laid out as no table is
    if (BAD.has(kind)) row.className = "bad";
    for (const one of [this.when(t), site, kind, text]) {
      const cell = row.appendChild(document.createElement("td"));
      cell.setAttribute("role", "cell");
      cell.textContent = one; // never as HTML: what an event says is not ours
    }
    return row;
  }

  tell() {
    this.count.textContent = `${this.found.length.toLocaleString("en")} of ${this.lines.length.toLocaleString("en")}`;
    this.more.hidden = this.shown >= this.found.length;
  }
}
