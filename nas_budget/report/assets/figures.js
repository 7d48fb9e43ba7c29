// Figures: drawn when they come into sight, in the colours of the scheme, with the pinned trial marked.
const dark = matchMedia("(prefers-color-scheme: dark)");
const DARK = {
  "#2563eb": "#7aa7ff", "#334155": "#cbd5e1", "#dc2626": "#f87171", "#d97706": "#fbbf24", "#0d9488": "#2dd4bf", white: "#151d28",
  "#ffffff": "#1e293b", "#dbeafe": "#1e3a8a", "#1e3a8a": "#bfdbfe", "#1d4ed8": "#93c5fd", "#bfdbfe": "#1e40af", "#93c5fd": "#1d4ed8", "#db2777": "#f472b6",
  "#475569": "#94a3b8", "#9333ea": "#c084fc", "#ea580c": "#fb923c", "#65a30d": "#a3e635", "#ca8a04": "#facc15",
};
const DATA = new Set(["x", "y", "text", "customdata", "base", "values", "ticktext"]);
const CONFIG = {displaylogo: false, responsive: true, displayModeBar: false};
const PIN = "#f59e0b";

/** A copy of part of a figure with dark colours for light ones, wherever a key is one of colour; data is shared, not copied. */
const darkened = (value, key = "") => {
  if (typeof value === "string") return /color/.test(key) && Object.hasOwn(DARK, value) ? DARK[value] : value;
  if (Array.isArray(value)) return value.some((part) => part !== null && typeof part !== "number") && !DATA.has(key) ? value.map((part) => darkened(part, key)) : value;
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, darkened(part, name)]));
  return value;
};

/** The figure of a name, ready to be drawn: texts put in, the pinned trial marked, colours of the scheme. */
const dressed = (name, printing) => {
  const {data, layout} = page.figures[name];
  const full = data.map((trace) => trace.meta === "hover" ? {...trace, text: trace.customdata.map((id) => page.hover[id])} : trace);
  const figure = {data: [...full, ...marks(name)], layout: {...layout, uirevision: name}};
  return dark.matches && !printing ? darkened(figure) : figure;
};

/** What marks the pinned trial in a figure: a ring, or its curve. */
const marks = (name) => {
  if (pinned === null) return [];
  const common = {hoverinfo: "skip", showlegend: false, customdata: [pinned]};
  if (name === "curves") {
    const y = curveOf(pinned);
    return [{...common, x: y.map((_, i) => i + 1), y, mode: y.length > 1 ? "lines" : "markers", line: {color: PIN, width: 3.5}, marker: {color: PIN}}];
  }
  if (!name.startsWith("tradeoff") && !name.startsWith("slice")) return [];
  for (const trace of page.figures[name].data) {
    const place = trace.mode === "markers" && trace.customdata ? trace.customdata.indexOf(pinned) : -1;
    if (place >= 0) return [{...common, x: [trace.x[place]], y: [trace.y[place]], mode: "markers", marker: {size: 20, symbol: "circle-open", color: PIN, line: {width: 3}}}];
  }
  return [];
};

const drawn = new Set();
const nameOf = (place) => place.id === "tradeoff" ? `tradeoff-${chosenAxis}` : place.dataset.figure;

/** In little width the entries of a legend stand in rows: room for them above the figure. */
const makeRoom = ({data, layout}, width) => {
  const names = layout.showlegend === false ? [] : data.filter((trace) => trace.showlegend !== false && trace.name).map((trace) => trace.name);
  if (width > 500 || names.length < 2) return;
  const perRow = Math.max(1, Math.floor((width - 40) / (50 + 7.5 * Math.max(...names.map((name) => name.length)))));
  const top = 24 + 19 * Math.ceil(names.length / perRow), more = Math.max(0, top - layout.margin.t);
  layout.margin = {...layout.margin, t: layout.margin.t + more};
  layout.height += more;
};

const draw = (place, printing = false) => {
  const figure = dressed(nameOf(place), printing);
  makeRoom(figure, place.clientWidth);
  place.style.height = `${figure.layout.height}px`;
  if (printing) Object.assign(figure.layout, {width: Math.min(680, place.clientWidth), autosize: false});
  Plotly.react(place, figure.data, figure.layout, CONFIG);
  if (drawn.has(place)) return;
  drawn.add(place);
  place.on("plotly_click", ({points}) => {
    const id = points.map((point) => point.customdata).find(Number.isInteger);
    if (id !== undefined) pin(id, true);
  });
};

const redraw = (test = () => true) => drawn.forEach((place) => test(nameOf(place)) && draw(place));

const places = () => [...document.querySelectorAll(".figure")].filter((place) => page.figures[nameOf(place)]);

/** Draw each figure once it is near; take away the sections whose figures there are not. */
const startFigures = () => {
  for (const part of document.querySelectorAll("[data-needs]")) if (!page.figures[part.dataset.needs]) part.remove();
  for (const place of document.querySelectorAll(".figure")) if (!page.figures[nameOf(place)]) place.remove();
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { watcher.unobserve(entry.target); draw(entry.target); }
  }, {rootMargin: "300px"});
  places().forEach((place) => watcher.observe(place));
  dark.addEventListener("change", () => { redraw(); drawCurve(); });
  addEventListener("beforeprint", () => { places().forEach((place) => draw(place, true)); drawCurve(true); });
  addEventListener("afterprint", () => { redraw(); drawCurve(); });
};
