// ReCache Report, Compare and Frontier: what they say, line by line, above their picture. And the first size of every
// node with a picture, at which words and picture can be read; a size that was saved comes later and stays.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { Comparison } from "./comparison.js";
import { html, mountWidget, trackNode } from "./dom.js";
import { nodeAt, outputKey, workflowId } from "./graph.js";
import { ready } from "./i18n.js";
import { addPreview } from "./preview.js";

const SIZES = {
  ReCacheReport: [460, 420],
  ReCacheCompare: [600, 940],
  ReCacheFrontier: [640, 1180],
  ReCacheFrontierCustom: [640, 1060],
  ReCacheTrain: [640, 1120],
  ReCacheTrainCustom: [640, 1020],
  ReCacheTrainTwoModels: [640, 1120],
};
const WITH_TEXT = ["ReCacheReport", "ReCacheCompare", "ReCacheFrontier", "ReCacheFrontierCustom"];
const LINE = 14; // pixels
const LETTER = 5.5; // pixels, on average; CJK letters are wider, and scrolled to
const MAX_LINES = 11; // more are scrolled to

const results = new Map(); // node -> its Result, of all nodes that are in a graph

class Result {
  constructor(node) {
    this.node = node;
    this.element = html("div", null, "recache recache-result");
    this.element.setAttribute("role", "status");
    this.element.setAttribute("data-capture-wheel", "true"); // scrolls here and does not zoom
    mountWidget(node, "result", this.element, 0);
    if (node.comfyClass.startsWith("ReCacheFrontier")) addPreview(node);
    this.comparison = node.comfyClass === "ReCacheCompare" ? new Comparison(node) : null;
    const { onExecuted } = node;
    node.onExecuted = (output) => {
      onExecuted?.call(node, output);
      this.show(output);
    };
  }

  /** Shows an output of the node: its text, lines alone or in a list, and its pairs; nothing changes without them. */
  show(output) {
    if (!output?.text) return;
    const { text } = output;
    this.comparison?.show(output);
    this.element.textContent = [text].flat().join("\n");
    const fit = (this.node.size[0] - 40) / LETTER; // letters in a line
    const lines = this.element.textContent.split("\n").reduce((sum, line) => sum + Math.ceil(line.length / fit), 0);
    this.element.style.minHeight = `${LINE * Math.min(lines, MAX_LINES)}px`;
    this.node.setDirtyCanvas(true, true);
  }
}

/** Shows what the page has stored of earlier runs. */
function restore(outputs) {
  for (const [node, result] of results) result.show(outputs[outputKey(node)]);
}

api.addEventListener("recache.text", ({ detail }) => {
  if (detail.workflow === workflowId()) results.get(nodeAt(detail.node))?.show(detail);
});

app.registerExtension({
  name: "recache.result",

  init: () => ready,

  nodeCreated(node) {
    const size = SIZES[node.comfyClass];
    if (!size) return;
    if (WITH_TEXT.includes(node.comfyClass)) trackNode(results, node, new Result(node));
    node.setSize(size.map((side, i) => Math.max(side, node.size[i])));
  },

  onNodeOutputsUpdated: restore, // a workflow that was open before is shown again

  afterConfigureGraph: () => restore(app.nodeOutputs), // as after an undo: the nodes are new
});
