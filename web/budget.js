// ReCache: the strip below the slider shows the plan before a run, and the run while it samples.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { mountWidget, trackNode } from "./dom.js";
import * as graph from "./graph.js";
import { language, ready, t } from "./i18n.js";
import { LatestRequest } from "./latest_request.js";
import { changesMidRun } from "./mid_run.js";
import { HEIGHT, Strip } from "./strip.js";
import { asList, beyondReach, expected, measured, planned, policy, sentence } from "./strip_words.js";

const SETTINGS = ["budget", "policy", "evaluations", "mechanism", "order", "cache_point"];
const POLLING = 150; // milliseconds: ComfyUI tells no extension when a widget or a link of another node changes
const MAX_LATER = 8; // samplers, as many as the server takes
const LEAST_BUDGET = 0.05;
const NO_SAMPLERS = { samplers: [], replaced: false };

const strips = new Map(); // node -> BudgetStrip, of all nodes that are in a graph

/** What all plans depend on has changed, such as which policies there are. */
export const invalidatePlans = () => strips.forEach((strip) => strip.request.invalidate());

class BudgetStrip {
  constructor(node) {
    this.node = node;
    this.strip = new Strip({
      onBudget: (budget) => this.setBudget(budget),
      onToggle: (i) => this.toggle(i),
      onSeconds: (seconds) => this.finishIn(seconds),
    });
    this.plan = null; // the server's last answer
    this.run = null; // the run that is sampling
    this.id = ""; // what the server calls the node
    this.inactive = "";
    this.found = NO_SAMPLERS;
    this.failed = false; // the graph could not be followed
    this.changing = false; // prompts or windows change in the middle of a run
    this.trained = false; // a policy is connected, and used whatever the widgets say
    this.wanted = null; // {seconds, budget}: the artist asked for a time, and the budget is still what it gave
    this.request = new LatestRequest("/recache/plan", (plan) => {
      this.plan = plan;
      if (plan?.run && !plan.run.over && !this.run) this.run = plan.run;
      this.draw();
    });
    const { getTitle } = node;
    node.getTitle = () => [getTitle.call(node), node.flags.collapsed ? this.speed() : ""].filter(Boolean).join(": ");
    this.moveBelowSlider(mountWidget(node, "schedule", this.strip.element, HEIGHT));
    for (const widget of node.widgets.filter(({ name }) => SETTINGS.includes(name))) {
      const { callback } = widget;
      widget.callback = (...values) => {
        const result = callback?.apply(widget, values);
        this.refresh();
        return result;
      };
    }
    this.draw();
  }

  /** The widget has no value, and older hosts would leave a gap for it among the saved ones. */
  moveBelowSlider(widget) {
    const { widgets, onSerialize } = this.node;
    const slider = widgets.findIndex(({ name }) => name === "budget");
    widgets.splice(widgets.indexOf(widget), 1);
    widgets.splice(slider + 1, 0, widget);
    this.node.onSerialize = function (saved) {
      onSerialize?.call(this, saved);
      if (saved.widgets_values) saved.widgets_values = Object.values(saved.widgets_values); // without the gap
    };
  }

  setBudget(budget) {
    graph.setValues(graph.placeOf(this.node), { budget });
  }

  /** Sets the largest budget with which the sampler is expected to finish in so many seconds. */
  finishIn(seconds) {
    const share = Math.floor((100 * seconds) / this.plan.seconds_uncached + 1e-9) / 100;
    const budget = Math.min(1, Math.max(LEAST_BUDGET, share));
    this.wanted = { seconds, budget };
    this.setBudget(budget);
    this.draw();
  }

  /** Computes evaluation `i` if it would be forecast, and the other way round; the plan becomes the artist's list. */
  toggle(i) {
    const computed = this.plan.computed.filter((other) => other !== i);
    if (computed.length === this.plan.computed.length) computed.push(i);
    computed.sort((a, b) => a - b);
    graph.setValues(graph.placeOf(this.node), { evaluations: asList(computed), policy: "list" });
    this.request.invalidate(); // what was asked between the two
    this.plan = { ...this.plan, computed, run: null, quality: null };
    this.draw();
    this.refresh();
  }

  /** Whether the artist can change the plan by these inputs, as things are. */
  canSet(...names) {
    if (!this.plan?.n || this.plan.refusal || this.run || this.inactive || this.found.replaced) return false;
    const place = graph.placeOf(this.node);
    return place !== null && graph.areSettable(place, names);
  }

  /** Asks the server for a plan if anything that it depends on has changed; never throws. */
  refresh() {
    try {
      this.requestPlan();
    } catch (error) {
      if (this.failed) return;
      console.debug("ReCache: the graph could not be followed.", error);
      [this.failed, this.plan, this.found] = [true, null, NO_SAMPLERS];
      this.request.invalidate();
      this.draw();
    }
  }

  requestPlan() {
    const place = graph.placeOf(this.node);
    if (!place) return;
    const id = graph.executionId(place);
    if (id !== this.id) [this.id, this.run] = [id, null]; // another instance of the subgraph was opened
    const state = graph.inactive(place);
    const found = { samplers: [], replaced: false };
    const models = this.node.outputs.flatMap(({ type }, slot) => (type === "MODEL" ? [slot] : []));
    models.forEach((slot) => graph.samplersAfter(place, slot, found));
    const sharing = models.length > 1 ? 1 + MAX_LATER : 1; // samplers of two models share the budget
    const [first, ...later] = graph.treesOf(found.samplers.slice(0, sharing));
    const question = {
      workflow: graph.workflowId(),
      language: language(),
      node: id,
      settings: Object.fromEntries(SETTINGS.map((name) => [name, graph.valueOf(place, name)])),
      trained: this.trained = graph.isFed(place, "trained"),
      sampler: first ?? null,
      later,
    };
    if (this.wanted && Math.abs(this.wanted.budget - question.settings.budget) > 1e-6) this.wanted = null;
    const shown = () => [this.inactive, this.found.samplers.length, this.found.replaced, this.failed, this.changing];
    const before = shown();
    [this.inactive, this.found, this.failed] = [state, found, false];
    this.changing = found.samplers.some((sampler) => changesMidRun(sampler));
    if (shown().some((value, i) => value !== before[i])) this.draw();
    this.request.post(question);
  }

