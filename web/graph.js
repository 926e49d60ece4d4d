// Follows links from a node to the samplers that use its MODEL, and back to the loader: through reroutes, bypassed
// nodes, switches and the borders of subgraphs. A place is {node, path}: a node and the subgraph nodes around it,
// outermost first. A node in a subgraph that is used twice has two places.
import { app } from "../../scripts/app.js";

const MUTED = 2;
const BYPASSED = 4;
const SUBGRAPH_INPUT = "-10"; // the host's node ids of a subgraph's own inputs and outputs
const SUBGRAPH_OUTPUT = "-20";
const MAX_DEPTH = 40;
const MAX_NODES = 200; // of the trees of one plan, as the server takes
export const BUDGETS = ["ReCacheBudget", "ReCacheBudgetTwoModels"];
const MODELS = ["MODEL", "GUIDER"]; // types that carry a model to a sampler
const LINKED = [...MODELS, "SAMPLER", "SIGMAS"];
const VALUES = ["INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"];
const NOT_IN_PLAN = ["seed", "noise_seed", "control_after_generate"]; // widgets that no plan depends on

const root = () => app.rootGraph ?? app.graph;
const typeOf = (node) => node.comfyClass ?? node.type;
const same = (a, b) => String(a) === String(b);
const fits = (a, b) => window.LiteGraph.isValidConnection(a, b);
const linksOf = (graph) => [...(graph?.links?.values?.() ?? [])];
const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);
const inputSlot = (node, name) => node.inputs?.findIndex((input) => (input.widget?.name ?? input.name) === name) ?? -1;
const openedFrom = new Map(); // id of a subgraph -> id of the subgraph node through which the artist opened it last

/** The link into an input, or undefined. A subgraph node's own `getInputLink` reads its outputs instead. */
const linkInto = (node, slot) =>
  linksOf(node.graph).find((link) => same(link.target_id, node.id) && link.target_slot === slot);

/** Call once the canvas is there: a node that has several places is then seen at the one that the artist has opened. */
export function followOpenedSubgraphs() {
  app.canvas?.canvas?.addEventListener("subgraph-opened", ({ detail }) =>
    openedFrom.set(detail.subgraph.id, detail.fromNode.id));
}

/** The workflow's id, as the server gets it with the prompt. */
export const workflowId = () => String(root()?.id ?? "");

/** The place of a node that the artist sees, or null if it is in no graph of the open workflow. */
export function placeOf(node) {
  const places = placesOf(node, root(), []);
  const seen = ({ path }) => path.every((outer) => same(openedFrom.get(outer.subgraph.id) ?? outer.id, outer.id));
  return places.find(seen) ?? places[0] ?? null;
}

function placesOf(node, graph, path) {
  if (!graph || path.length > MAX_DEPTH) return [];
  if (node.graph === graph) return [{ node, path }];
  return graph.nodes.flatMap((outer) => (outer.subgraph ? placesOf(node, outer.subgraph, [...path, outer]) : []));
}

/** The node that the server calls `id`, such as "12:3", or null. */
export function nodeAt(id) {
  const ids = String(id).split(":");
  const last = ids.pop();
  const graph = ids.reduce((inside, outer) => inside?.getNodeById(outer)?.subgraph, root());
  return graph?.getNodeById(last) ?? graph?.getNodeById(Number(last)) ?? null;
}

/** Under which key the page stores what a node has shown: its id, after its subgraph's id if it is in one. */
export const outputKey = ({ id, graph }) => (graph === root() ? String(id) : `${graph.id}:${id}`);

/** What the server calls the node at a place. */
export const executionId = ({ node, path }) => [...path, node].map(({ id }) => id).join(":");

/** "muted" or "bypassed" if the node or a subgraph around it is, else "". */
export function inactive({ node, path }) {
  const modes = [...path, node].map(({ mode }) => mode);
  if (modes.includes(MUTED)) return "muted";
  return modes.includes(BYPASSED) ? "bypassed" : "";
}

/**
 * The samplers that an output of the place leads to, added to `found`.
 * @returns {{samplers: object[], replaced: boolean}} places; `replaced`: another ReCache node comes first.
 */
