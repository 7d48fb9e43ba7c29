// One trial: its network to scale, its curve, its settings, its commands.
const cell = (name, id) => { const column = page.columns[name]; return Array.isArray(column) ? column[id] : column.all; };
const nTrials = page.hover.length;
const count = (value) => Math.round(value).toLocaleString("en-US");
// Halves are rounded to even, as Python does: a page must not say 64.3% below a headline of 64.2%.
const percent = (share, digits) => `${(100 * share).toLocaleString("en-US", {minimumFractionDigits: digits, maximumFractionDigits: digits, roundingMode: "halfEven"})}%`;
const accuracy = (id, name = "accuracy") => cell(name, id) === null ? "" : percent(cell(name, id), page.decimals[id]);
const curveOf = (id, column = "curve") => String(cell(column, id) ?? "").split(" ").filter(Boolean).map(Number);
const several = page.studies.length > 1;
const STATES = {complete: "trained to the end", pruned: "pruned", failed: "failed"};
let pinned = null, other = null;  // the trial that is looked at, and one that it is compared with

/** Stem, stages and head of a trial: name, shape of what comes out, blocks, params, MACs; null where it is not known. */
const costShares = (id) => {
  const image = page.image[page.studies.indexOf(cell("study", id))];
  if (!page.cost_shares[id].length || !image) return null;
  const [params, macs] = page.cost_shares[id];
  const [channels, blocks, kernels, strides] = ["channels", "blocks", "kernels", "strides"].map((name) => cell(name, id).split("-").map(Number));
  const first = Math.ceil(image.image_size / (page.later[id].stem_stride ?? 1));
  let size = first;
  const stages = channels.map((width, i) => {
    size = Math.ceil(size / strides[i]);
    return {name: `stage ${i + 1}`, width, size, words: `${blocks[i]} block${blocks[i] === 1 ? "" : "s"}, ${kernels[i]}×${kernels[i]}`, n: blocks[i]};
  });
  const stem = {name: "stem", width: cell("stem_width", id), size: first, words: "", n: 1};
  return [stem, ...stages, {name: "head", width: image.classes, size: 1, words: "", n: 1}].map((part, i) => ({...part, params: params[i], macs: macs[i]}));
};

const maps = ({width, size}) => `${width} × ${size}×${size}`;

/** A table with a row for each part: a box as wide as it has channels and as high as its maps, and bars. */
const drawing = (id) => {
  const parts = costShares(id);
  if (!parts) return "";
  const widest = Math.max(...parts.map((part) => part.width)), largest = Math.max(...parts.map((part) => part.size));
  const total = {params: cell("params", id), macs: cell("macs", id)};
  const bar = (part, name) => make("td", {class: "share"}, make("span", {class: `fill ${name}`, style: `width: ${Math.max(0.5, 100 * part[name] / total[name])}%`}),
    make("span", {class: "on"}, `${count(part[name])} · ${percent(part[name] / total[name], 1)}`));
  const box = (part) => make("div", {class: "box", style: `--width: ${part.width / widest}; --height: ${part.size / largest}; --blocks: ${Math.min(5, part.n)}`});
  const rows = parts.map((part) => make("tr", {}, make("th", {scope: "row"}, part.name, make("small", {class: "phone"}, maps(part))), make("td", {class: "boxes"}, box(part)),
    make("td", {class: "shape"}, make("span", {}, maps(part)), make("small", {}, part.words)), bar(part, "params"), bar(part, "macs")));
  const head = make("tr", {}, ...["", "to scale", "maps", "parameters", "MACs"].map((words) => make("th", words === "maps" ? {class: "shape"} : {}, words)));
  return make("table", {class: "network-drawing"}, make("thead", {}, head), make("tbody", {}, ...rows));
};

