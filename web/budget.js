// ReCache Budget: the strip under the slider shows the plan before a run, and the run itself as it happens.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { Asker } from "./asking.js";
import { asleep, executionId, isFed, nodeAt, placeOf, samplersAfter, treeOf, valueOf, workflowId } from "./graph.js";
import { ready, t } from "./i18n.js";
import { HEIGHT, Strip } from "./strip.js";

const SETTINGS = ["budget", "policy", "evaluations", "mechanism", "order", "cache_point"];
const MARGIN = 10; // that the canvas leaves around a widget
const LOOKING = 150; // milliseconds: ComfyUI tells no extension when a widget or a link of another node changes

const strips = new Map(); // node -> BudgetStrip, of all nodes that are in a graph

class BudgetStrip {
  constructor(node) {
    this.node = node;
    this.strip = new Strip();
    this.plan = null; // the server's last answer
    this.run = null; // the run that is sampling
    this.asleep = "";
    this.found = { samplers: [], replaced: false };
    this.asker = new Asker("/recache/plan", (plan) => {
      this.plan = plan;
      if (plan?.run && !plan.run.over && !this.run) this.run = plan.run;
      this.draw();
    });
    const height = () => HEIGHT + 2 * MARGIN;
    const widget = node.addDOMWidget("schedule", "recache_strip", this.strip.element, {
      serialize: false, getMinHeight: height, getMaxHeight: height, hideOnZoom: false,
    });
    widget.serialize = false;
    this.place(widget);
    for (const own of node.widgets.filter(({ name }) => SETTINGS.includes(name))) {
      const before = own.callback;
      own.callback = (...values) => {
        const result = before?.apply(own, values);
        this.look();
        return result;
      };
    }
    this.draw();
  }

  /** Moves the widget below the slider. It has no value, and the host must not leave a gap for one when it saves. */
  place(widget) {
    const { widgets } = this.node;
    const slider = widgets.findIndex(({ name }) => name === "budget");
    widgets.splice(widgets.indexOf(widget), 1);
    widgets.splice(slider + 1, 0, widget);
    const before = this.node.onSerialize;
    this.node.onSerialize = function (saved) {
      before?.call(this, saved);
      if (saved.widgets_values) saved.widgets_values = Object.values(saved.widgets_values); // skips what is not set
    };
  }

  /** Asks the server for a plan if anything has changed that it depends on. */
  look() {
    const place = placeOf(this.node);
    if (!place) return;
    const sleep = asleep(place);
    const slot = this.node.outputs.findIndex(({ type }) => type === "MODEL");
    const found = samplersAfter(place, slot);
    if (sleep !== this.asleep || found.samplers.length !== this.found.samplers.length || found.replaced !== this.found.replaced) {
      [this.asleep, this.found] = [sleep, found];
      this.draw();
    }
    this.asker.ask({
      workflow: workflowId(),
      node: executionId(place),
      settings: Object.fromEntries(SETTINGS.map((name) => [name, valueOf(place, name)])),
      trained: isFed(place, "trained"),
      sampler: found.samplers.length ? treeOf(found.samplers[0]) : null,
    });
  }

  /** News of a run from the server. */
  hear({ index, computed, planned, n, run }) {
    if (run) {
      this.run = null;
      this.asker.again();
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
    this.strip.show({ cells: this.cells(), ...this.words(), dim: Boolean(this.asleep) || this.found.replaced });
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
    if (this.asleep) return { head: t(`strip.${this.asleep}`) };
    if (this.found.replaced) return { head: t("strip.replaced") };
    const { plan, run } = this;
    if (run) {
      const head = t("strip.running", { i: run.evaluations, n: run.n, k: run.computed.length });
      return { head, notes: this.notes() };
    }
    if (!plan) return { head: t("strip.waiting") };
    const result = plan.run ? measured(plan.run) : "";
    if (plan.refusal) return { head: t("strip.uncached"), result, notes: plan.refusal };
    if (!plan.n) return { head: t(this.found.samplers.length ? "strip.unknown" : "strip.unconnected"), result };
    const head = t("strip.plan", { k: plan.computed.length, n: plan.n, speedup: plan.speedup.toFixed(1) });
    return { head, result, notes: this.notes() };
  }

  notes() {
    const { plan } = this;
    const after = plan?.run?.notes ?? [];
    if (after.length) return after.join(" ");
    const said = plan?.missing ? [plan.missing] : plan?.policy ? [policy(plan.policy)] : [];
    said.push(...(plan?.provisional ?? []).map((what) => t(`strip.provisional_${what}`)));
    if (this.found.samplers.length > 1) said.push(t("strip.several", { count: this.found.samplers.length }));
    return said.join(" ");
  }
}

function measured({ speedup, saved, finished }) {
  const seconds = Math.max(0, saved).toFixed(saved >= 10 ? 0 : 1);
  const words = speedup === null ? "" : t("strip.measured", { speedup: speedup.toFixed(1), seconds });
  return finished ? words : [words, t("strip.stopped")].filter(Boolean).join(" ");
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

app.registerExtension({
  name: "recache.budget",

  init: () => ready,

  setup() {
    api.addEventListener("recache.run", ({ detail }) => {
      if (detail.workflow && detail.workflow !== workflowId()) return;
      strips.get(nodeAt(detail.node))?.hear(detail);
    });
    setInterval(() => {
      if (!document.hidden) strips.forEach((strip) => strip.look());
    }, LOOKING);
  },

  nodeCreated(node) {
    if (node.comfyClass !== "ReCacheBudget") return;
    const strip = new BudgetStrip(node);
    const { onAdded, onRemoved } = node;
    node.onAdded = function (...graph) {
      strips.set(node, strip);
      return onAdded?.apply(this, graph);
    };
    node.onRemoved = function (...nothing) {
      strips.delete(node);
      return onRemoved?.apply(this, nothing);
    };
  },
});
