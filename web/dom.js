// What the pack's widgets share: elements, the style sheet, and mounting an element on a node.
import { app } from "../../scripts/app.js";
import { placeOf } from "./graph.js";

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = 10; // pixels that the canvas leaves around a widget
const SPACING = 4; // and adds below it

const sheet = document.createElement("link");
sheet.rel = "stylesheet";
sheet.href = new URL("./recache.css", import.meta.url).href;
document.head.append(sheet);

function append(element, parent, className) {
  if (className) element.setAttribute("class", className);
  parent?.append(element);
  return element;
}

/** A new HTML element, the last child of `parent` if that is given. */
export const html = (tag, parent = null, className = "") => append(document.createElement(tag), parent, className);

/** The same for SVG. */
export const svg = (tag, parent = null, className = "") =>
  append(document.createElementNS(SVG, tag), parent, className);

/**
 * Adds an element to a node as a widget without a value: it is neither saved nor sent, and has no row in the side panel.
 * It takes no more room than it needs, so that the picture below it gets the rest of the node: a widget with
 * `computeLayoutSize`, as the page makes them, would share the room in Nodes 2.0.
 * @param height in pixels, 0 for no room at all; the element's `minHeight` changes it later.
 */
export function mountWidget(node, name, element, height) {
  element.style.minHeight = `${height}px`;
  element.dataset.recache = name;
  const widget = node.addDOMWidget(name, `recache_${name}`, element, {
    serialize: false, hideOnZoom: false, hideInPanel: true,
  });
  widget.computeLayoutSize = undefined;
  widget.computeSize = (width = 0) => {
    const least = parseFloat(element.style.minHeight);
    return [width, least && least + 2 * MARGIN - SPACING];
  };
  widget.serialize = false;
  return widget;
}

const tracked = new Set(); // all maps that `trackNode` was given

/** Keeps `shown.get(node) === view` for as long as the node is in a graph of the open workflow. */
export function trackNode(shown, node, view) {
  tracked.add(shown);
  const { onAdded, onRemoved } = node;
  node.onAdded = function (...values) {
    shown.set(node, view);
    return onAdded?.apply(this, values);
  };
  node.onRemoved = function (...values) {
    shown.delete(node);
    return onRemoved?.apply(this, values);
  };
}

/** The host removes no nodes of the subgraphs of a workflow that is closed, as by an undo. */
function forgetRemoved() {
  for (const shown of tracked) for (const node of shown.keys()) if (!placeOf(node)) shown.delete(node);
}

/** Nodes 2.0 keeps showing the elements of nodes that were loaded again, as by an undo: puts the new ones there. */
function replaceOutdated() {
  for (const node of app.canvas.graph?.nodes ?? []) {
    for (const { element } of node.widgets ?? []) {
      if (!element?.dataset?.recache || element.isConnected) continue;
      const shown = document.querySelector(`[data-node-id="${node.id}"] [data-recache="${element.dataset.recache}"]`);
      shown?.replaceWith(element);
    }
  }
}

/** The classic renderer hides an advanced input only if its widget says so itself: "Show Advanced" in the node's menu. */
function hideAdvanced(node) {
  if (app.extensionManager.setting.get("Comfy.Node.AlwaysShowAdvancedWidgets")) return;
  for (const widget of node.widgets ?? []) {
    if (!widget.options?.advanced) continue;
    widget.advanced = true;
    const shown = () => LiteGraph.vueNodesMode || node.showAdvanced;
    widget.computeSize = (width = 0) => [width, shown() ? LiteGraph.NODE_WIDGET_HEIGHT : -SPACING]; // else it leaves a gap
  }
  if (!LiteGraph.vueNodesMode) node.setSize([node.size[0], node.computeSize()[1]]); // their room was counted in
}

app.registerExtension({
  name: "recache.dom",

  nodeCreated(node) {
    if (node.comfyClass?.startsWith("ReCache")) hideAdvanced(node);
  },

  afterConfigureGraph() {
    forgetRemoved();
    requestAnimationFrame(() => requestAnimationFrame(replaceOutdated)); // once the page has drawn the nodes
  },
});
