// The page as a whole: the axis, what the address remembers, and news where it is served.
const AXES = {params: "parameters", macs: "MACs", bytes: "bytes of weights", latency: "latency", seconds: "device seconds"};
const axes = Object.keys(AXES).filter((name) => page.figures[`tradeoff-${name}`]);
let chosenAxis = "params", started = false;

/** How the address names a trial: by its number, which stays when others come, and by its study where there are several. */
const nameOfTrial = (id) => id === null ? null : `${several ? `${cell("study", id)}:` : ""}${cell("number", id)}`;

/** Keep what is looked at in the address, so that it can be shared and survives a reload. */
const remember = () => {
  if (!started) return;
  const kept = {axis: chosenAxis, trial: nameOfTrial(pinned), sort: `${order.name}${order.down ? "-" : ""}`, show: document.getElementById("state").value, filter: document.getElementById("filter").value};
  const usual = {axis: "params", trial: nameOfTrial(page.best), sort: "accuracy-", show: "", filter: ""};
  const changed = Object.entries(kept).filter(([name, value]) => value !== null && value !== usual[name]);
  history.replaceState(null, "", changed.length ? `#${new URLSearchParams(changed)}` : location.href.split("#")[0]);
};

const recall = () => {
  const known = new URLSearchParams(location.hash.slice(1));
  if (axes.includes(known.get("axis"))) chosenAxis = known.get("axis");
  const sort = /^([a-z_]+)(-?)$/.exec(known.get("sort") ?? "");
  if (sort && COLUMNS.some(({name}) => name === sort[1])) order = {name: sort[1], down: sort[2] === "-"};
  const state = document.getElementById("state");
  if ([...state.options].some(({value}) => value === known.get("show"))) state.value = known.get("show");
  document.getElementById("filter").value = known.get("filter") ?? "";
  const trial = known.get("trial");
  const found = trial === null ? -1 : page.hover.findIndex((_, id) => nameOfTrial(id) === trial);
  return found >= 0 ? found : page.best;
};

/** Ask the server now and then whether the study has grown, and load the page again when it has. */
const watch = () => {
  const shown = document.body.dataset.live;
  const look = async () => {
    try {
      const news = await (await fetch("stamp", {cache: "no-store"})).text();
      if (news !== shown) return location.reload();
      document.body.classList.remove("lost");
    } catch { document.body.classList.add("lost"); }
    setTimeout(look, 2_000);
  };
  look();
};

const start = () => {
  const first = recall(), select = document.getElementById("axis");
  select.replaceChildren(...axes.map((name) => make("option", {value: name}, AXES[name])));
  select.value = chosenAxis;
  select.parentElement.hidden = axes.length < 2;
  select.addEventListener("change", () => { chosenAxis = select.value; redraw((name) => name.startsWith("tradeoff")); remember(); });
  if (first !== null) pin(first);
  startTable();
  started = true;
  if (document.body.dataset.live) watch();
};
start();
