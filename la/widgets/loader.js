// Imports the widgets' JavaScript once in a page, because a browser never frees a module. The code
// is part of each widget's state, so that no answer of the kernel is needed to display a widget.

const loaded = (globalThis.labelAnything ??= new Map()); // promises of modules, by their digest

async function imported(code) {
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const module = await import(url);
  URL.revokeObjectURL(url);
  return module;
}

export default {
  async render({ model, el }) {
    const digest = model.get("digest"), code = model.get("code");
    if (!loaded.has(digest)) {
      if (!code) return undefined; // the widget was closed before its view was made
      loaded.set(digest, imported(code));
    }
    const close = (await loaded.get(digest)).default.render({ model, el });
    return () => {
      close();
      el.replaceChildren(); // JupyterLab keeps the element of a view that is closed
    };
  },
};
