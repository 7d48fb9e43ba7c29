// The page as a whole: which figures are shown, what the address remembers, and news where it is served.
const switches = [...document.querySelectorAll("select[data-of], select[data-on]")];
let started = false;

/** How the address names a trial: by its number, which stays when others come, and by its study where there are several. */
const nameOfTrial = (id) => id === null ? null : `${several ? `${cell("study", id)}:` : ""}${cell("number", id)}`;

/** A value for each switch by its name. */
const valuesOf = (get) => Object.fromEntries(switches.map((one) => [one.id, get(one)]));

/** Keep what is looked at in the address, so that it can be shared and survives a reload. */
const remember = () => {
  if (!started) return;
  const kept = {...valuesOf(({value}) => value), trial: nameOfTrial(pinned), with: nameOfTrial(other), sort: `${order.name}${order.down ? "-" : ""}`, show: document.getElementById("state").value, filter: document.getElementById("filter").value};
  const usual = {...valuesOf(({options}) => options[0]?.value), trial: nameOfTrial(page.best), with: null, sort: "accuracy-", show: "", filter: ""};
  const changed = Object.entries(kept).filter(([name, value]) => value !== null && value !== usual[name]);
  const [address] = location.href.split("#");  // whole: in a notebook "#..." alone would be relative to the notebook's own
  history.replaceState(null, "", changed.length ? `${address}#${new URLSearchParams(changed)}` : address);
};

const recall = () => {
  const known = new URLSearchParams(location.hash.slice(1));
  for (const one of switches) one.value = [...one.options].find(({value}) => value === known.get(one.id))?.value ?? one.options[0]?.value;
  const sort = /^([a-z_]+)(-?)$/.exec(known.get("sort") ?? "");
  if (sort && COLUMNS.some(({name}) => name === sort[1])) order = {name: sort[1], down: sort[2] === "-"};
  const state = document.getElementById("state");
  if ([...state.options].some(({value}) => value === known.get("show"))) state.value = known.get("show");
  document.getElementById("filter").value = known.get("filter") ?? "";
  const trialOf = (key) => page.hover.findIndex((_, id) => nameOfTrial(id) === known.get(key));
  const [found, second] = [trialOf("trial"), trialOf("with")];
  other = second >= 0 ? second : null;
  return found >= 0 ? found : page.best;
};

/** Ask the server now and then whether the study has grown, and load the page again when it has; else only what the workers do. */
const watch = () => {
  const shown = document.body.dataset.live, workers = document.getElementById("workers");
  const ask = async (what) => {
    const answer = await fetch(what, {cache: "no-store"});
    if (!answer.ok) throw new Error(await answer.text());  // a database that does not answer
    return answer.text();
  };
  const look = async () => {
    try {
      if (await ask("stamp") !== shown) return location.reload();
      if (workers) workers.innerHTML = await ask("workers");
      document.body.classList.remove("lost");
    } catch { document.body.classList.add("lost"); }
    setTimeout(look, 2_000);
  };
  look();
};

const start = () => {
  const first = recall();
  for (const one of switches) one.addEventListener("change", () => { redraw((name) => name.startsWith(`${one.dataset.of ?? one.dataset.on}-`)); remember(); });
  if (first !== null) pin(first);
  startTable();
  started = true;
  if (document.body.dataset.live) watch();
};
start();
