// The schedule of a run as a strip of cells, one for each evaluation, with words below it.
import { html, svg } from "./dom.js";
import { t } from "./i18n.js";

const KINDS = ["forecast", "computed", "was-forecast", "was-computed"];
const QUALITIES = ["broken", "another", "details", "same"]; // the bar is as full as the place here
const PRESETS = ["draft", "fast", "balanced", "safe", "knee"]; // the last: of ReCache Frontier, where it has found one
export const HEIGHT = 120;

/** A strip's element; `show` draws it, and `onBudget` gets the budget of a preset that is pressed. */
export class Strip {
  constructor(onBudget) {
    this.element = html("div", null, "recache recache-strip");
    const presets = html("div", this.element, "presets");
    this.presets = PRESETS.map((name) => this.addPreset(presets, name, onBudget));
    this.svg = svg("svg", this.element);
    this.svg.setAttribute("role", "img");
    this.svg.setAttribute("tabindex", "0");
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.paths = Object.fromEntries(KINDS.map((kind) => [kind, svg("path", this.svg, kind)]));
    this.head = html("div", this.element, "head");
    this.quality = html("div", this.element, "quality");
    this.bar = QUALITIES.map(() => html("i", this.quality));
    this.word = html("span", this.quality);
    const line = html("div", this.element, "line");
    this.result = html("div", line, "result");
    this.legend = html("div", line, "legend"); // hidden where it has no room beside the result
    this.legend.setAttribute("aria-hidden", "true"); // the strip's own label says which are computed
    for (const kind of ["computed", "forecast"]) {
      html("i", this.legend, kind);
      html("span", this.legend).textContent = t(`strip.legend_${kind}`);
    }
    this.notes = html("div", this.element, "notes");
    this.cells = [];
    this.highlighted = -1;
    this.svg.addEventListener("pointermove", (event) => this.highlight(this.cellUnder(event)));
    this.svg.addEventListener("pointerleave", () => this.highlight(-1));
    this.svg.addEventListener("blur", () => this.highlight(-1));
    this.svg.addEventListener("keydown", (event) => this.onKey(event));
  }

  /**
   * Draws cells (each one of KINDS), a headline, how close to the uncached picture (one of QUALITIES), what was
   * measured, and notes. `presets`: {one of PRESETS: budget}; `listed`: the artist wrote the list.
   */
  show({ cells = [], head, presets = {}, quality = null, result = "", notes = "", dim = false, listed = false }) {
    [this.cells, this.headline, this.listed] = [cells, head, listed];
    this.svg.style.display = this.legend.style.display = cells.length ? "" : "none";
    this.svg.setAttribute("viewBox", `0 0 ${Math.max(1, cells.length)} 1`);
    const width = cells.length > 100 ? 1 : 0.84; // gaps between cells where there is room
    for (const kind of KINDS) {
      const drawn = cells.map((cell, i) => (cell === kind ? `M${i} 0h${width}v1h-${width}z` : "")).join("");
      this.paths[kind].setAttribute("d", drawn);
    }
    this.element.classList.toggle("dim", dim);
    this.showPresets(presets);
    this.showQuality(quality);
    this.result.textContent = result;
    this.notes.textContent = this.notes.title = notes;
    const spoken = [head, this.word.textContent, result, notes, this.spoken()];
    this.svg.setAttribute("aria-label", spoken.filter(Boolean).join("; "));
    this.highlight(this.highlighted < cells.length ? this.highlighted : -1);
  }

  /** A button that sets the budget. */
  addPreset(row, name, onBudget) {
    const button = html("button", row);
    button.type = "button";
    button.textContent = t(`strip.preset_${name}`);
    button.addEventListener("click", () => onBudget(button.budget));
    return button;
  }

  showPresets(presets) {
    PRESETS.forEach((name, i) => {
      const button = this.presets[i];
      button.budget = presets[name];
      button.disabled = button.budget === undefined;
      button.hidden = name === "knee" && button.disabled;
      button.title = button.disabled ? "" : t("strip.preset_title", { name: t(`strip.preset_${name}`), budget: button.budget });
    });
  }

  showQuality(quality) {
    const full = QUALITIES.indexOf(quality) + 1;
    this.quality.setAttribute("class", `quality ${quality ?? "unknown"}`);
    this.bar.forEach((part, i) => part.classList.toggle("full", i < full));
    this.word.textContent = quality ? t(`strip.quality_${quality}`) : "";
  }

  /** Which evaluations are computed, for a screen reader; counted from 1. */
  spoken() {
    const computed = this.cells.flatMap((cell, i) => (cell.endsWith("computed") ? [i + 1] : []));
    return computed.length ? t("strip.computed_are", { list: computed.join(", ") }) : "";
  }

  /** Describes cell `i` in place of the headline; -1 brings the headline back. */
  highlight(i) {
    this.highlighted = i;
    const cell = this.cells[i];
    const words = cell ? t(`strip.cell_${cell.replace("-", "_")}`, { i: i + 1, n: this.cells.length }) : this.headline;
    // the input counts from 0
    this.head.textContent = cell && this.listed ? `${words} ${t("strip.in_list", { index: i })}` : words;
    this.head.title = this.head.textContent;
  }

  cellUnder(event) {
    const { left, width } = this.svg.getBoundingClientRect();
    return Math.min(this.cells.length - 1, Math.max(0, Math.floor(((event.clientX - left) / width) * this.cells.length)));
  }

  onKey(event) {
    const last = this.cells.length - 1;
    const to = { ArrowRight: this.highlighted + 1, ArrowLeft: this.highlighted - 1, Home: 0, End: last, Escape: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation(); // the canvas moves nodes with these keys
    this.highlight(Math.min(last, Math.max(event.key === "Escape" ? -1 : 0, to)));
  }
}
