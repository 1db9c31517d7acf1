// Loads the widgets' JavaScript and style once in a page. A browser never lets a module go, and
// JupyterLab keeps the state and the views of closed widgets, so neither may hold much.

function fromPython(model) {
  return new Promise((resolve) => {
    const take = async (content, [module, style]) => {
      if (content.do !== "module") return;
      model.off("msg:custom", take);
      const sheet = document.createElement("style");
      sheet.textContent = await new Blob([style]).text();
      document.head.append(sheet);
      const url = URL.createObjectURL(new Blob([module], { type: "text/javascript" }));
      resolve(await import(url));
      URL.revokeObjectURL(url);
    };
    model.on("msg:custom", take);
    model.send({ do: "module" });
  });
}

export default {
  async render(context) {
    const { model, el } = context, version = model.get("module");
    const loaded = (globalThis.labelAnything ??= new Map()); // by version
    if (!loaded.has(version)) loaded.set(version, await fromPython(model));
    const close = loaded.get(version).default.render(context);
    return () => {
      close();
      el.replaceChildren();
    };
  },
};
