// ReCache Train's panel: what a training does, live, after a reload too, and the button that ends it with its best.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { nodeAt, workflowId } from "./graph.js";
import { ready } from "./i18n.js";
import { HEIGHT, TrainingPanel } from "./training_panel.js";

const NODES = ["ReCacheTrain", "ReCacheTrainCustom"];
const MARGIN = 10; // that the canvas leaves around a widget
const KEPT = 20;
const UNNAMED = "00000000-0000-0000-0000-000000000000"; // the host's id of a workflow that has none yet

const panels = new Map(); // node -> its panel, of all nodes that are in a graph
const trainings = new Map(); // id -> state, the newest last, as the server tells them

function remember(state) {
  trainings.set(state.id, state);
  if (trainings.size > KEPT) trainings.delete(trainings.keys().next().value);
}

/** Shows on every panel the newest training of its node. */
function show() {
  const newest = new Map();
  for (const state of trainings.values()) {
    const node = (state.workflow ?? UNNAMED) === workflowId() && nodeAt(state.node);
    if (node) newest.set(node, state);
  }
  panels.forEach((panel, node) => panel.show(newest.get(node) ?? null));
}

async function catchUp() {
  try {
    const { trainings: states } = await (await api.fetchApi("/recache/training")).json();
    trainings.clear(); // a server that was started anew counts from one
    states.forEach(remember);
    show();
  } catch {
    // the server is away; the page says so itself
  }
}

async function stop({ id }) {
  try {
    await api.fetchApi("/recache/stop", {
      method: "POST", body: JSON.stringify({ training: id }), headers: { "Content-Type": "application/json" },
    });
  } catch {
    show(); // the button can be pressed again
  }
}

// Before the page connects, which it does when all extensions are there: it complains of events that nobody awaits.
api.addEventListener("recache.training", ({ detail }) => {
  remember(detail);
  show();
});
api.addEventListener("reconnected", catchUp);

app.registerExtension({
  name: "recache.training",

  init: () => ready,

  setup: catchUp,

  afterConfigureGraph: show, // a workflow was opened, or undone: its nodes are new

  nodeCreated(node) {
    if (!NODES.includes(node.comfyClass)) return;
    const panel = new TrainingPanel(stop);
    const widget = node.addDOMWidget("training", "recache_training", panel.element, {
      serialize: false, getMinHeight: () => HEIGHT + 2 * MARGIN, hideOnZoom: false,
    });
    widget.serialize = false; // it has no value to save or to send
    const { onAdded, onRemoved } = node;
    node.onAdded = function (...graph) {
      panels.set(node, panel);
      return onAdded?.apply(this, graph);
    };
    node.onRemoved = function (...nothing) {
      panels.delete(node);
      return onRemoved?.apply(this, nothing);
    };
  },
});
