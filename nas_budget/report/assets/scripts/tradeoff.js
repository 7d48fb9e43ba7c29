// The trade-off: which part of it is shown, and what its dots are coloured by.
const UNPAINTED = new Set(["study", "spec", "curve", "train_losses", "started", "finished", "reason", "rungs"]);
const MOST_CLASSES = 8, WIDE_RANGE = 30;  // classes with a colour each; from where a number is coloured by its logarithm
const PAINTS = {"": several ? "study" : "what became of it", ...Object.fromEntries(Object.keys(page.columns)
  .filter((name) => Array.isArray(page.columns[name]) && !UNPAINTED.has(name)).map((name) => [name, name.replace(/_s$/, " (s)").replaceAll("_", " ")]))};
const chosenOf = (id) => document.getElementById(id)?.value ?? "";
const isHidden = (trace) => trace.visible === "legendonly";
const short = (value) => value >= 1e6 ? `${value / 1e6}M` : value >= 1e3 ? `${value / 1e3}k` : `${Number(value.toPrecision(3))}`;

/** Show the Pareto front, all complete trials, or what others have published as well. */
const zoom = ({data, layout}, part) => {
  if (part === "front") return {data: data.filter((trace) => !isHidden(trace)), layout};
  const shown = part === "all" ? data.filter((trace) => !isHidden(trace)) : data.map((trace) => isHidden(trace) ? {...trace, visible: true} : trace);
  const annotations = layout.annotations?.filter(({name}) => name !== "below");
  const yaxis = {...layout.yaxis, range: layout.meta.all, tickformat: ".0%"};
  if (part === "all") return {data: shown, layout: {...layout, annotations, yaxis}};
  const free = {range: undefined, autorange: true};
  return {data: shown, layout: {...layout, annotations, yaxis: {...yaxis, ...free}, xaxis: {...layout.xaxis, ...free, tickvals: undefined, ticktext: undefined, tickformat: "~s", dtick: "D2"}}};
};

/** How values are coloured: a number for each, and the scale with its ticks; classes for texts and for few whole numbers. */
const paintOf = (name) => {
  const values = page.columns[name], known = values.filter((value) => value !== null && value !== "");
  if (known.every((value) => typeof value === "number")) {
    const least = Math.min(...known), most = Math.max(...known);
    if (!(least > 0 && most / least > WIDE_RANGE)) return {codes: values, ends: [least, most], ticks: /accuracy|predicted/.test(name) ? {tickformat: ".0%", nticks: 6} : {tickformat: "~s", nticks: 6}};
    const round = [...Array(40).keys()].flatMap((i) => [1, 2, 5].map((digit) => digit * 10 ** (i - 20))).filter((value) => least <= value && value <= most);
    const ticks = round.filter((_, i) => i % Math.ceil(round.length / 5) === 0);
    return {codes: values.map((value) => value > 0 ? Math.log10(value) : null), ends: [Math.log10(least), Math.log10(most)], ticks: {tickvals: ticks.map(Math.log10), ticktext: ticks.map(short)}};
  }
  const counts = new Map();
  for (const value of known) counts.set(value, (counts.get(value) ?? 0) + 1);
  const common = [...counts].sort((a, b) => b[1] - a[1]).map(([value]) => value), few = common.length <= MOST_CLASSES;
  const classes = few ? common.sort() : [...common.slice(0, MOST_CLASSES - 1), "others"];
  const codes = values.map((value) => value === null || value === "" ? null : classes.includes(value) ? classes.indexOf(value) : classes.length - 1);
  const scale = classes.flatMap((_, i) => [[i / classes.length, page.palette[i]], [(i + 1) / classes.length, page.palette[i]]]);
  return {codes, ends: [-0.5, classes.length - 0.5], scale, ticks: {tickvals: classes.map((_, i) => i), ticktext: classes.map((text) => escaped(String(text)))}};
};

/** Colour the trials by a column, with its scale below the figure. */
const paint = ({data, layout}, name) => {
  const {codes, ends, scale, ticks} = paintOf(name), height = 64;
  const painted = data.map((trace) => trace.meta !== "hover" ? trace : {...trace, showlegend: false,
    marker: {...trace.marker, opacity: 1, color: trace.customdata.map((id) => codes[id]), coloraxis: "coloraxis"}});
  const bar = {orientation: "h", x: 0.5, y: 0, yref: "container", yanchor: "bottom", thickness: 10, len: 0.7, outlinewidth: 0, title: {text: PAINTS[name], side: "top"}, ...ticks};
  const coloraxis = {cmin: ends[0], cmax: ends[1], colorscale: scale ?? page.scale, colorbar: bar};
  return {data: painted, layout: {...layout, coloraxis, height: layout.height + height, margin: {...layout.margin, b: layout.margin.b + height}}};
};

own.fit = (name, figure) => {
  if (!name.startsWith("tradeoff")) return;
  const part = chosenOf("part"), by = chosenOf("colour");
  Object.assign(figure, zoom(figure, part));
  if (by) Object.assign(figure, paint(figure, by));
  figure.layout.uirevision += `-${part}`;
};

const startTradeoff = () => {
  const paints = document.getElementById("colour"), parts = document.getElementById("part");
  if (!paints) return;
  paints.replaceChildren(...Object.entries(PAINTS).map(([value, words]) => make("option", {value}, words)));
  const figures = Object.entries(page.figures).filter(([name]) => name.startsWith("tradeoff")).map(([, figure]) => figure);
  if (!figures.some(({data}) => data.some(isHidden))) parts.querySelector("[value=published]").remove();
};
startTradeoff();
