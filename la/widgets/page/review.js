// The loop over the photographs to segment: least sure first, next and previous, accept, correct,
// skip, and use as an example.

const STATES = { accepted: "✓", skipped: "–", corrected: "✎" };

class Review {
  constructor(model, host) { // host: state(), show(img), ask(what), pick(tool), refresh()
    Object.assign(this, { model, host });
    const text = (label, title, what) => h("button", { type: "button", title, onclick: what }, label);
    this.progress = h("span", { class: "la-progress", role: "status" });
    this.bar = h("div", { class: "la-review", role: "toolbar", "aria-label": "Review" },
      button("previous", "Previous photo (Page Up)", () => this.go(-1)), button("next", "Next photo (Page Down)", () => this.go(1)),
      text("Accept", "The masks are right; go to the next photo (Y)", () => this.mark("accepted")),
      text("Correct", "Make the prediction masks to edit (C)", () => this.correct()),
      text("Skip", "Leave this photo out for now (S)", () => this.mark("skipped")),
      text("Use as example", "Make the prediction an example for the other photos (U)", () => this.useAsExample()),
      text("Least sure first", "Segment all photos and sort them by how sure the model is (O)", () => this.rank()), this.progress);
  }

  get reviewed() { return this.model.get("reviewed") ?? {}; }

  get sure() { return this.model.get("sure") ?? {}; }

  isDone(i) { return ["accepted", "skipped"].includes(this.reviewed[this.host.state().images[i].id]); }

  // The numbers of the photographs to segment, as the strip lists them.
  order() {
    const { images } = this.host.state(), { sure } = this;
    const numbers = images.flatMap((image, i) => (image.role === "query" ? [i] : []));
    const rank = (i) => (this.isDone(i) ? 3 : 0) + (sure[images[i].id] ?? 2);
    return numbers.sort((a, b) => rank(a) - rank(b) || a - b);
  }

  go(by) {
    const order = this.order(), at = order.indexOf(this.host.state().query);
    const next = order[clamp(at + by, 0, order.length - 1)];
    if (next !== undefined) this.host.show(next);
  }

  set(state) {
    const { images, query } = this.host.state(), id = images[query]?.id;
    if (!id) return;
    this.model.set("reviewed", { ...this.reviewed, [id]: state });
    this.model.save_changes();
  }

  mark(state) { // and go to the first photograph that is still open after this one
    const { query } = this.host.state(), order = this.order(), at = order.indexOf(query);
    const open = [...order.slice(at + 1), ...order.slice(0, at)].filter((i) => i !== query && !this.isDone(i));
    this.set(state);
    if (open.length) this.host.show(open[0]);
    else this.host.refresh();
  }

  adopt() { this.host.ask({ do: "adopt", img: this.host.state().query }); }

  correct() {
    this.adopt();
    this.set("corrected");
    this.host.pick("brush");
  }

  useAsExample() {
    this.adopt();
    this.mark("accepted");
  }

  rank() { this.host.ask({ do: "rank" }); }

  // A thumbnail with what is known of its photograph.
  decorate(item, i) {
    const { id } = this.host.state().images[i], state = this.reviewed[id], sure = this.sure[id];
    const percent = sure === undefined ? "" : `${Math.round(100 * sure)} %`;
    const words = [state, percent && `${percent} sure`].filter(Boolean).join(", "), thumb = item.querySelector(".la-thumb");
    if (!words) return item;
    item.dataset.reviewed = state ?? "";
    thumb.setAttribute("aria-label", `${thumb.getAttribute("aria-label")}, ${words}`);
    thumb.append(h("b", { class: "la-badge" }, STATES[state] ?? percent));
    return item;
  }

  redraw() {
    const order = this.order(), done = order.filter((i) => this.isDone(i)).length;
    this.progress.textContent = order.length > 1 || done ? `${done} of ${order.length} reviewed` : "";
  }
}

const reviewActions = (review) => ({
  go: (pressed) => review.go(pressed === "pagedown" ? 1 : -1),
  accept: () => review.mark("accepted"),
  correct: () => review.correct(),
  skip: () => review.mark("skipped"),
  example: () => review.useAsExample(),
  rank: () => review.rank(),
});
