// From a node along the links to what samples with its MODEL, and back to where that MODEL comes from: through reroutes,
// bypassed nodes and the borders of subgraphs. A place is a node and the subgraph nodes that it lies in, outermost
// first; one node of a subgraph is at several places where the subgraph is used several times.
import { app } from "../../scripts/app.js";

const MUTED = 2;
const BYPASSED = 4;
const SUBGRAPH_INPUT = "-10"; // the host's ids of a subgraph's own ends
const SUBGRAPH_OUTPUT = "-20";
const MAX_DEPTH = 40;
const SAMPLED = ["MODEL", "GUIDER"]; // types that carry a model on to a sampler
const WIRED = [...SAMPLED, "SAMPLER", "SIGMAS"];
const NO_PLAN = ["seed", "noise_seed", "control_after_generate", "cfg"]; // widgets that decide nothing about a plan

const root = () => app.rootGraph ?? app.graph;
const kind = (node) => node.comfyClass ?? node.type;
const same = (a, b) => String(a) === String(b);

/** The workflow's id, as the server gets it with the prompt. */
export const workflowId = () => String(root()?.id ?? "");

/** A place of the node, or null if it is in no graph of the open workflow. */
export function placeOf(node, graph = root(), path = []) {
  if (!graph || path.length > MAX_DEPTH) return null;
  if (node.graph === graph) return { node, path };
  for (const outer of graph.nodes) {
    const place = outer.subgraph && placeOf(node, outer.subgraph, [...path, outer]);
    if (place) return place;
  }
  return null;
}

/** The node that the server calls `id`, such as "12:3". */
export function nodeAt(id) {
  const ids = String(id).split(":");
  const last = ids.pop();
  const graph = ids.reduce((inside, outer) => inside?.getNodeById(outer)?.subgraph, root());
  return graph?.getNodeById(last) ?? graph?.getNodeById(Number(last)) ?? null;
}

/** What the server calls the node at a place. */
export const executionId = ({ node, path }) => [...path, node].map(({ id }) => id).join(":");

/** "muted" or "bypassed" if the node or a subgraph around it is, else "". */
export function asleep({ node, path }) {
  const modes = [...path, node].map(({ mode }) => mode);
  if (modes.includes(MUTED)) return "muted";
  return modes.includes(BYPASSED) ? "bypassed" : "";
}

/** The places of the sampler nodes that an output of the place leads to; `replaced` is set where another Budget is. */
export function samplersAfter(place, slot, found = { samplers: [], replaced: false }, seen = new Set()) {
  const { node, path } = place;
  const key = `${executionId(place)}/${slot}`;
  if (seen.has(key)) return found;
  seen.add(key);
  for (const link of linksOf(node.graph)) {
    if (same(link.origin_id, node.id) && link.origin_slot === slot) arrive(link, node.graph, path, found, seen);
  }
  return found;
}

function arrive(link, graph, path, found, seen) {
  if (path.length > MAX_DEPTH) return;
  if (same(link.target_id, SUBGRAPH_OUTPUT)) {
    const outer = path.at(-1);
    if (outer) samplersAfter({ node: outer, path: path.slice(0, -1) }, link.target_slot, found, seen);
    return;
  }
  const node = graph.getNodeById(link.target_id);
  if (!node || node.mode === MUTED) return;
  const place = { node, path };
  const goOn = (passes) =>
    node.outputs?.forEach((output, slot) => passes(output.type) && samplersAfter(place, slot, found, seen));
  if (node.mode === BYPASSED) {
    const type = node.inputs[link.target_slot]?.type;
    goOn((output) => output === type);
  } else if (node.subgraph) {
    for (const inner of linksOf(node.subgraph)) {
      if (same(inner.origin_id, SUBGRAPH_INPUT) && inner.origin_slot === link.target_slot)
        arrive(inner, node.subgraph, [...path, node], found, seen);
    }
  } else if (isSampler(node)) {
    if (!found.samplers.some((other) => other.node === node && executionId(other) === executionId(place)))
      found.samplers.push(place);
  } else if (kind(node) === "ReCacheBudget") {
    found.replaced = true;
  } else {
    goOn((output) => node.isVirtualNode || SAMPLED.includes(output));
  }
}

