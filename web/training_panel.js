// A training as the artist sees it: the learning curve, the best of every budget, what it does, and a button to end it.
import { html, svg } from "./dom.js";
import { t } from "./i18n.js";

const WIDTH = 300; // of the drawing, which is stretched to the panel
const DEPTH = 100;
const TOPS = [0.1, 0.25, 0.5, 1]; // gains that the drawing's upper edge may stand for
export const HEIGHT = 214;

const percent = (share) => Math.round(100 * share);
const bounded = (share) => Math.min(1, Math.max(0, share));
const count = (number) => number.toLocaleString();
const duration = (seconds) =>
  seconds >= 90 ? t("train.minutes", { n: Math.round(seconds / 60) }) : t("train.seconds", { n: Math.round(seconds) });

/** A panel's element; `show` draws the server's state of a training; `stop(state)` is called when the button is pressed. */
export class TrainingPanel {
  constructor(stop) {
    this.element = html("section", null, "recache recache-training");
    this.element.setAttribute("aria-label", t("train.panel"));
    const top = html("div", this.element, "top");
    this.gain = html("span", top, "gain");
    this.left = html("span", top, "left");
    const plot = html("div", this.element, "plot");
    this.svg = svg("svg", plot);
    this.svg.setAttribute("role", "img");
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${DEPTH}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    const lines = [0.25, 0.5, 0.75].map((share) => `M0 ${DEPTH * share}H${WIDTH}`).join("");
    svg("path", this.svg, "grid").setAttribute("d", lines);
    this.area = svg("path", this.svg, "area");
    this.curve = svg("path", this.svg, "curve");
    this.scale = html("span", plot, "scale");
    this.scale.setAttribute("aria-hidden", "true"); // the drawing's own label says more
    this.budgets = html("ul", this.element);
    this.doing = html("div", this.element, "doing");
    this.button = html("button", this.element);
    this.button.type = "button";
    this.button.addEventListener("click", () => {
      this.button.disabled = true; // until the server tells more
      stop(this.state);
    });
    this.spoken = html("div", this.element, "spoken");
    this.spoken.setAttribute("role", "status");
    this.show(null);
  }

  /** Draws a State of nodes/server/training_state.py; null where no training of this node is known. */
  show(state) {
    this.state = state;
    const running = state?.state === "running";
    const learned = Boolean(state?.budgets.length);
    const gained = learned ? { percent: percent(state.gain), ...spending(state) } : null;
    this.gain.textContent = gained ? t("train.gain", gained) : "";
    this.left.textContent = state?.seconds_left != null ? t("train.left", { time: duration(state.seconds_left) }) : "";
    this.svg.setAttribute("aria-label", gained ? t("train.curve", gained) : t("train.no_curve"));
    this.draw(learned ? state : null);
    this.list(state?.budgets ?? []);
    const phase = !state ? t("train.idle") : running ? doing(state) : (state.summary || t(`train.${state.state}`));
    this.doing.textContent = running && learned ? `${phase}; ${t("train.spent", gained)}` : phase;
    this.doing.title = this.doing.textContent;
    this.button.textContent = t(running && state.stopping ? "train.stopping" : "train.stop");
    this.button.disabled = !running || state.stopping;
    if (this.spoken.textContent !== phase) this.spoken.textContent = state ? phase : ""; // not with every evaluation
  }

  /** The gain over network evaluations: up to now while it runs, the whole once it is over. */
  draw(state) {
    const top = TOPS.find((share) => share >= (state?.gain ?? 1)) ?? 1;
    this.scale.textContent = `${percent(top)}%`;
    if (!state) {
      this.curve.setAttribute("d", "");
      this.area.setAttribute("d", "");
      return;
    }
    const x = (spent) => ((WIDTH * spent) / Math.max(1, state.evaluations)).toFixed(1);
    const y = (gain) => (DEPTH * (1 - bounded(gain / top))).toFixed(1);
    const steps = state.curve.map(([spent, gain]) => `H${x(spent)}V${y(gain)}`).join("");
    this.curve.setAttribute("d", `M0 ${DEPTH}${steps}H${WIDTH}`);
    this.area.setAttribute("d", `M0 ${DEPTH}${steps}H${WIDTH}V${DEPTH}Z`);
  }

  /** The best of every budget against the default schedule. */
  list(budgets) {
    while (this.budgets.children.length > budgets.length) this.budgets.lastChild.remove();
    budgets.forEach(([k, n, gain], i) => {
      const row = this.budgets.children[i] ?? this.addRow();
      const [name, bar, value] = row.children;
      name.textContent = t("train.budget", { k, n });
      bar.firstChild.style.width = `${100 * bounded(gain)}%`;
      value.textContent = `${percent(gain)}%`;
      row.title = t("train.budget_gain", { k, n, percent: percent(gain) });
      row.setAttribute("aria-label", row.title);
    });
  }

  addRow() {
    const row = html("li", this.budgets);
    html("span", row);
    html("i", html("span", row, "bar"));
    html("span", row);
    return row;
  }
}

const spending = ({ evaluations, limit }) => ({ spent: count(evaluations), limit: count(limit) });

function doing({ phase, part, parts }) {
  return t(`train.phases.${phase || "beginning"}`, { part, parts });
}