export function samplersAfter(place, slot, found = { samplers: [], replaced: false }, visited = new Set()) {
  const { node, path } = place;
  const key = `${executionId(place)}/${slot}`;
  if (visited.has(key)) return found;
  visited.add(key);
  for (const link of linksOf(node.graph)) {
    if (same(link.origin_id, node.id) && link.origin_slot === slot) followTo(link, node.graph, path, found, visited);
  }
  return found;
}

/** Continues `samplersAfter` at the target of a link. */
function followTo(link, graph, path, found, visited) {
  if (path.length > MAX_DEPTH) return;
  if (same(link.target_id, SUBGRAPH_OUTPUT)) {
    const outer = path.at(-1);
    if (outer) samplersAfter({ node: outer, path: path.slice(0, -1) }, link.target_slot, found, visited);
    return;
  }
  const node = graph.getNodeById(link.target_id);
  if (!node || node.mode === MUTED) return;
  const place = { node, path };
  const continueFrom = (passes) =>
    node.outputs?.forEach((output, slot) => passes(output.type, slot) && samplersAfter(place, slot, found, visited));
  if (node.mode === BYPASSED) {
    continueFrom((type, slot) => bypassSlot(node, slot) === link.target_slot);
  } else if (node.subgraph) {
    for (const inner of linksOf(node.subgraph)) {
      if (same(inner.origin_id, SUBGRAPH_INPUT) && inner.origin_slot === link.target_slot)
        followTo(inner, node.subgraph, [...path, node], found, visited);
    }
  } else if (isSampler(node)) {
    if (!found.samplers.some((other) => executionId(other) === executionId(place))) found.samplers.push(place);
  } else if (BUDGETS.includes(typeOf(node))) {
    found.replaced = true;
  } else if (isSwitch(node)) {
    const chosen = chosenSlot(place);
    continueFrom(() => chosen === undefined || chosen === link.target_slot);
  } else {
    continueFrom((type) => node.isVirtualNode || MODELS.includes(type));
  }
}

function isSampler(node) {
  const has = (name) => widgetOf(node, name) || node.inputs?.some((input) => input.name === name);
  const samples = (has("steps") && has("sampler_name")) || (has("sigmas") && has("sampler"));
  return samples && node.outputs?.some(({ type }) => type === "LATENT");
}

const isSwitch = (node) => ["switch", "on_false", "on_true"].every((name) => inputSlot(node, name) >= 0);

/** The input that a switch passes on; undefined if that is decided as it runs. */
function chosenSlot(place) {
  const value = valueOf(place, "switch");
  return typeof value === "boolean" ? inputSlot(place.node, value ? "on_true" : "on_false") : undefined;
}

/** The input that a bypassed node passes to an output, or -1; the rule is the host's. */
function bypassSlot({ inputs, outputs }, slot) {
  const { type } = outputs[slot];
  if (inputs[slot] && fits(inputs[slot].type, type)) return slot;
  return inputs.findIndex((input) => fits(input.type, type));
}

/**
 * Samplers as the server reads them, back to the loader: {type, inputs: {name: value or another such tree}}. Of a sampler's
 * latent only the values of the node that makes it are read. Throws if they depend on too many nodes.
 */
export function treesOf(places) {
  const left = { nodes: MAX_NODES };
  return places.map((place) => treeOf(place, left));
}

