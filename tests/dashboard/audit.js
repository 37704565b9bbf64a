// What is wrong with a page for people who read, hear or steer it otherwise: a list of sentences.
() => {
  const problems = [];
  const luminance = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const parse = (text) => text.match(/[\d.]+/g).map(Number);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  let texts = 0;
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !e.checkVisibility() || e.closest(".hidden, .skip")) continue;
    texts += 1;
    const [a, b] = [luminance(parse(getComputedStyle(e).color)), luminance(behind(e))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) problems.push(`contrast ${contrast.toFixed(2)}: ${e.tagName} ${e.textContent.slice(0, 30)}`);
  }
  if (texts < 50) problems.push(`only ${texts} texts`);
  const named = (e) => e.getAttribute("aria-label") || e.textContent.trim() || [...(e.labels ?? [])].map((l) => l.textContent).join("")
    || (e.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join("");
  for (const e of document.querySelectorAll("button, a, input, select, summary, [tabindex='0'], [role=slider], form, section, output"))
    if (e.checkVisibility() && !named(e).trim() && e.tagName !== "OUTPUT") problems.push(`no name: ${e.tagName} ${e.id}`);
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  if (new Set(ids).size !== ids.length) problems.push("an id stands twice");
  for (const name of ["header", "main", "footer", "h1"]) if (document.querySelectorAll(`body > ${name}, header > ${name}`).length !== 1) problems.push(`not one ${name}`);
  for (const table of document.querySelectorAll("table")) if (!table.caption) problems.push("a table without a caption");
  const levels = [...document.querySelectorAll("h1, h2, h3")].map((e) => +e.tagName[1]);
  levels.forEach((level, i) => { if (i && level > levels[i - 1] + 1) problems.push("a level of headings is left out"); });
  if (document.documentElement.scrollWidth > innerWidth) problems.push(`${document.documentElement.scrollWidth} px wide in ${innerWidth}`);
  return problems;
}