const SETTINGS = [
  ["Predicted by the model", (id) => cell("predicted", id) === null ? "" : `${accuracy(id, "predicted")} ± ${percent(1.96 * cell("predicted_deviation", id), page.decimals[id])} (95 %)`],
  ["Accuracy", (id) => accuracy(id)],
  ["Trained as a proxy", (id) => cell("proxy", id) < 1 ? `at 1/${(1 / cell("proxy", id)).toPrecision(3) * 1} of the width, ${count(cell("proxy_params", id))} parameters` : ""],
  ["Parameters", (id) => count(cell("params", id))], ["MACs", (id) => count(cell("macs", id))],
  ["Latency of one image", (id) => cell("latency_s", id) ? `${(1e3 * cell("latency_s", id)).toPrecision(3)} ms` : ""],
  ["Predicted latency", (id) => cell("predicted_latency_s", id) ? `${(1e3 * cell("predicted_latency_s", id)).toPrecision(3)} ms` : ""], ["Depth", (id) => cell("channels", id) ? `${cell("depth", id)} layers` : ""],
  ["Activations at their peak", (id) => cell("channels", id) ? `${count(cell("activation_bytes", id))} B` : ""],
  ["Epochs", (id) => `${cell("epochs", id)} of ${cell("max_epochs", id)}`], ["Time", (id) => `${cell("seconds", id).toFixed(1)} s`],
  ["Recipe", (id) => `${cell("optimizer", id)}, learning rate ${Number(cell("learning_rate", id)).toPrecision(3) * 1}, weight decay ${Number(cell("weight_decay", id)).toPrecision(3) * 1}, batch ${cell("batch_size", id)}`],
  ["Memory", (id) => cell("micro_batches", id) > 1 ? `each batch computed in ${cell("micro_batches", id)} micro-batches, as it did not suffice for a whole one` : ""],
  ["Why it ended", (id) => cell("reason", id)],
];

/** What of a network and its recipe is one value each. */
const SPEC = ["channels", "blocks", "kernels", "strides", "pool", "stem_kernel", "shortcut_kernel", "block", "se_reduction", "stem_width", "optimizer", "learning_rate", "weight_decay", "batch_size"];
/** Numbers whose difference is told, by the words of their setting. */
const NUMBERS = {Accuracy: "accuracy", Parameters: "params", MACs: "macs", "Latency of one image": "latency_s", "Predicted latency": "predicted_latency_s", Depth: "depth", "Activations at their peak": "activation_bytes", Time: "seconds"};
const nameOfBoth = (id) => `${several ? `${cell("study", id)}, ` : ""}trial ${cell("number", id)}`;

