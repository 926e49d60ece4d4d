// Before and after: a slider between the uncached and the cached pictures of ReCache Compare. ComfyUI's own image-compare
// widget draws nothing in the classic renderer, and in Nodes 2.0 it leaves the picture below it no room to grow; this one
// is the same in both, and gets the same output (a_images and b_images).
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { html, mountWidget } from "./dom.js";
import { t } from "./i18n.js";

const HEIGHT = 320; // pixels
const STEP = 0.05; // of an arrow key

const url = (picture) => api.apiURL(`/view?${new URLSearchParams(picture)}${app.getRandParam()}`);

/** The slider of one node; `show` gets what the server says of a run. */
export class Comparison {
  constructor(node) {
    this.element = html("div", null, "recache recache-slider");
    this.element.setAttribute("role", "slider");
    this.element.setAttribute("aria-label", t("result.slider"));
    this.element.title = t("result.slider");
    this.after = html("img", this.element);
    this.before = html("img", this.element, "before");
    this.line = html("i", this.element);
    this.number = html("span", this.element);
    this.element.addEventListener("pointermove", (event) => {
      const { left, width } = this.element.getBoundingClientRect();
      this.cut((event.clientX - left) / width);
    });
    this.element.addEventListener("click", () => this.open(this.pair + 1));
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    [this.befores, this.afters, this.pair] = [[], [], 0];
    this.cut(0.5);
    mountWidget(node, "slider", this.element, 0);
  }

  show({ a_images: before = [], b_images: after = [] }) {
    if (!before.length) return;
    [this.befores, this.afters] = [before.map(url), after.map(url)];
    this.element.style.minHeight = `${HEIGHT}px`;
    this.element.setAttribute("tabindex", "0"); // now there is something to move
    this.open(0);
  }

  open(pair) {
    this.pair = pair % this.befores.length;
    this.before.src = this.befores[this.pair];
    this.after.src = this.afters[this.pair];
    this.number.textContent = this.befores.length > 1 ? `${this.pair + 1} / ${this.befores.length}` : "";
  }

  /** The uncached picture is seen left of this share of the width. */
  cut(share) {
    this.share = Math.min(1, Math.max(0, share));
    const percent = Math.round(100 * this.share);
    this.before.style.clipPath = `inset(0 ${100 - percent}% 0 0)`;
    this.line.style.left = `${percent}%`;
    this.element.setAttribute("aria-valuenow", percent);
  }

  onKey(event) {
    const moves = { ArrowLeft: () => this.cut(this.share - STEP), ArrowRight: () => this.cut(this.share + STEP),
                    Enter: () => this.open(this.pair + 1) };
    if (!moves[event.key]) return;
    event.preventDefault();
    event.stopPropagation(); // the canvas moves nodes with these keys
    moves[event.key]();
  }
}
