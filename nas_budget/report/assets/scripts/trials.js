// The table of all trials: sorted, filtered, shown some at a time, given as CSV.
const COLUMNS = [
  ...(several ? [{name: "study", words: "study", show: (id) => cell("study", id)}] : []),
  {name: "number", words: "trial", right: true, show: (id) => String(cell("number", id))},
  {name: "compare", words: "compare", show: (id) => make("button", {type: "button", class: "compare", "aria-pressed": String(id === other), "aria-label": `compare with trial ${cell("number", id)}`}, "⇄")},
  {name: "accuracy", words: "accuracy", right: true, show: (id) => accuracy(id)},
  {name: "proxy", words: "trained at", right: true, show: (id) => cell("proxy", id) < 1 ? `1/${(1 / cell("proxy", id)).toPrecision(3) * 1} width` : "full width"},
  {name: "params", words: "parameters", right: true, show: (id) => count(cell("params", id))},
  {name: "macs", words: "MACs", right: true, show: (id) => count(cell("macs", id))},
  {name: "latency_s", words: "latency", right: true, show: (id) => cell("latency_s", id) ? `${(1e3 * cell("latency_s", id)).toFixed(2)} ms` : ""},
  {name: "predicted_latency_s", words: "predicted latency", right: true, show: (id) => cell("predicted_latency_s", id) ? `${(1e3 * cell("predicted_latency_s", id)).toFixed(2)} ms` : ""},
  ...page.dimensions.map((name) => ({name, words: name, right: typeof cell(name, 0) === "number", show: (id) => cell(name, id) === null ? "" : String(cell(name, id))})),
  {name: "network", words: "network", show: (id) => [page.network[id], page.recipe[id]].filter(Boolean).join(", ").split(", ").flatMap((part, i) => [i ? ", " : "", make("span", {}, part)])},
  {name: "epochs", words: "epochs", right: true, show: (id) => String(cell("epochs", id))},
  {name: "seconds", words: "seconds", right: true, show: (id) => cell("seconds", id).toFixed(0)},
  {name: "state", words: "state", show: (id) => make("span", {title: cell("reason", id)}, cell("state", id) === "failed" ? `failed: ${cell("reason", id)}` : SHORT[cell("state", id)])},
].filter(({name}) => !(name === "network" && page.dimensions.length && page.columns.channels.all === "")).filter(({name}) => !["latency_s", "predicted_latency_s", "proxy"].includes(name) || Array.isArray(page.columns[name]));
const classOf = ({name, right}) => `${right ? "number " : ""}${name === "network" ? "network " : ""}of-${name}`;
const SHORT = {complete: "complete", pruned: "pruned"};
const STEP = 50;
const onParetoFront = new Set(page.pareto_front);
let order = {name: "accuracy", down: true}, rows = [], shown = STEP, problems = [];

const valueOf = (name, id) => name === "network" ? page.network[id] : cell(name, id);

/** The sign of how two trials follow each other; what is missing comes last, and of equals the earlier first. */
const compare = (a, b) => {
  const [x, y] = [valueOf(order.name, a), valueOf(order.name, b)];
  if (x === null || y === null) return (x === null) - (y === null) || a - b;
  const sign = x < y ? -1 : x > y ? 1 : 0;
  return (order.down ? -sign : sign) || a - b;
};

const UNITS = {k: 1e3, m: 1e6, g: 1e9, ms: 1e-3, s: 1, "": 1};
const NAMES = {parameters: "params", trial: "number", latency: "latency_s", "predicted_latency": "predicted_latency_s"};
const TESTS = {"<": (v, w) => v < w, "<=": (v, w) => v <= w, ">": (v, w) => v > w, ">=": (v, w) => v >= w, "=": (v, w) => v === w};

/** A number as it is written beside a column: 100k, 45%, 1,000, 2ms; of a latency milliseconds unless it says otherwise. */
const numberOf = (name, text) => {
  const found = /^([\d.,]+)(ms|s|[kmg%]?)$/i.exec(text);
  if (!found) return NaN;
  const plain = Number(found[1].replaceAll(",", "")), unit = found[2].toLowerCase() || (name.endsWith("latency_s") ? "ms" : "");
  return unit === "%" ? plain / 100 : plain * UNITS[unit];
};

const COMPARISON = /^([a-z_]+)(<=|>=|<|>|=)(.*)$/i;
const columnOf = (given) => NAMES[given.toLowerCase()] ?? given.toLowerCase();
const textOf = (id) => `${cell("study", id)} ${cell("number", id)} ${page.network[id]} ${page.recipe[id]} ${cell("state", id)} ${cell("reason", id)}`.toLowerCase();

/** Why a word of the filter says nothing; empty where it does. */
const unknown = (word) => {
  const [, given, sign, text] = COMPARISON.exec(word) ?? [];
  if (!given) return [...Array(nTrials).keys()].some((id) => textOf(id).includes(word.toLowerCase())) ? "" : `no trial has “${word}” in its text`;
  if (!Object.hasOwn(page.columns, columnOf(given))) return `“${given}” is no column; there are ${[...Object.keys(NAMES).filter((name) => !name.endsWith("latency")), "latency", "accuracy", "macs", "epochs", "seconds", "state"].join(", ")} and the others of trials.csv`;
  return sign !== "=" && Number.isNaN(numberOf(columnOf(given), text)) ? `“${text}” in “${word}” is no number` : "";
};

