// The figures of a run: drawn one after the other, so that the page can be read meanwhile, in the page's colours, on paper too.
const FIGURES = JSON.parse(document.getElementById("figures").textContent);
const CONFIG = {displaylogo: false, responsive: true, displayModeBar: false};
const dark = matchMedia("(prefers-color-scheme: dark)"), narrow = matchMedia("(max-width: 600px)");
const waiting = [...document.querySelectorAll(".plot")], drawn = [];
const SCALES = {
  right: {light: [[0, "#eff6ff"], [1, "#1d4ed8"]], dark: [[0, "#1e293b"], [1, "#2563eb"]]},
  wrong: {light: [[0, "#fff7ed"], [1, "#c2410c"]], dark: [[0, "#33231a"], [1, "#ea580c"]]},
};

const tint = (figure, on) => {
  const hover = {"hoverlabel.bgcolor": on ? "#1e293b" : "white", "hoverlabel.font.color": on ? "#e8edf4" : "#334155"};
  Plotly.relayout(figure, {"font.color": on ? "#cbd5e1" : "#334155", ...hover});
  const colours = on ? {ours: "#7aa7ff", second: "#2dd4bf", paper: "#fbbf24"} : {ours: "#2563eb", second: "#0d9488", paper: "#d97706"};
  figure.data.forEach((trace, i) => {
    const colour = colours[trace.meta];
    if (colour) Plotly.restyle(figure, trace.type === "bar" ? {"marker.color": colour, "marker.line.color": colour} : {"line.color": colour, "marker.color": colour}, [i]);
    if (trace.type === "heatmap") Plotly.restyle(figure, {colorscale: [SCALES[trace.name][on ? "dark" : "light"]]}, [i]);
  });
};

// On a phone a cell has room for two figures, and a part of the network for small ones.
const rounded = (cells) => cells.map((row) => row.map((share) => (share >= 0.5 ? Math.round(share) : "")));
const FITS = {
  confusion: (figure) => {
    const small = narrow.matches, high = FIGURES.confusion.layout.height, height = small ? Math.min(high, 400) : high;
    if (figure.data[0].texttemplate) {
      const texts = {text: figure.data.map((trace) => rounded(trace.z)), texttemplate: small ? "%{text}" : "%{z:.1f}"};
      Plotly.restyle(figure, {...texts, "textfont.size": small ? 10 : 12});
    }
    figure.style.height = `${height}px`;
    Plotly.relayout(figure, {"font.size": small ? 11 : 13, height});
  },
  architecture: (figure) => {
    const room = figure.clientWidth / figure.layout.xaxis3.tickvals.length;
    Plotly.relayout(figure, {"font.size": Math.max(7, Math.min(13, Math.floor(room / 3.9)))});
  },
};

const draw = (figure) => {
  const {data, layout} = FIGURES[figure.id];
  Plotly.newPlot(figure, data, {...layout}, CONFIG);
  drawn.push(figure);
  if (dark.matches) tint(figure, true);
  FITS[figure.id]?.(figure);
};
const drawNext = () => {
  if (waiting.length) draw(waiting.shift());
  if (waiting.length) setTimeout(drawNext);
};

dark.addEventListener("change", () => drawn.forEach((figure) => tint(figure, dark.matches)));
narrow.addEventListener("change", () => drawn.forEach((figure) => FITS[figure.id]?.(figure)));
addEventListener("beforeprint", () => {
  while (waiting.length) draw(waiting.shift());
  drawn.forEach((figure) => { tint(figure, false); Plotly.relayout(figure, {width: 680}); });
});
addEventListener("afterprint", () => drawn.forEach((figure) => { tint(figure, dark.matches); Plotly.relayout(figure, {width: null, autosize: true}); }));
drawNext();
