// The chooser of models: what each is, where it comes from, and what it costs to get.
function modelChooser(model, ask) {
  const list = h("div", { class: "la-model-list", role: "group", "aria-label": "Models" });
  const field = h("input", { type: "text", placeholder: "A file, a folder, or an id on the hub", "aria-label": "Another model",
    onkeydown: (e) => e.key === "Enter" && field.value.trim() && choose(field.value.trim()) });
  const panel = h("details", { class: "la-models" }, h("summary", { tabindex: 0 }, "Model"), list, field);
  function choose(name) {
    panel.open = false;
    ask({ do: "model", name });
  }
  function redraw() {
    const used = model.get("about").split(" · ")[0];
    list.replaceChildren(...model.get("models").map(({ name, megabytes, licence, trained_on, here, seconds }) =>
      h("button", { type: "button", "aria-pressed": String(name === used), onclick: () => choose(name) }, h("span", {},
        h("b", {}, name), h("small", {}, `${here ? "on this machine" : `${megabytes} MB to download`}; ${licence}`), h("small", {}, `trained on ${trained_on}`), h("small", {}, seconds === null ? "" : `${seconds} s an image on this machine`)))));
  }
  redraw();
  return { el: panel, redraw };
}
