// What all pages do: commands are copied, sections listed.

/** Copy a text where a page has no clipboard, as a file may not: from an area that is not seen. */
const copied = (text) => {
  const area = document.body.appendChild(document.createElement("textarea"));
  area.value = text;
  area.setAttribute("readonly", "");
  area.style.cssText = "position: fixed; top: 0; opacity: 0";
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
};
document.addEventListener("click", async ({target}) => {
  const button = target.closest(".command .copy");
  if (!button) return;
  const text = button.previousElementSibling.textContent;
  const done = await (navigator.clipboard ? navigator.clipboard.writeText(text).then(() => true, () => copied(text)) : copied(text));
  button.focus();
  button.textContent = done ? "copied" : "select it";
  if (!done) getSelection().selectAllChildren(button.previousElementSibling);
  setTimeout(() => { button.textContent = "copy"; }, 1500);
});


const dark = matchMedia("(prefers-color-scheme: dark)"), narrow = matchMedia("(max-width: 600px)"), beside = matchMedia("(min-width: 1200px)");

/** An element with attributes, holding texts and elements. */
const make = (tag, attributes = {}, ...parts) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) name === "onclick" ? element.addEventListener("click", value) : element.setAttribute(name, value);
  element.append(...parts);
  return element;
};

/** A text as part of an address or of a file's name. */
const slug = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}.]+/gu, "-").replace(/^-+|-+$/g, "");

/** The list of sections: beside the page where there is room, else a menu at its top. What is read is marked. */
const listSections = () => {
  const top = document.querySelector("h1"), sections = [...document.querySelectorAll("section")].filter((section) => section.querySelector("h2"));
  if (sections.length < 3) return;
  const menu = make("details", {}, make("summary", {}, "Sections")), list = make("ol");
  const goTo = (event, place) => {  // the address is kept for what the page shows
    event.preventDefault();
    if (!beside.matches) menu.open = false;
    place.scrollIntoView();  // at once: figures that come into sight on the way grow when they are drawn
    place.setAttribute("tabindex", "-1");
    place.focus({preventScroll: true});
  };
  const entries = [[top, "Summary"], ...sections.map((section) => [section, section.querySelector("h2").textContent])];
  const links = new Map(entries.map(([place, words]) => {
    place.id ||= `to-${slug(words)}`;
    return [place, make("a", {href: `#${place.id}`, onclick: (event) => goTo(event, place)}, words)];
  }));
  list.append(...[...links.values()].map((link) => make("li", {}, link)));
  menu.append(list);
  document.querySelector("main").before(make("nav", {class: "sections", "aria-label": "sections"}, menu));
  const fit = () => { menu.open = beside.matches; };
  const mark = () => {  // the last section that has begun above the upper third
    const read = [...links.keys()].filter((place) => place === top || (scrollY > 40 && place.getBoundingClientRect().top < innerHeight / 3)).at(-1);
    for (const [place, link] of links) place === read ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
    menu.firstChild.textContent = beside.matches || read === top ? "Sections" : links.get(read).textContent;
  };
  beside.addEventListener("change", fit);
  addEventListener("scroll", mark, {passive: true});
  addEventListener("keydown", ({key}) => { if (key === "Escape" && menu.open && !beside.matches) { menu.open = false; menu.firstChild.focus(); } });
  document.addEventListener("click", ({target}) => { if (!beside.matches && !menu.contains(target)) menu.open = false; });
  fit();
  mark();
};
listSections();