  /** An event of the server: one evaluation was made, or the run is over. */
  onRunEvent({ node, index, computed, before, planned, n, run }) {
    if (node !== this.id) return; // of another instance of the subgraph
    if (run) {
      this.run = null;
      this.request.invalidate();
      this.plan = { ...this.plan, run };
    } else {
      if (before || !this.run)
        this.run = { n: this.plan?.n ?? 0, planned: null, computed: before ?? [], evaluations: 0 };
      if (planned !== undefined) [this.run.planned, this.run.n] = [planned, n || this.run.n];
      this.run.evaluations = index + 1;
      if (computed) this.run.computed.push(index);
    }
    this.draw();
  }

  draw() {
    const dim = Boolean(this.inactive) || this.found.replaced;
    const listed = this.plan?.policy?.kind === "list";
    const edits = !this.trained && this.canSet("policy", "evaluations");
    const settable = this.canSet("budget");
    const times = settable && !listed && Boolean(this.plan.seconds_uncached);
    const presets = settable ? this.plan.presets : {};
    this.strip.show({ cells: this.cells(), ...this.words(), presets, dim, listed, edits, times });
  }

  /** The speed-up in short, for the title of a collapsed node: measured if it is known. */
  speed() {
    const speedup = this.plan?.run?.speedup ?? this.plan?.speedup;
    return speedup && !this.inactive && !this.found.replaced ? `${speedup.toFixed(1)}x` : "";
  }

  cells() {
    const run = this.run ?? this.plan?.run;
    const planned = new Set(this.run ? (run.planned ?? []) : (this.plan?.computed ?? run?.planned ?? []));
    const n = Math.max(this.run ? run.n : (this.plan?.n ?? run?.n ?? 0), this.run?.evaluations ?? 0);
    const computed = new Set(run?.computed ?? []);
    return Array.from({ length: n }, (_, i) => {
      if (i < (run?.evaluations ?? 0)) return computed.has(i) ? "was-computed" : "was-forecast";
      return planned.has(i) || (this.run && !run.planned) ? "computed" : "forecast";
    });
  }

  words() {
    if (this.failed) return { head: t("strip.cannot_tell") };
    if (this.inactive) return { head: t(`strip.${this.inactive}`) };
    if (this.found.replaced) return { head: t("strip.replaced") };
    const { plan } = this;
    const between = plan?.run?.finished && plan.run.evaluations < plan.n; // two samplers: the next is being loaded
    const run = this.run ?? (between ? { ...plan.run, n: plan.n } : null);
    if (run) {
      const head = t("strip.running", { i: run.evaluations, n: run.n, k: run.computed.length });
      return { head, quality: plan?.quality, notes: this.notes() };
    }
    if (!plan) return { head: t("strip.waiting") };
    const result = beyondReach(plan, this.wanted) || (plan.run && measured(plan.run)) || expected(plan);
    if (plan.refusal) return { head: t("strip.uncached"), result, notes: sentence(plan.refusal) };
    if (!plan.n && this.found.samplers.length) return { head: t("strip.unknown"), result };
    if (!plan.n) return { head: t("strip.unconnected"), result, notes: t("strip.unconnected_where") };
    return { head: planned(plan), quality: plan.quality, result, notes: this.notes() };
  }

  notes() {
    const { plan } = this;
    const after = plan?.run?.notes ?? [];
    if (after.length) return after.map(sentence).join(" ");
    const said = plan?.remark ? [sentence(plan.remark)] : []; // first: a long line is cut at its end
    if (plan?.missing) said.push(sentence(plan.missing));
    else if (plan?.policy) said.push(policy(plan.policy));
    said.push(...(plan?.provisional ?? []).map((what) => t(`strip.provisional_${what}`)));
    if (this.changing) said.push(t("strip.provisional_changing"));
    if (plan?.parts?.length > 1) said.push(t("strip.parts", { parts: plan.parts.join(" + ") }));
    else if (this.found.samplers.length > 1) said.push(t("strip.several", { count: this.found.samplers.length }));
    return said.join(" ");
  }
}

// Before `setup`: the page warns of events that come while no extension listens, as after a reload during a run.
api.addEventListener("recache.run", ({ detail }) => {
  if (!strips.size || detail.workflow !== graph.workflowId()) return;
  strips.get(graph.nodeAt(detail.node))?.onRunEvent(detail);
});

// ReCache Frontier has run: its knee is a preset from now on.
api.addEventListener("executed", ({ detail }) => {
  if (detail.output?.recache_knee) invalidatePlans();
});

// The server may have ended in the middle of a run; of one that goes on, the plan says so.
api.addEventListener("reconnected", () => {
  strips.forEach((strip) => (strip.run = null));
  invalidatePlans();
});

app.registerExtension({
  name: "recache.budget",

  init: () => ready,

  setup() {
    graph.followOpenedSubgraphs();
    setInterval(() => {
      if (!document.hidden) strips.forEach((strip) => strip.refresh());
    }, POLLING);
  },

  refreshComboInNodes: invalidatePlans, // the lists of policies are new

  nodeCreated(node) {
    if (graph.BUDGETS.includes(node.comfyClass)) trackNode(strips, node, new BudgetStrip(node));
  },
});
