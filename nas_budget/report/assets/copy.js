// A button beside a command copies it. Where a page has no clipboard, as a file may not, an area that is not seen does.
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
