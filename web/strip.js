// The schedule of a run as a strip of cells, one for each evaluation, with words below it.
import { html, svg } from "./dom.js";
import { t } from "./i18n.js";
import { TimeLine } from "./time_line.js";

const KINDS = ["forecast", "computed", "was-forecast", "was-computed"];
const QUALITIES = ["broken", "another", "details", "same"]; // the bar is as full as the place here
const PRESETS = ["draft", "fast", "balanced", "safe", "knee"]; // the last: of ReCache Frontier, where it has found one
export const HEIGHT = 134;

/**
 * A strip's element; `show` draws it. `onBudget` gets the budget of a preset that is pressed, `onToggle` the number of a
 * cell, and `onSeconds` the time in which the artist wants a run to finish.
 */
export class Strip {
  constructor({ onBudget, onToggle, onSeconds }) {
    this.element = html("div", null, "recache recache-strip");
    const presets = html("div", this.element, "presets");
    this.presets = PRESETS.map((name) => this.addPreset(presets, name, onBudget));
    this.svg = svg("svg", this.element);
    this.svg.setAttribute("role", "group");
    this.svg.setAttribute("tabindex", "0");
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.paths = Object.fromEntries(KINDS.map((kind) => [kind, svg("path", this.svg, kind)]));
    this.tooltip = svg("title", this.svg);
    this.head = html("div", this.element, "head");
    this.head.setAttribute("aria-live", "off"); // "polite" while the arrow keys go from cell to cell
    this.quality = html("div", this.element, "quality");
    this.bar = QUALITIES.map(() => html("i", this.quality));
    this.word = html("span", this.quality);
    const line = html("div", this.element, "line");
    this.time = new TimeLine(line, onSeconds);
    this.legend = html("div", line, "legend"); // hidden where it has no room beside the result
    this.legend.setAttribute("aria-hidden", "true"); // the strip's own label says which are computed
    this.legendWords = ["computed", "forecast"].map((kind) => {
      html("i", this.legend, kind);
      return [kind, html("span", this.legend)];
    });
    this.notes = html("div", this.element, "notes");
    this.cells = [];
    this.highlighted = -1;
    this.edits = false;
    this.onToggle = onToggle;
    this.svg.addEventListener("click", (event) => this.toggle(this.cellUnder(event)));
    this.svg.addEventListener("pointermove", (event) => this.highlight(this.cellUnder(event)));
    this.svg.addEventListener("pointerleave", () => this.highlight(-1));
    this.svg.addEventListener("blur", () => {
      this.head.setAttribute("aria-live", "off");
      this.highlight(-1);
    });
    this.svg.addEventListener("keydown", (event) => this.onKey(event));
  }

  /**
   * Draws cells (each one of KINDS), a headline, how close to the uncached picture (one of QUALITIES), what was
   * measured, and notes. `presets`: {one of PRESETS: budget}; `listed`: the artist wrote the list; `edits`: cells can be
   * toggled; `times`: a time can be asked for.
   */
  show({ cells = [], head, presets = {}, quality = null, result = "", notes = "", dim = false, listed = false,
         edits = false, times = false }) {
    [this.cells, this.headline, this.listed, this.edits] = [cells, head, listed, edits];
    this.svg.style.display = this.legend.style.display = cells.length ? "" : "none";
    this.svg.setAttribute("viewBox", `0 0 ${Math.max(1, cells.length)} 1`);
    const width = cells.length > 100 ? 1 : 0.84; // gaps between cells where there is room
    for (const kind of KINDS) {
      const drawn = cells.map((cell, i) => (cell === kind ? `M${i} 0h${width}v1h-${width}z` : "")).join("");
      this.paths[kind].setAttribute("d", drawn);
    }
    this.element.classList.toggle("dim", dim);
    this.legendWords.forEach(([kind, word]) => (word.textContent = t(`strip.legend_${kind}`)));
    this.showPresets(presets);
    this.showQuality(quality);
    this.svg.classList.toggle("edits", edits);
    this.time.show(result, times);
    this.notes.textContent = this.notes.title = notes;
    const spoken = [head, this.word.textContent, result, notes, this.spoken()];
    this.svg.setAttribute("aria-label", spoken.filter(Boolean).join("; "));
    this.highlight(this.highlighted < cells.length ? this.highlighted : -1);
  }

  /** A button that sets the budget. */
  addPreset(row, name, onBudget) {
    const button = html("button", row);
    button.type = "button";
    button.addEventListener("click", () => onBudget(button.budget));
    return button;
  }

  showPresets(presets) {
    PRESETS.forEach((name, i) => {
      const button = this.presets[i];
      button.textContent = t(`strip.preset_${name}`);
      button.budget = presets[name];
      button.disabled = button.budget === undefined;
      button.hidden = name === "knee" && button.disabled;
      button.title = button.disabled ? "" : t("strip.preset_title", { name: button.textContent, budget: button.budget });
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
    this.tooltip.textContent = this.edits && cell ? t(i ? "strip.cell_toggle" : "strip.cell_first") : "";
  }

  toggle(i) {
    if (this.edits && i > 0) this.onToggle(i);
  }

  cellUnder(event) {
    const { left, width } = this.svg.getBoundingClientRect();
    return Math.min(this.cells.length - 1, Math.max(0, Math.floor(((event.clientX - left) / width) * this.cells.length)));
  }

  onKey(event) {
    const last = this.cells.length - 1;
    const to = { ArrowRight: this.highlighted + 1, ArrowLeft: this.highlighted - 1, Home: 0, End: last, Escape: -1 }[event.key];
    const presses = [" ", "Enter"].includes(event.key);
    if (to === undefined && !presses) return;
    event.preventDefault();
    event.stopPropagation(); // the canvas moves nodes with the arrows
    this.head.setAttribute("aria-live", "polite");
    if (presses) this.toggle(this.highlighted);
    else this.highlight(Math.min(last, Math.max(event.key === "Escape" ? -1 : 0, to)));
  }
}
