// The schedule of a run as a strip of cells, one an evaluation, with what is to be said of it below.
import { t } from "./i18n.js";

const SVG = "http://www.w3.org/2000/svg";
const KINDS = ["forecast", "computed", "was-forecast", "was-computed"];
export const HEIGHT = 84;

const sheet = document.createElement("link");
sheet.rel = "stylesheet";
sheet.href = new URL("./strip.css", import.meta.url).href;
document.head.append(sheet);

const made = (tag, parent, className = "") => {
  const element = document.createElement(tag);
  element.className = className;
  parent.append(element);
  return element;
};

/** A strip's element; `show` draws a state of it. */
export class Strip {
  constructor() {
    this.element = document.createElement("div");
    this.element.className = "recache-strip";
    this.element.style.minHeight = `${HEIGHT}px`;
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("role", "img");
    this.svg.setAttribute("tabindex", "0");
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.paths = Object.fromEntries(KINDS.map((kind) => {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", kind);
      this.svg.append(path);
      return [kind, path];
    }));
    this.element.append(this.svg);
    this.head = made("div", this.element, "head");
    this.result = made("div", this.element, "result");
    this.notes = made("div", this.element, "notes");
    this.cells = [];
    this.looked = -1;
    this.svg.addEventListener("pointermove", (event) => this.look(this.cellUnder(event)));
    this.svg.addEventListener("pointerleave", () => this.look(-1));
    this.svg.addEventListener("blur", () => this.look(-1));
    this.svg.addEventListener("keydown", (event) => this.onKey(event));
  }

  /**
   * @param {Object} state
   * @param {string[]} state.cells - of every evaluation, one of "forecast" and "computed", with "was-" once it was made
   * @param {string} state.head, state.result, state.notes - lines of text
   * @param {boolean} state.dim - nothing of it is in force
   */
  show({ cells, head, result = "", notes = "", dim = false }) {
    this.cells = cells;
    this.headline = head;
    this.svg.style.display = cells.length ? "" : "none";
    this.svg.setAttribute("viewBox", `0 0 ${Math.max(1, cells.length)} 1`);
    for (const kind of KINDS) {
      // gaps between cells, as long as there is room for them
      const width = cells.length > 100 ? 1 : 0.84;
      const drawn = cells.map((cell, i) => (cell === kind ? `M${i} 0h${width}v1h-${width}z` : "")).join("");
      this.paths[kind].setAttribute("d", drawn);
    }
    this.element.classList.toggle("dim", dim);
    this.element.classList.toggle("running", cells.some((cell) => cell.startsWith("was-")));
    this.result.textContent = result;
    this.notes.textContent = this.notes.title = notes;
    this.svg.setAttribute("aria-label", [head, result, notes, this.spoken()].filter(Boolean).join("; "));
    this.look(this.looked < cells.length ? this.looked : -1);
  }

  /** Which evaluations are computed, for a screen reader. */
  spoken() {
    const computed = this.cells.flatMap((cell, i) => (cell.endsWith("computed") ? [i] : []));
    return computed.length ? t("strip.computed_are", { list: computed.join(", ") }) : "";
  }

  /** Tell of one evaluation in place of the headline; -1 of none. */
  look(i) {
    this.looked = i;
    const cell = this.cells[i];
    this.head.textContent = cell
      ? t(`strip.cell_${cell.replace("-", "_")}`, { i, n: this.cells.length })
      : this.headline;
  }

  cellUnder(event) {
    const { left, width } = this.svg.getBoundingClientRect();
    return Math.min(this.cells.length - 1, Math.max(0, Math.floor(((event.clientX - left) / width) * this.cells.length)));
  }

  onKey(event) {
    const last = this.cells.length - 1;
    const to = { ArrowRight: this.looked + 1, ArrowLeft: this.looked - 1, Home: 0, End: last, Escape: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation(); // the canvas moves nodes with these keys
    this.look(Math.min(last, Math.max(event.key === "Escape" ? -1 : 0, to)));
  }
}
