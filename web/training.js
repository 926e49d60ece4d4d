// ReCache Train's panel: what a training does, live and after a reload, and the button that ends it with its best.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { mountWidget, trackNode } from "./dom.js";
import { nodeAt, workflowId } from "./graph.js";
import { ready } from "./i18n.js";
import { addPreview } from "./preview.js";
import { HEIGHT, TrainingPanel } from "./training_panel.js";

const NODES = ["ReCacheTrain", "ReCacheTrainCustom", "ReCacheTrainTwoModels"];
const KEPT = 20;

const panels = new Map(); // node -> its panel, of all nodes that are in a graph
const trainings = new Map(); // id -> the server's state of it, the newest last

function store(state) {
  trainings.set(state.id, state);
  if (trainings.size > KEPT) trainings.delete(trainings.keys().next().value);
}

/** Shows on every panel the newest training of its node. */
function updatePanels() {
  const newest = new Map();
  for (const state of trainings.values()) {
    const node = state.workflow === workflowId() && nodeAt(state.node);
    if (node) newest.set(node, state);
  }
  panels.forEach((panel, node) => panel.show(newest.get(node) ?? null));
}

async function fetchTrainings() {
  try {
    const { trainings: states } = await (await api.fetchApi("/recache/training")).json();
    trainings.clear(); // a restarted server counts from one
    states.forEach(store);
    updatePanels();
  } catch {
    // no server; the page itself says so
  }
}

async function stop({ id }) {
  const body = JSON.stringify({ training: id });
  try {
    const headers = { "Content-Type": "application/json" };
    const { stopped } = await (await api.fetchApi("/recache/stop", { method: "POST", body, headers })).json();
    if (!stopped) await fetchTrainings();
  } catch {
    updatePanels(); // the button can be pressed again
  }
}

// Before `setup`: the page warns of events that come while no extension listens.
api.addEventListener("recache.training", ({ detail }) => {
  store(detail);
  updatePanels();
});
api.addEventListener("reconnected", fetchTrainings);

app.registerExtension({
  name: "recache.training",

  init: () => ready,

  setup: fetchTrainings,

  afterConfigureGraph: updatePanels, // a workflow was opened, or undone: its nodes are new

  nodeCreated(node) {
    if (!NODES.includes(node.comfyClass)) return;
    const panel = new TrainingPanel(stop);
    mountWidget(node, "training", panel.element, HEIGHT);
    addPreview(node);
    trackNode(panels, node, panel);
  },
});
