// Imports the widgets' JavaScript once in a page, because a browser never frees a module. The code
// is part of each widget's state, so that no answer of the kernel is needed to display a widget.

const PATIENCE = 10000; // ms until the code is imported again for a widget that still waits
const loaded = (globalThis.labelAnything ??= new Map()); // promises of modules, by their digest

async function imported(code) {
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const module = await import(url);
  URL.revokeObjectURL(url);
  return module;
}

async function shared(digest, code) {
  if (!loaded.has(digest)) loaded.set(digest, imported(code));
  const late = new Promise((_, reject) => setTimeout(reject, PATIENCE));
  try {
    return await Promise.race([loaded.get(digest), late]);
  } catch { // one import that fails or hangs must not stop every later widget of the page
    loaded.set(digest, imported(code));
    return loaded.get(digest);
  }
}

export default {
  async render({ model, el }) {
    const digest = model.get("digest"), code = model.get("code");
    if (!code) return undefined; // the widget was closed before its view was made
    const close = (await shared(digest, code)).default.render({ model, el });
    return () => {
      close();
      el.replaceChildren(); // JupyterLab keeps the element of a view that is closed
    };
  },
};