/** By how much a second number differs from a first: in points of accuracy, else as a share of the first. */
const difference = (name, first, second) => {
  const [a, b] = [cell(name, first), cell(name, second)];
  if (a === null || b === null || !a || a === b) return "";
  const [value, unit] = name === "accuracy" ? [100 * (b - a), " points"] : [100 * (b / a - 1), " %"];
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(Math.abs(value) < 10 ? 1 : 0)}${unit}`;
};

/** Two trials in a table: a row for each setting, marked where they differ. */
const sideBySide = (first, second) => {
  const known = SETTINGS.filter(([words]) => words !== "Recipe").map(([words, value]) => [words, value(first), value(second), NUMBERS[words]]);
  const later = [...new Set([first, second].flatMap((id) => Object.keys(page.later[id])))];  // what has no column, where it is not as usual
  const values = (id) => [...[...SPEC, ...page.dimensions].map((name) => String(cell(name, id))), ...later.map((name) => [page.later[id][name] ?? "as usual"].flat().join("-"))];
  const [its, others] = [values(first), values(second)];
  const spec = [...SPEC, ...page.dimensions, ...later].map((name, i) => [name.replaceAll("_", " "), its[i], others[i], ""]);
  const rows = [...known, ...spec].filter(([, a, b]) => a || b).map(([words, a, b, name]) => make("tr", a === b ? {} : {class: "differs"},
    make("th", {scope: "row"}, words), make("td", {}, a), make("td", {}, b), make("td", {class: "number"}, name ? difference(name, first, second) : "")));
  const heads = ["", nameOfBoth(first), nameOfBoth(second), "difference"];
  return make("div", {class: "scroll"}, make("table", {class: "side-by-side"}, make("thead", {}, make("tr", {}, ...heads.map((words) => make("th", {scope: "col"}, words)))), make("tbody", {}, ...rows)));
};

/** The curves of a trial, and of another one, as a figure; null where there is none. */
const curveFigure = (id) => {
  const base = page.figures["curves-accuracy"]?.layout, shown = [id, other].filter((one) => one !== null && curveOf(one).length);
  if (!shown.length || !base) return null;
  const data = shown.map((one) => ({y: curveOf(one), x: curveOf(one).map((_, i) => i + 1), mode: "lines+markers", name: escaped(nameOfBoth(one)), ...marksOf(one),
    hovertemplate: `%{y:.${page.decimals[one]}%} after epoch %{x}<extra></extra>`}));
  const longest = Math.max(...shown.map((one) => cell("max_epochs", one)));
  const layout = {...base, shapes: [], height: 250, showlegend: shown.length > 1, margin: {l: 60, r: 12, t: shown.length > 1 ? 32 : 8, b: 44}, xaxis: {...base.xaxis, range: [0.5, longest + 0.5]}, yaxis: {...base.yaxis, title: {...base.yaxis.title, text: "accuracy"}, autorangeoptions: {}}};
  return {data, layout};
};

/** How the curve of a chosen trial is drawn: a line, dashed for the second. */
const marksOf = (id) => ({line: {color: COLOURS.chosen, width: 3, dash: id === other ? "dash" : "solid"}, marker: {color: COLOURS.chosen, symbol: id === other ? "diamond" : "circle", size: 7}});

/** A text that plotly shows as it is. */
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

const MARKED = /^(tradeoff|slice|progress|predictions)/;

/** What marks the chosen trials in a figure: a ring and a diamond, or their curves, which the legend names. */
own.marks = (name) => [pinned, other].filter((id) => id !== null).flatMap((id) => markOf(name, id));
const markOf = (name, id) => {
  const common = {hoverinfo: "skip", showlegend: false, customdata: [id]};
  if (name.startsWith("curves")) {
    const y = curveOf(id, name === "curves-loss" ? "train_losses" : "curve");
    return y.length ? [{...common, x: y.map((_, i) => i + 1), y, mode: y.length > 1 ? "lines" : "markers", ...marksOf(id), showlegend: true, name: escaped(nameOfBoth(id))}] : [];
  }
  if (!MARKED.test(name)) return [];
  for (const trace of page.figures[name].data) {
    const place = trace.mode === "markers" && trace.customdata ? trace.customdata.indexOf(id) : -1;
    if (place >= 0) return [{...common, x: [trace.x[place]], y: [trace.y[place]], yaxis: trace.yaxis ?? "y", mode: "markers", marker: {size: 20, symbol: id === other ? "diamond-open" : "circle-open", color: COLOURS.chosen, line: {width: 3}}}];
  }
  return [];
};
own.clicked = (id, beside) => beside ? compareWith(id) : pin(id, true);

const command = (text) => make("div", {class: "command"}, make("code", {}, text), make("button", {class: "copy", type: "button"}, "copy"));

/** A trial in a line, its network in words and to scale. */
const portrait = (id) => {
  const reached = cell("accuracy", id) === null ? "" : `${accuracy(id)} with `;
  return make("div", {}, make("p", {class: "trial-title"}, make("b", {}, nameOfBoth(id)), ` · ${reached}${count(cell("params", id))} parameters · ${STATES[cell("state", id)] ?? cell("state", id)}`),
    make("p", {class: "soft"}, page.network[id]), make("div", {class: "scroll"}, drawing(id)));
};

/** Compare the trial that is looked at with another one; with none, where that is null or the same. */
const compareWith = (id) => {
  other = id === pinned ? null : id;
  if (pinned !== null) pin(pinned);
};

/** Show a trial, mark it in the figures and in the address. */
const pin = (id, move = false) => {
  pinned = id;
  if (other === id) other = null;
  const body = document.getElementById("trial-body");
  if (!body) return;
  const before = document.getElementById("trial-curve");
  if (before) Plotly.purge(before);
  drawn.delete(before);
  const curve = page.figures["trial-curve"] = curveFigure(id);
  const facts = make("dl", {}, ...SETTINGS.map(([words, value]) => [words, value(id)]).filter(([, value]) => value).map(([words, value]) => make("div", {}, make("dt", {}, words), make("dd", {}, value))));
  const commands = page.commands[id].filter(Boolean).map(command);
  document.querySelector("#trial h2").textContent = other === null ? "One trial" : "Two trials";
  const both = other === null ? [portrait(id)] : [make("div", {class: "both"}, portrait(id), portrait(other)), make("button", {type: "button", id: "alone", onclick: () => compareWith(null)}, "Look at one trial alone")];
  body.replaceChildren(...both, curve ? make("div", {class: "frame"}, make("div", {id: "trial-curve", class: "figure", role: "img", "aria-label": "learning curve of the trial", style: `height: ${curve.layout.height}px`})) : "", other === null ? facts : sideBySide(id, other), ...commands);
  if (curve) setTimeout(() => draw(document.getElementById("trial-curve")));  // after the figures that are in sight
  redraw((figure) => figure.startsWith("curves") || MARKED.test(figure));
  markRow();
  remember();
  if (move && body.getBoundingClientRect().top > innerHeight - 80) document.getElementById("trial").scrollIntoView({behavior: "smooth", block: "nearest"});
};
