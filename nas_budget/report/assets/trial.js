// One trial: its network to scale, its curve, its settings, its commands.
const cell = (name, id) => { const column = page.columns[name]; return Array.isArray(column) ? column[id] : column.all; };
const nTrials = page.hover.length;
const count = (value) => Math.round(value).toLocaleString("en-US");
const percent = (share, digits = 2) => `${(100 * share).toFixed(digits)}%`;
const curveOf = (id, column = "curve") => String(cell(column, id) ?? "").split(" ").filter(Boolean).map(Number);
const several = page.studies.length > 1;
const STATES = {complete: "trained to the end", pruned: "pruned", failed: "failed"};
let pinned = null;

/** An element with attributes, holding texts and elements. */
const make = (tag, attributes = {}, ...parts) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) name === "onclick" ? element.addEventListener("click", value) : element.setAttribute(name, value);
  element.append(...parts);
  return element;
};

/** Stem, stages and head of a trial: name, shape of what comes out, blocks, params, MACs; null where it is not known. */
const costShares = (id) => {
  const image = page.image[page.studies.indexOf(cell("study", id))];
  if (!page.cost_shares[id].length || !image) return null;
  const [params, macs] = page.cost_shares[id];
  const [channels, blocks, kernels, strides] = ["channels", "blocks", "kernels", "strides"].map((name) => cell(name, id).split("-").map(Number));
  let size = image.image_size;
  const stages = channels.map((width, i) => {
    size = Math.ceil(size / strides[i]);
    return {name: `stage ${i + 1}`, width, size, words: `${blocks[i]} block${blocks[i] === 1 ? "" : "s"}, ${kernels[i]}×${kernels[i]}`, n: blocks[i]};
  });
  const stem = {name: "stem", width: cell("stem_width", id), size: image.image_size, words: "", n: 1};
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
  ["Predicted by the model", (id) => cell("predicted", id) === null ? "" : `${percent(cell("predicted", id))} ± ${percent(1.96 * cell("predicted_deviation", id))}`],
  ["Accuracy", (id) => cell("accuracy", id) === null ? "" : percent(cell("accuracy", id))], 
  ["Trained as a proxy", (id) => cell("proxy", id) < 1 ? `at 1/${(1 / cell("proxy", id)).toPrecision(3) * 1} of the width, ${count(cell("proxy_params", id))} parameters` : ""],
  ["Parameters", (id) => count(cell("params", id))], ["MACs", (id) => count(cell("macs", id))],
  ["Latency of one image", (id) => cell("latency_s", id) ? `${(1e3 * cell("latency_s", id)).toPrecision(3)} ms` : ""], ["Depth", (id) => cell("channels", id) ? `${cell("depth", id)} layers` : ""],
  ["Activations at their peak", (id) => cell("channels", id) ? `${count(cell("activation_bytes", id))} B` : ""],
  ["Epochs", (id) => `${cell("epochs", id)} of ${cell("max_epochs", id)}`], ["Time", (id) => `${cell("seconds", id).toFixed(1)} s`],
  ["Recipe", (id) => `${cell("optimizer", id)}, learning rate ${Number(cell("learning_rate", id)).toPrecision(3) * 1}, weight decay ${Number(cell("weight_decay", id)).toPrecision(3) * 1}, batch ${cell("batch_size", id)}`],
  ["Memory", (id) => cell("micro_batches", id) > 1 ? `each batch computed in ${cell("micro_batches", id)} micro-batches, as it did not suffice for a whole one` : ""],
  ["Why it ended", (id) => cell("reason", id)],
];

/** The curve of a trial as a figure; null where there is none. */
const curveFigure = (id) => {
  const y = curveOf(id), base = page.figures["curves-accuracy"]?.layout;
  if (!y.length || !base) return null;
  const trace = {x: y.map((_, i) => i + 1), y, mode: "lines+markers", line: {color: "#2563eb", width: 2.5}, hovertemplate: "%{y:.2%} after epoch %{x}<extra></extra>"};
  const layout = {...base, shapes: [], height: 220, showlegend: false, margin: {l: 52, r: 12, t: 8, b: 40}, xaxis: {...base.xaxis, range: [0.5, cell("max_epochs", id) + 0.5]}, yaxis: {...base.yaxis, title: "", autorangeoptions: {}}};
  return {data: [trace], layout};
};

const PIN = "#f59e0b", MARKED = /^(tradeoff|slice|progress|predictions)/;

/** What marks the pinned trial in a figure: a ring, or its curve. */
own.marks = (name) => {
  if (pinned === null) return [];
  const common = {hoverinfo: "skip", showlegend: false, customdata: [pinned]};
  if (name.startsWith("curves")) {
    const y = curveOf(pinned, name === "curves-loss" ? "train_losses" : "curve");
    return [{...common, x: y.map((_, i) => i + 1), y, mode: y.length > 1 ? "lines" : "markers", line: {color: PIN, width: 3.5}, marker: {color: PIN}}];
  }
  if (!MARKED.test(name)) return [];
  for (const trace of page.figures[name].data) {
    const place = trace.mode === "markers" && trace.customdata ? trace.customdata.indexOf(pinned) : -1;
    if (place >= 0) return [{...common, x: [trace.x[place]], y: [trace.y[place]], mode: "markers", marker: {size: 20, symbol: "circle-open", color: PIN, line: {width: 3}}}];
  }
  return [];
};
own.clicked = (id) => pin(id, true);

const command = (text) => make("div", {class: "command"}, make("code", {}, text), make("button", {class: "copy", type: "button"}, "copy"));

/** Show a trial, mark it in the figures and in the address. */
const pin = (id, move = false) => {
  pinned = id;
  const name = `${several ? `${cell("study", id)}, ` : ""}trial ${cell("number", id)}`;
  const accuracy = cell("accuracy", id) === null ? "" : `${percent(cell("accuracy", id))} with `;
  const body = document.getElementById("trial-body");
  if (!body) return;
  const before = document.getElementById("trial-curve");
  if (before) Plotly.purge(before);
  drawn.delete(before);
  const curve = page.figures["trial-curve"] = curveFigure(id);
  const facts = make("dl", {}, ...SETTINGS.map(([words, value]) => [words, value(id)]).filter(([, value]) => value).map(([words, value]) => make("div", {}, make("dt", {}, words), make("dd", {}, value))));
  const commands = page.commands[id].filter(Boolean).map(command);
  body.replaceChildren(make("p", {class: "trial-title"}, make("b", {}, name), ` · ${accuracy}${count(cell("params", id))} parameters · ${STATES[cell("state", id)] ?? cell("state", id)}`),
    make("p", {class: "soft"}, page.network[id]), make("div", {class: "scroll"}, drawing(id)), curve ? make("div", {id: "trial-curve", class: "figure", style: `height: ${curve.layout.height}px`}) : "", facts, ...commands);
  if (curve) setTimeout(() => draw(document.getElementById("trial-curve")));  // after the figures that are in sight
  redraw((figure) => figure.startsWith("curves") || MARKED.test(figure));
  markRow();
  remember();
  if (move && body.getBoundingClientRect().top > innerHeight - 80) document.getElementById("trial").scrollIntoView({behavior: "smooth", block: "nearest"});
};
