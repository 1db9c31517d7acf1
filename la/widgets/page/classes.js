// The list of classes: choose, find, rename, hide, remove and add one.
const FEW = 12; // more classes get a field to search them

function classList(desk, host) {
  let words = "", renaming = false;
  const rows = h("div", { class: "la-classes", role: "radiogroup", "aria-label": "Classes" });
  const search = h("input", { type: "search", placeholder: "Find a class", "aria-label": "Find a class", hidden: true,
    oninput: () => { words = search.value.trim().toLowerCase(); redraw(); },
    onkeydown: (e) => {
      const first = matches()[0];
      if (e.key === "Enter" || e.key === "Escape") leave();
      if (e.key === "Enter" && first !== undefined) host.choose(first + 1);
    } });
  const fresh = h("input", { type: "text", placeholder: "Add a class", "aria-label": "Name of a new class",
    onkeydown: (e) => { if (e.key === "Enter") add(); else if (e.key === "Escape") leave(); } });

  const matches = () => [...host.classes().keys()].filter((k) => host.classes()[k].toLowerCase().includes(words));
  function leave() {
    search.value = words = fresh.value = "";
    redraw();
    host.focus();
  }
  function add() {
    host.rename(0, fresh.value);
    fresh.value = "";
  }
  function rename(n, row) {
    const before = host.classes()[n - 1];
    const done = () => {
      if (!renaming) return;
      renaming = false;
      host.rename(n, field.value);
      host.refresh();
    };
    const field = h("input", { type: "text", value: before, "aria-label": `New name of ${before}`, onblur: done,
      onkeydown: (e) => {
        if (e.key === "Escape") field.value = before;
        if (e.key === "Enter" || e.key === "Escape") host.focus();
      } });
    row.querySelector(".la-class").replaceWith(field);
    renaming = true;
    field.select();
  }
  function row(k) {
    const n = k + 1, name = host.classes()[k], off = desk.hidden.has(n), chosen = n === desk.cls;
    const click = (e) => (e.detail === 2 ? rename(n, line) : host.choose(n)); // a double click renames
    const choose = h("button", { type: "button", role: "radio", class: "la-class", "aria-checked": String(chosen), "aria-label": name,
      title: name, onclick: click }, swatch(host.colour(n), n, String(n)), h("span", {}, name));
    const turn = () => { off ? desk.hidden.delete(n) : desk.hidden.add(n); host.refresh(); };
    const line = h("div", { class: "la-row", "data-off": off, "data-chosen": chosen }, choose,
      button("rename", `Rename ${name}`, () => rename(n, line)),
      button("remove", `Remove ${name} and its prompts`, () => host.remove(n)),
      button("eye", `${off ? "Show" : "Hide"} ${name}`, turn, { "aria-pressed": String(!off) }));
    return line;
  }
  function redraw() {
    if (renaming) return; // an answer of Python does not end the renaming
    search.hidden = host.classes().length <= FEW;
    const top = rows.scrollTop, shown = matches();
    rows.replaceChildren(...shown.map(row));
    rows.scrollTop = top;
    if (rows.dataset.chosen !== String(desk.cls)) // a new choice comes into sight
      rows.querySelector("[data-chosen]")?.scrollIntoView({ block: "nearest" });
    rows.dataset.chosen = desk.cls;
    rows.dataset.shown = `${shown.length} of ${host.classes().length}`;
  }
  const el = h("div", {}, search, rows, h("div", { class: "la-row la-fresh" }, fresh, button("add", "Add class", add)));
  return { el, redraw, find: () => (search.hidden ? rows.querySelector("button") : search).focus(), name: () => fresh.focus() };
}
