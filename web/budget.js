// ReCache Budget: the strip below the slider shows the plan before a run, and the run while it samples.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { mountWidget, trackNode } from "./dom.js";
import * as graph from "./graph.js";
import { language, ready, reason, t } from "./i18n.js";
import { LatestRequest } from "./latest_request.js";
import { HEIGHT, Strip } from "./strip.js";

const SETTINGS = ["budget", "policy", "evaluations", "mechanism", "order", "cache_point"];
const POLLING = 150; // milliseconds: ComfyUI tells no extension when a widget or a link of another node changes
const NO_SAMPLERS = { samplers: [], replaced: false };

const strips = new Map(); // node -> BudgetStrip, of all nodes that are in a graph

class BudgetStrip {
  constructor(node) {
    this.node = node;
    this.strip = new Strip((budget) => this.setBudget(budget));
    this.plan = null; // the server's last answer
    this.run = null; // the run that is sampling
    this.id = ""; // what the server calls the node
    this.inactive = "";
    this.found = NO_SAMPLERS;
    this.failed = false; // the graph could not be followed
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
    const widget = this.node.widgets.find(({ name }) => name === "budget");
    widget.value = budget;
    widget.callback?.(budget);
    this.node.graph?.setDirtyCanvas(true);
  }

  /** Asks the server for a plan if anything that it depends on has changed; never throws. */
  refresh() {
    try {
      this.requestPlan();
    } catch (error) {
      if (this.failed) return;
      console.debug("ReCache Budget: the graph could not be followed.", error);
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
    const found = graph.samplersAfter(place, this.node.outputs.findIndex(({ type }) => type === "MODEL"));
    const question = {
      workflow: graph.workflowId(),
      language: language(),
      node: id,
      settings: Object.fromEntries(SETTINGS.map((name) => [name, graph.valueOf(place, name)])),
      trained: graph.isFed(place, "trained"),
      sampler: found.samplers.length ? graph.treeOf(found.samplers[0]) : null,
    };
    const before = [this.inactive, this.found.samplers.length, this.found.replaced, this.failed];
    [this.inactive, this.found, this.failed] = [state, found, false];
    if ([state, found.samplers.length, found.replaced, false].some((value, i) => value !== before[i])) this.draw();
    this.request.post(question);
  }

  /** An event of the server: one evaluation was made, or the run is over. */
  onRunEvent({ node, index, computed, planned, n, run }) {
    if (node !== this.id) return; // of another instance of the subgraph
    if (run) {
      this.run = null;
      this.request.invalidate();
      this.plan = { ...this.plan, run };
    } else {
      if (index === 0 || !this.run) this.run = { n: this.plan?.n ?? 0, planned: null, computed: [], evaluations: 0 };
      if (planned !== undefined) [this.run.planned, this.run.n] = [planned, n || this.run.n];
      this.run.evaluations = index + 1;
      if (computed) this.run.computed.push(index);
    }
    this.draw();
  }

  draw() {
    const dim = Boolean(this.inactive) || this.found.replaced;
    this.strip.show({ cells: this.cells(), ...this.words(), dim, listed: this.plan?.policy?.kind === "list" });
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
    const { plan, run } = this;
    if (run) {
      const head = t("strip.running", { i: run.evaluations, n: run.n, k: run.computed.length });
      return { head, quality: plan?.quality, notes: this.notes() };
    }
    if (!plan) return { head: t("strip.waiting") };
    const result = plan.run ? measured(plan.run) : expected(plan);
    if (plan.refusal) return { head: t("strip.uncached"), result, notes: sentence(plan.refusal) };
    if (!plan.n) return { head: t(this.found.samplers.length ? "strip.unknown" : "strip.unconnected"), result };
    return { head: planned(plan), presets: plan.presets, quality: plan.quality, result, notes: this.notes() };
  }

  notes() {
    const { plan } = this;
    const after = plan?.run?.notes ?? [];
    if (after.length) return after.map(sentence).join(" ");
    const said = plan?.remark ? [sentence(plan.remark)] : []; // first: a long line is cut at its end
    if (plan?.missing) said.push(sentence(plan.missing));
    else if (plan?.policy) said.push(policy(plan.policy));
    said.push(...(plan?.provisional ?? []).map((what) => t(`strip.provisional_${what}`)));
    if (this.found.samplers.length > 1) said.push(t("strip.several", { count: this.found.samplers.length }));
    return said.join(" ");
  }
}

/** What the server says: a Reason, or words that it can't put into one, such as a host's own message. */
const sentence = (said) => (typeof said === "string" ? said : reason(said));

/** A speed-up as the artist reads it: "3.3", and whether that is faster, the same or slower. */
function rounded(speedup) {
  const text = speedup.toFixed(1);
  return { text, kind: Number(text) > 1 ? "faster" : Number(text) < 1 ? "slower" : "same" };
}

function planned({ computed, n, speedup }) {
  if (computed.length === n) return t("strip.plan_all", { n });
  const { text, kind } = rounded(speedup);
  return t(`strip.plan_${kind}`, { k: computed.length, n, speedup: text });
}

/** How long it will take, as far as an earlier run tells: "About 22 s instead of 70 s". */
function expected({ n, computed, seconds, seconds_uncached: uncached }) {
  if (seconds === null || seconds === undefined) return "";
  const key = computed.length === n ? "strip.expected_all" : "strip.expected";
  return t(key, { seconds: brief(seconds), uncached: brief(uncached) });
}

/** Seconds, with a decimal where they are few. */
const brief = (seconds) => seconds.toFixed(seconds >= 10 ? 0 : 1);

function measured({ speedup, saved, finished }) {
  const words = [];
  if (speedup !== null) {
    const { text, kind } = rounded(speedup);
    words.push(t(`strip.measured_${kind}`, { speedup: text, seconds: brief(Math.max(0, saved)) }));
  }
  if (!finished) words.push(t("strip.stopped"));
  return words.join(" ");
}

function policy({ kind, name, carried, tested }) {
  if (kind !== "file") return t(`strip.policy_${kind}`);
  const said = [t(carried ? "strip.policy_carried" : "strip.policy_file", { name })];
  if (tested) {
    const percent = Math.round(100 * tested.less);
    said.push(t(percent > 0 ? "strip.tested" : "strip.tested_equal", { ...tested, percent }));
  }
  return said.join(" ");
}

// Before `setup`: the page warns of events that come while no extension listens, as after a reload during a run.
api.addEventListener("recache.run", ({ detail }) => {
  if (!strips.size || detail.workflow !== graph.workflowId()) return;
  strips.get(graph.nodeAt(detail.node))?.onRunEvent(detail);
});

// ReCache Frontier has run: its knee is a preset from now on.
api.addEventListener("executed", ({ detail }) => {
  if (detail.output?.recache_knee) strips.forEach((strip) => strip.request.invalidate());
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

  afterConfigureGraph() {
    // the host removes no nodes of the subgraphs of a workflow that is closed
    for (const node of strips.keys()) if (!graph.placeOf(node)) strips.delete(node);
  },

  nodeCreated(node) {
    if (node.comfyClass === "ReCacheBudget") trackNode(strips, node, new BudgetStrip(node));
  },
});