/** What a word of the filter asks of a trial: "params<100k", "accuracy>=45%", "state=failed", or a text that is part of it. */
const asked = (word) => {
  const [, given, sign, text] = COMPARISON.exec(word) ?? [];
  if (given) {
    const name = columnOf(given);
    const limit = numberOf(name, text);
    if (!Number.isNaN(limit)) return (id) => typeof cell(name, id) === "number" && TESTS[sign](cell(name, id), limit);
    return (id) => sign === "=" && String(cell(name, id)).toLowerCase() === text.toLowerCase();
  }
  const part = word.toLowerCase();
  return (id) => textOf(id).includes(part);
};

const wordsOf = (text) => text.replace(/\s*(<=|>=|<|>|=)\s*/g, "$1").split(/\s+/).filter(Boolean);

/** Choose the trials that are asked for, in order, and show the first of them. */
const refresh = () => {
  const state = document.getElementById("state").value;
  const words = wordsOf(document.getElementById("filter").value);
  problems = words.map(unknown).filter(Boolean);
  const tests = words.filter((word) => !COMPARISON.test(word) || !unknown(word)).map(asked);  // a comparison that says nothing is left out
  if (state) tests.push(state === "pareto" ? (id) => onParetoFront.has(id) : (id) => cell("state", id) === state);
  rows = [];
  for (let id = 0; id < nTrials; id++) if (tests.every((test) => test(id))) rows.push(id);
  rows.sort(compare);
  fillTable();
  remember();
};

const fillTable = () => {
  const line = (id) => make("tr", {class: `${cell("state", id)}${id === pinned || id === other ? " pinned" : ""}`, "data-id": id, tabindex: "0", "aria-label": `look at trial ${cell("number", id)}`},
    ...COLUMNS.map((column) => make("td", {class: classOf(column)}, ...[column.show(id)].flat())));
  document.querySelector("#table tbody").replaceChildren(...rows.slice(0, shown).map(line));
  document.getElementById("shown").textContent = `${count(rows.length)} of ${count(nTrials)} trials${rows.length > shown ? `, the first ${count(shown)} are listed` : ""}. ${problems.map((text) => `Filter: ${text}.`).join(" ")}`;
  document.getElementById("shown").classList.toggle("warning", problems.length > 0);
  document.getElementById("more").hidden = rows.length <= shown;
  for (const head of document.querySelectorAll("#table th")) head.setAttribute("aria-sort", head.dataset.name !== order.name ? "none" : order.down ? "descending" : "ascending");
};

const markRow = () => {
  for (const row of document.querySelectorAll("#table tbody tr")) {
    const id = Number(row.dataset.id);
    row.classList.toggle("pinned", id === pinned || id === other);
    row.querySelector(".compare").setAttribute("aria-pressed", String(id === other));
  }
};

const sortBy = (name) => {
  const text = typeof valueOf(name, 0) === "string";
  order = {name, down: order.name === name ? !order.down : !text && name !== "number"};
  refresh();
};

/** The chosen trials with all columns of trials.csv, in the order shown. */
const csv = () => {
  const quoted = (value) => value === null ? "" : /[",\r\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value);
  const names = Object.keys(page.columns);
  return [names.join(","), ...rows.map((id) => names.map((name) => quoted(cell(name, id))).join(","))].join("\r\n") + "\r\n";
};

const download = () => {
  const link = make("a", {href: URL.createObjectURL(new Blob([csv()], {type: "text/csv"})), download: "trials.csv"});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
};

const startTable = () => {
  const head = COLUMNS.map(({name, words, right}) => make("th", {class: classOf({name, right}), "data-name": name, scope: "col"}, name === "compare" ? words : make("button", {type: "button", onclick: () => sortBy(name)}, words)));
  document.getElementById("table").classList.toggle("several", Boolean(several));
  document.querySelector("#table thead").replaceChildren(make("tr", {}, ...head));
  const choose = (target) => { const row = target.closest("tbody tr"), id = Number(row?.dataset.id); if (row) { target.closest(".compare") ? compareWith(id === other ? null : id) : pin(id); document.getElementById("trial")?.scrollIntoView({behavior: "smooth"}); } };
  document.getElementById("table").addEventListener("click", ({target}) => choose(target));
  document.getElementById("table").addEventListener("keydown", (event) => { if ((event.key === "Enter" || event.key === " ") && event.target.matches("tr")) { event.preventDefault(); choose(event.target); } });
  document.getElementById("filter").addEventListener("input", () => { shown = STEP; refresh(); });
  document.getElementById("state").addEventListener("change", () => { shown = STEP; refresh(); });
  document.getElementById("more").addEventListener("click", () => { shown = shown * 4; fillTable(); });
  document.getElementById("download").addEventListener("click", download);
  refresh();
};
