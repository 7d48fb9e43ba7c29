// Figures: drawn when they come into sight, in the colours of the scheme, and saved as PNG.
const DATA = new Set(["x", "y", "z", "text", "customdata", "base", "values", "ticktext"]);
const CONFIG = {displaylogo: false, responsive: true, displayModeBar: false};
const PAPER_WIDTH = 680, MOST_BARS = 20;  // error bars that a phone has room for

/** A copy of part of a figure with dark colours for light ones, wherever a key is one of colour; data is shared, not copied. */
const darkened = (value, key = "") => {
  if (typeof value === "string") return /color/.test(key) && Object.hasOwn(DARK, value) ? DARK[value] : value;
  if (Array.isArray(value)) return value.some((part) => part !== null && typeof part !== "number") && !DATA.has(key) ? value.map((part) => darkened(part, key)) : value;
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, darkened(part, name)]));
  return value;
};

/** In little width the entries of a legend stand in rows: room for them above the figure. */
const makeRoom = ({data, layout}, width) => {
  const names = layout.showlegend === false ? [] : data.filter((trace) => trace.showlegend !== false && trace.name).map((trace) => trace.name);
  if (width > 500 || names.length < 2) return;
  const perRow = Math.max(1, Math.floor((width - 40) / (50 + 7.5 * Math.max(...names.map((name) => name.length)))));
  const top = 24 + 19 * Math.ceil(names.length / perRow), more = Math.max(0, top - layout.margin.t);
  layout.margin = {...layout.margin, t: layout.margin.t + more};
  layout.height += more;
};

/** A title of an axis that is longer than a phone is wide takes two lines. */
const breakTitle = ({layout}, width) => {
  const title = layout.xaxis?.title, middle = title?.text?.indexOf(" ", title.text.length / 2 - 4) ?? -1;
  if (middle < 0 || 7.5 * title.text.length < width - 60) return;
  layout.xaxis = {...layout.xaxis, title: {...title, text: `${title.text.slice(0, middle)}<br>${title.text.slice(middle + 1)}`}};
  layout.margin = {...layout.margin, b: layout.margin.b + 16};
  layout.height += 16;
};

/** On a phone charts that stand side by side stand below each other. */
const stack = (height) => ({layout}) => {
  const n = layout.annotations?.length ?? 0, gap = 0.42 / n, share = (1 - gap * (n - 1)) / n;
  if (!narrow.matches || !n) return;
  const top = (i) => 1 - i * (share + gap);
  layout.annotations = layout.annotations.map((note, i) => ({...note, x: 0.5, y: top(i)}));
  for (let i = 0; i < n; i++) {
    const axis = i ? i + 1 : "";
    layout[`xaxis${axis}`] = {...layout[`xaxis${axis}`], domain: [0, 1]};
    layout[`yaxis${axis}`] = {...layout[`yaxis${axis}`], domain: [Math.max(0, top(i) - share), top(i)]};
  }
  layout.height = 60 + height * n;
};

/** What makes a figure fit into a width, where it is not `makeRoom`. */
const FITS = {
  sizes: stack(170),
  choices: stack(165),
  confusion: (figure) => {  // on a phone a cell has room for two digits
    if (!narrow.matches) return;
    const rounded = (cells) => cells.map((row) => row.map((share) => (share >= 0.5 ? Math.round(share) : "")));
    figure.data = figure.data.map((trace) => trace.texttemplate ? {...trace, text: rounded(trace.z), texttemplate: "%{text}", textfont: {size: 10}} : trace);
    Object.assign(figure.layout, {font: {...figure.layout.font, size: 11}, height: Math.min(figure.layout.height, 400)});
  },
  architecture: ({layout}, width) => {
    const size = Math.floor(width / layout.xaxis3.tickvals.length / 3.9);
    layout.font = {...layout.font, size: Math.max(7, Math.min(13, size))};
  },
};

/** What the page of studies adds: marks of the pinned trial, what a click on a trial does, and views of a figure. */
const own = {marks: () => [], clicked: () => {}, fit: () => {}};
const drawn = new Set();
const nameOf = (place) => {
  const chosen = document.querySelector(`select[data-of="${place.id}"]`);
  return chosen ? `${place.id}-${chosen.value}` : place.id;
};
const places = () => [...document.querySelectorAll(".figure")];

/** The figure of a place, ready to be drawn: texts put in, marks added, fitted, in the colours of the scheme. */
const dressed = (place, printing) => {
  const name = nameOf(place), {data, layout} = page.figures[name];
  const full = data.map((trace) => ({
    ...trace,
    ...(trace.meta === "hover" ? {text: trace.customdata.map((id) => page.hover[id])} : {}),
    ...(narrow.matches && trace.error_y && trace.x.length > MOST_BARS && trace.name !== "on the Pareto front" ? {error_y: {visible: false}} : {}),
  }));
  const figure = {data: [...full, ...own.marks(name)], layout: {...layout, uirevision: name}};
  own.fit(name, figure);
  (FITS[name] ?? makeRoom)(figure, place.clientWidth);
  breakTitle(figure, place.clientWidth);
  return dark.matches && !printing ? darkened(figure) : figure;
};

const draw = (place, printing = false) => {
  if (!globalThis.Plotly) return;
  const {data, layout} = dressed(place, printing);
  place.style.height = `${layout.height}px`;
  if (printing) Object.assign(layout, {width: place.matches(".slices *, .pair *") ? place.clientWidth : PAPER_WIDTH, autosize: false});
  Plotly.react(place, data, layout, CONFIG);
  if (drawn.has(place)) return;
  drawn.add(place);
  const words = place.getAttribute("aria-label");
  place.after(make("button", {class: "png", type: "button", "aria-label": `save as PNG: ${words}`, title: "save as PNG", onclick: () => savePng(place)}, "PNG"));
  place.on("plotly_click", ({points, event}) => {
    const id = points.map((point) => point.customdata).find(Number.isInteger);
    if (id !== undefined) own.clicked(id, Boolean(event?.shiftKey));
  });
};

const redraw = (test = () => true) => drawn.forEach((place) => test(nameOf(place)) && draw(place));

/** Save the figure of a place in light colours on white, as wide as it is here, named after what the page is of. */
const savePng = async (place) => {
  const {data, layout} = dressed(place, true);
  const image = {format: "png", scale: 2, width: place.clientWidth, height: layout.height};
  const href = await Plotly.toImage({data, layout: {...layout, paper_bgcolor: "white", plot_bgcolor: "white"}, config: CONFIG}, image);
  make("a", {href, download: `${slug(page.name)}-${nameOf(place)}.png`}).click();
};

/** plotly.js where the page holds it compressed; the server of a page that is watched has it as a file. */
const unpackPlotly = async () => {
  const packed = document.getElementById("plotly");
  if (!packed) return;
  const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
  packed.remove();
  const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  document.head.append(make("script", {}, text));
};

const startFigures = async () => {
  try { await unpackPlotly(); } catch (error) {
    for (const place of places()) place.replaceChildren(make("p", {class: "warning"}, `Figures need a browser of 2023 or later (${error.message}).`));
    return;
  }
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { watcher.unobserve(entry.target); draw(entry.target); }
  }, {rootMargin: "300px"});
  places().forEach((place) => watcher.observe(place));
  for (const query of [dark, narrow]) query.addEventListener("change", () => redraw());
  addEventListener("beforeprint", () => places().forEach((place) => draw(place, true)));
  addEventListener("afterprint", () => drawn.forEach((place) => { draw(place); Plotly.Plots.resize(place); }));
};