function treeOf(place, left, wanted = null, depth = 0) {
  left.nodes -= 1;
  if (left.nodes < 0) throw new Error(`The sampler depends on more than ${MAX_NODES} nodes.`);
  const { node } = place;
  const inputs = {};
  const takesModel = node.inputs?.some(({ type }, slot) => MODELS.includes(type) && linkInto(node, slot));
  const passesModelOn = takesModel && node.outputs?.some(({ type }) => type === "MODEL");
  const readsValues = !passesModelOn || typeOf(node).startsWith("ModelSampling");
  wanted ??= [...LINKED, ...(readsValues ? VALUES : []), ...(depth ? [] : ["LATENT"])];
  if (wanted.includes("INT")) {
    for (const { name } of node.widgets ?? []) {
      const value = NOT_IN_PLAN.includes(name) ? undefined : valueOf(place, name);
      if (["number", "string", "boolean"].includes(typeof value) && String(value).length < 500) inputs[name] = value;
    }
  }
  if (depth >= MAX_DEPTH) return { type: typeOf(node), inputs };
  node.inputs?.forEach(({ name, type }, slot) => {
    if (name in inputs || NOT_IN_PLAN.includes(name) || !String(type).split(",").some((one) => wanted.includes(one))) return;
    const source = sourceOf(place, slot);
    const inner = type === "LATENT" ? VALUES : null;
    if (source?.node) inputs[name] = { ...treeOf(source, left, inner, depth + 1), output: source.slot };
  });
  return { type: typeOf(node), inputs };
}

/** The value of a widget in the prompt as it would be queued; undefined if another node makes it as it runs. */
export const valueOf = (place, name) => widgetFor(place, name)?.widget.value;

/** Whether the artist sets all these inputs by widgets, here or elsewhere. */
export const areSettable = (place, names) => names.every((name) => widgetFor(place, name));

/** Sets inputs, {name: value}, by the widgets that their values come from, in one step of undo. */
export function setValues(place, values) {
  app.canvas.emitBeforeChange();
  for (const [name, value] of Object.entries(values)) {
    const { widget, owner } = widgetFor(place, name);
    widget.value = value;
    widget.callback?.(value, app.canvas, owner);
  }
  app.canvas.emitAfterChange();
  app.canvas.setDirty(true, true);
}

/** The widget that an input gets its value from, and its node: {widget, owner}; null if there is none. */
function widgetFor(place, name) {
  const { node } = place;
  const slot = inputSlot(node, name);
  const source = slot < 0 ? null : sourceOf(place, slot);
  if (source?.widget) return source;
  if (source && !/^Primitive/.test(typeOf(source.node))) return null;
  if (source && widgetOf(source.node, "value")) return widgetFor(source, "value");
  const owner = source?.node ?? node;
  const widget = source ? owner.widgets?.[0] : widgetOf(owner, name);
  return widget ? { widget, owner } : null;
}

/** Whether a node that is not muted is linked to an input. */
export function isFed(place, name) {
  return Boolean(sourceOf(place, inputSlot(place.node, name))?.node);
}

/** What an input gets: {node, path, slot} of an output, {widget, owner} on a subgraph node, or null for nothing. */
export function sourceOf({ node, path }, slot) {
  const link = slot < 0 ? null : linkInto(node, slot);
  return link && path.length <= MAX_DEPTH ? originOf(link, node.graph, path) : null;
}

function originOf(link, graph, path) {
  if (same(link.origin_id, SUBGRAPH_INPUT)) return subgraphInput(link.origin_slot, path);
  const node = graph.getNodeById(link.origin_id);
  if (!node || node.mode === MUTED) return null;
  const place = { node, path };
  const slot = link.origin_slot;
  if (node.mode === BYPASSED) return sourceOf(place, bypassSlot(node, slot));
  if (node.subgraph) {
    const inner = linksOf(node.subgraph).find(
      (inside) => same(inside.target_id, SUBGRAPH_OUTPUT) && inside.target_slot === slot,
    );
    return inner ? originOf(inner, node.subgraph, [...path, node]) : null;
  }
  if (node.isVirtualNode && node.inputs?.length) return sourceOf(place, node.inputs[slot] ? slot : 0);
  const chosen = isSwitch(node) ? chosenSlot(place) : undefined;
  return chosen === undefined ? { ...place, slot } : sourceOf(place, chosen);
}

/** What a subgraph's own input gets: from outside, else the widget that stands for it on the subgraph node. */
function subgraphInput(slot, path) {
  const outer = path.at(-1);
  const input = outer?.inputs?.[slot];
  if (!input) return null;
  if (linkInto(outer, slot)) return sourceOf({ node: outer, path: path.slice(0, -1) }, slot);
  const widget = outer.getWidgetFromSlot(input);
  return widget ? { widget, owner: outer } : null;
}