function isSampler(node) {
  const has = (name) => widgetOf(node, name) || node.inputs?.some((input) => input.name === name);
  const samples = (has("steps") && has("sampler_name")) || (has("sigmas") && has("sampler"));
  return samples && node.outputs?.some(({ type }) => type === "LATENT");
}

/** The place as the server reads it: {type, inputs: {name: value or another such}} back to the loader. */
export function treeOf(place, depth = 0) {
  const { node } = place;
  const inputs = {};
  const carries = node.inputs?.some(({ type }, slot) => SAMPLED.includes(type) && node.getInputLink(slot));
  const passesOn = carries && node.outputs?.some(({ type }) => type === "MODEL");
  if (!passesOn || kind(node).startsWith("ModelSampling")) {
    for (const { name } of node.widgets ?? []) {
      const value = NO_PLAN.includes(name) ? undefined : valueOf(place, name);
      if (["number", "string", "boolean"].includes(typeof value) && String(value).length < 500) inputs[name] = value;
    }
  }
  if (depth < MAX_DEPTH) {
    node.inputs?.forEach(({ name, type }, slot) => {
      const source = WIRED.includes(type) && origin(place, slot);
      if (source) inputs[name] = treeOf(source, depth + 1);
    });
  }
  return { type: kind(node), inputs };
}

/** The value that a widget will have in the queued prompt; undefined if another node makes it as it runs. */
export function valueOf(place, name) {
  const slot = place.node.inputs?.findIndex((input) => (input.widget?.name ?? input.name) === name) ?? -1;
  if (slot < 0 || !place.node.getInputLink(slot)) return widgetOf(place.node, name)?.value;
  const source = origin(place, slot, true);
  if (source?.promoted) return valueOf(source, source.promoted);
  if (source && /^Primitive/.test(kind(source.node))) return (widgetOf(source.node, "value") ?? source.node.widgets?.[0])?.value;
  return undefined;
}

/** Whether something that is not muted is linked to an input. */
export function isFed(place, name) {
  const slot = place.node.inputs?.findIndex((input) => input.name === name) ?? -1;
  return slot >= 0 && origin(place, slot) !== null;
}

/** The place that feeds an input, or null; with `promoting`, also the subgraph node whose widget feeds it. */
function origin({ node, path }, slot, promoting = false) {
  const link = slot < 0 ? null : node.getInputLink(slot);
  if (!link || path.length > MAX_DEPTH) return null;
  return source(link, node.graph, path, promoting);
}

function source(link, graph, path, promoting) {
  if (same(link.origin_id, SUBGRAPH_INPUT)) {
    const outer = path.at(-1);
    if (!outer) return null;
    const place = { node: outer, path: path.slice(0, -1) };
    const input = outer.inputs?.[link.origin_slot];
    if (promoting && input && !outer.getInputLink(link.origin_slot))
      return { ...place, promoted: input.widget?.name ?? input.name };
    return origin(place, link.origin_slot, promoting);
  }
  const node = graph.getNodeById(link.origin_id);
  if (!node || node.mode === MUTED) return null;
  const place = { node, path };
  if (node.mode === BYPASSED) {
    const type = node.outputs[link.origin_slot]?.type;
    return origin(place, node.inputs?.findIndex((input) => input.type === type) ?? -1, promoting);
  }
  if (node.subgraph) {
    const inner = linksOf(node.subgraph).find(
      (inside) => same(inside.target_id, SUBGRAPH_OUTPUT) && inside.target_slot === link.origin_slot,
    );
    return inner ? source(inner, node.subgraph, [...path, node], promoting) : null;
  }
  if (node.isVirtualNode && node.inputs?.length) return origin(place, 0, promoting);
  return place;
}

const linksOf = (graph) => [...(graph?.links?.values?.() ?? [])];
const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);
