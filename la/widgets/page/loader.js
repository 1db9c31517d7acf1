// Imports the widgets' JavaScript once in a page, because a browser never frees a module. The code
// is part of each widget's state, so that no answer of the kernel is needed to display a widget.

const PATIENCE = 10000; // ms until the code is imported again for a widget that still waits
const ANSWER = 5000; // ms that a widget waits for its state, which no kernel may be there to send
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

// anywidget 0.11 drops every message from Python to a widget whose module took more than 2 s to
// load, and goes on doing so. Such a widget listens again here and asks Python for its state.
async function hearing(model) {
  const itself = await model.widget_manager.get_model(model.get("address"));
  try {
    await itself._handle_comm_msg({ content: { data: {} } }); // nothing but anywidget's own wait
  } catch {
    const handle = Object.getPrototypeOf(itself.constructor.prototype)._handle_comm_msg;
    const answered = new Promise((resolve) => itself.comm.on_msg(async (message) => {
      await handle.call(itself, message);
      if (message.content.data.state?.address) resolve(); // the whole state
    }));
    itself.comm.send({ method: "request_state" });
    await Promise.race([answered, new Promise((resolve) => setTimeout(resolve, ANSWER))]);
  }
}

export default {
  async render({ model, el }) {
    const digest = model.get("digest"), code = model.get("code");
    if (!code) return undefined; // the widget was closed before its view was made
    await hearing(model);
    const close = (await shared(digest, code)).default.render({ model, el });
    return () => {
      close();
      el.replaceChildren(); // JupyterLab keeps the element of a view that is closed
    };
  },
};
